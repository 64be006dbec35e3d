"""The meaning of the bits and digits of info codes, by model.

Sources: MULTICAL 602 manual p. 49; MULTICAL 403 manual p. 92; MULTICAL III manual; data sheet
HC-003 p. 11 (digit code of 403 and 603); the wireless M-Bus status words of 303, 403, 603, 803 and
flowIQ. No recorded KMP answer proves that registers 369 and 99 have the bits of these words. A
table that is not `confirmed` is published as text only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kamstrup_mqtt.core.model import SourceId

PROBLEMS: Mapping[str, str] = MappingProxyType(
    {
        "leak": "Leak",
        "burst": "Burst",
        "air": "Air in the flow sensor",
        "reversed_flow": "Reversed flow",
        "probe": "Temperature probe error",
        "flow_sensor": "Flow sensor error",
        "battery": "Low battery",
        "supply": "Supply interrupted",
    }
)
"""Problem -> name of its binary sensor, whose key is `problem_<problem>`."""

OK = "ok"
"""The text of an info code of 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoTable:
    """The meaning of one info code.

    bits      bit number -> text; other bits are shown by their number
    problems  problem -> the bits that indicate it
    probes    source of a temperature -> the bits that indicate a fault of its probe
    digits    the code is not a sum of bits: each of its eight decimal digits has a meaning
    confirmed a document or recording proves the table for KMP
    """

    bits: Mapping[int, str] = field(default_factory=dict)
    problems: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    probes: Mapping[SourceId, tuple[int, ...]] = field(default_factory=dict)
    has_digits: bool = False
    is_confirmed: bool = False

    def messages(self, code: int) -> tuple[str, ...]:
        """Return one text for each bit or digit that is set."""
        if self.has_digits:
            return _digit_messages(code)
        bits = (n for n in range(code.bit_length()) if code >> n & 1)
        return tuple(self.bits.get(n, f"bit {n}") for n in bits)

    def text(self, code: int) -> str:
        """Return the messages of `code` in one line."""
        return "; ".join(self.messages(code)) or OK

    def has_problem(self, code: int, problem: str) -> bool:
        """Return True if `code` indicates this problem."""
        return any(code >> bit & 1 for bit in self.problems[problem])

    def has_probe_fault(self, code: int, source: SourceId) -> bool:
        """Return True if `code` indicates a fault of the probe that measures `source`."""
        return any(code >> bit & 1 for bit in self.probes.get(source, ()))


_PLACES = ("supply", "t1", "t2", "t3", "V1", "V2", "input A", "input B")


# | supply | t1 | t2 | t3 | V1 | V2 | In-A | In-B |      one decimal digit each; HC-003 p. 11
def _digit_messages(code: int) -> tuple[str, ...]:
    digits = f"{code:08d}"
    if len(digits) > len(_PLACES):
        return (f"code {code}",)
    return tuple(
        _digit_message(place, int(digit)) for place, digit in enumerate(digits) if digit != "0"
    )


def _digit_message(place: int, digit: int) -> str:
    if place == 0 and digit in (1, 2, 9):
        return {1: "no supply", 2: "low battery", 9: "external alarm"}[digit]
    if 1 <= place <= 3 and digit in (1, 2):
        return f"{_PLACES[place]} {('above', 'below')[digit - 1]} range"
    return f"{_PLACES[place]}: {digit}"


_SUM_602 = InfoTable(
    bits={
        0: "supply was cut",
        2: "t2 out of range",
        3: "t1 out of range",
        4: "V1 data communication",
        5: "t3 out of range",
        6: "leak in cold water",
        7: "V2 pulse figure",
        8: "leak in heating",
        9: "burst in heating",
        10: "V2 data communication",
        11: "V1 pulse figure",
        12: "V1 air",
        13: "V2 air",
        14: "V1 wrong direction",
        15: "V2 wrong direction",
    },
    problems={
        "leak": (6, 8),
        "burst": (9,),
        "air": (12, 13),
        "reversed_flow": (14, 15),
        "probe": (2, 3, 5),
        "flow_sensor": (4, 7, 10, 11),
        "supply": (0,),
    },
    probes={86: (3,), 87: (2,), 88: (5,)},
    is_confirmed=True,
)

_SUM_403 = InfoTable(
    bits={
        0: "no supply",
        1: "low battery or external alarm",
        3: "t1 above range",
        4: "t2 above range",
        5: "t1 below range",
        6: "t2 below range",
        7: "t1-t2 invalid, wrong polarity",
        8: "V1 air",
        9: "V1 wrong direction",
        11: "increased flow",
        12: "input A leak",
        13: "input B leak",
        14: "input A alarm",
        15: "input B alarm",
    },
    probes={86: (3, 5), 87: (4, 6), 398: (3, 5), 399: (4, 6)},
)

_BITS_369 = InfoTable(
    bits={
        0: "supply interrupted",
        1: "low battery",
        2: "sensor error",
        3: "t1 above range",
        4: "t2 above range",
        5: "t1 below range",
        6: "t2 below range",
        7: "t1-t2 wrong polarity",
        8: "V1 air or flow too weak",
        9: "V1 wrong direction",
        11: "V1 increased flow",
        12: "input A1 leak",
        13: "input B1 leak",
        14: "input A alarm",
        15: "input B alarm",
        16: "V1 communication",
        17: "V1 pulse figure",
        18: "input A2 leak",
        19: "input B2 leak",
        20: "t3 above range or off",
        21: "t3 below range or off",
        22: "V2 communication",
        23: "V2 pulse figure",
        24: "V2 air",
        25: "V2 wrong direction",
        27: "V2 increased flow",
        28: "burst, water loss",
        29: "burst, penetration",
        30: "leak, water loss",
        31: "leak, penetration",
    },
    probes={
        86: (2, 3, 5),
        87: (2, 4, 6),
        88: (2, 20, 21),
        398: (2, 3, 5),
        399: (2, 4, 6),
    },
)

_FLOWIQ = InfoTable(
    bits={
        0: "dry",
        1: "reversed flow",
        2: "leak",
        3: "burst",
        4: "tamper",
        5: "low battery",
        6: "low ambient temperature",
        7: "flow above Q4",
        9: "no consumption",
    },
)

_MULTICAL_III = InfoTable(
    bits={
        1: "no pulses for 48 h at more than 20 °C difference",
        2: "return probe out of range for more than 1 h",
        3: "flow probe out of range for more than 1 h",
        7: "battery due (8 years)",
        8: "too many pulses",
    },
    problems={"probe": (2, 3), "battery": (7,), "flow_sensor": (1, 8)},
    probes={"#1.t1": (3,), "#1.t2": (2,)},
    is_confirmed=True,
)

TABLES: Mapping[str, InfoTable] = MappingProxyType(
    {
        "sum_602": _SUM_602,
        # the same family of meters, but no document describes the code
        "sum_602_unconfirmed": InfoTable(bits=_SUM_602.bits, probes=_SUM_602.probes),
        "sum_403": _SUM_403,
        "digits_603": InfoTable(has_digits=True),
        "bits_369": _BITS_369,
        "flowiq": _FLOWIQ,
        "multical_iii": _MULTICAL_III,
    }
)
"""Name of a table, as in the `info` of a model -> table."""
