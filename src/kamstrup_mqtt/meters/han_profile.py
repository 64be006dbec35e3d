"""Builds the profile of a HAN meter from the codes of its maker and the number of its phases.

Sources: Kamstrup HAN-NVE interface description rev 3.1 and OMNIPOWER HAN interface specification
5512-2584 B1; "OBIS List Information" of Aidon and Kaifa.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from kamstrup_mqtt.core.model import SerialParams, SourceId
from kamstrup_mqtt.meters.model import ListDetection, ProtocolProfile

_POWERS = ("1.7.0", "2.7.0", "3.7.0", "4.7.0")
_REGISTERS = ("1.8.0", "2.8.0", "3.8.0", "4.8.0")
_LIVE_COUNTERS = tuple(f"live-{register}" for register in _REGISTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakerCodes:
    """The OBIS codes and list identifiers of a maker.

    channel    A-B of the electricity codes, such as 1-0
    list_ids   prefixes of its list identifiers
    """

    maker: str
    list_ids: tuple[str, ...]
    channel: str
    list_id: SourceId
    meter_id: SourceId
    meter_type: SourceId
    clock: SourceId
    identity: tuple[SourceId, ...]
    serial: SerialParams | None = None

    def codes(self, numbers: Iterable[str]) -> tuple[SourceId, ...]:
        """Return C.D.E as full OBIS codes: "1.7.0" as "1-0:1.7.0.255"."""
        return tuple(f"{self.channel}:{number}.255" for number in numbers)


KAMSTRUP = MakerCodes(
    maker="kamstrup",
    list_ids=("Kamstrup",),
    channel="1-1",
    list_id="list_id",
    meter_id="1-1:0.0.5.255",
    meter_type="1-1:96.1.1.255",
    clock="0-1:1.0.0.255",
    identity=("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255"),
)
AIDON = MakerCodes(
    maker="aidon",
    list_ids=("AIDON", "EMBRIQ"),  # EMBRIQ: Landis+Gyr E350
    channel="1-0",
    list_id="1-1:0.2.129.255",
    meter_id="0-0:96.1.0.255",
    meter_type="0-0:96.1.7.255",
    clock="0-0:1.0.0.255",
    identity=("0-0:96.1.0.255",),
    serial=SerialParams(2400, 8, "E", 1),
)
KAIFA = replace(AIDON, maker="kaifa", list_ids=("KFM",), list_id="1-0:0.2.129.255")
MAKERS = (KAMSTRUP, AIDON, KAIFA)


def phase_numbers(phases: int) -> tuple[str, ...]:
    """Return C.D.E of the values per phase in longer lists: power, power factor, energy."""
    return (
        *_per_phase(21, "7.0", phases),
        *_per_phase(22, "7.0", phases),
        "13.7.0",
        *_per_phase(33, "7.0", phases),
        *_per_phase(21, "8.0", phases),
        *_per_phase(22, "8.0", phases),
    )


def _per_phase(first: int, rest: str, phases: int) -> tuple[str, ...]:
    return tuple(f"{first + 20 * phase}.{rest}" for phase in range(phases))


def han_profile(
    codes: MakerCodes, *, phases: Literal[1, 3], more: tuple[SourceId, ...] = ()
) -> ProtocolProfile:
    """Return the profile of a meter that pushes a list every 10 s, and one with energies hourly."""
    return ProtocolProfile(
        groups=push_groups((codes,), phases),
        more=more,
        identity=codes.identity,
        serial=codes.serial,
        periods={"live": 10, "hourly": 3600},
        detection=ListDetection(maker=codes.maker, phases=phases, list_ids=codes.list_ids),
    )


def push_groups(
    makers: tuple[MakerCodes, ...], phases: int, live: tuple[str, ...] = (), *, has_ids: bool = True
) -> dict[str, tuple[SourceId, ...]]:
    """Return the groups of a list format, or those of several formats together.

    `live` has C.D.E of additional values in the live list. If `has_ids` is False, the lists contain
    neither a list identifier nor the number and type of the meter.
    """
    numbers = (
        *_POWERS,
        *_per_phase(31, "7.0", phases),
        *_per_phase(32, "7.0", phases),
        *live,
    )
    ids = [(m.list_id, m.meter_id, m.meter_type) for m in makers if has_ids]
    return {
        "live": _unique(
            *zip(*ids, strict=True), *(m.codes(numbers) for m in makers), _LIVE_COUNTERS
        ),
        "hourly": _unique(
            (m.clock for m in makers), ("clock_drift",), *(m.codes(_REGISTERS) for m in makers)
        ),
    }


def _unique(*parts: Iterable[Any]) -> tuple[SourceId, ...]:
    return tuple(dict.fromkeys(source for part in parts for source in part))
