"""How many Wh a count of Kamstrup's energy registers is worth: 10, or 1.

The lists do not tell it, and grid companies change it from afar. Between two registers the power
adds up to an energy; divided by the counts between them it is near 10 or near 1. A verdict needs
at least 20 counts, and two windows in a row that agree. Meter types whose scale is proven decide
at once. A window that contradicts what was decided holds the totals back, and so does another
scale in the configuration: a scale is never changed under a total that was published, but by the
user's word (`accept`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kamstrup_mqtt.protocols.han.integral import WATT_HOUR

CANDIDATES: Final = (10, 1)
LEAST_COUNTS: Final = 20
AGREEING: Final = 2
SHORTEST: Final = 5 * 60_000
"""Milliseconds that a window has at least (a list with registers comes every 10 s)."""
HOURLY: Final = 60 * 60_000

PROVEN_TYPES: Final[Mapping[str, int]] = {
    # 689 lists of 2017 and seed 003: 203 counts in an hour of 2032 Wh, 361 in one of 3.6 kWh
    "6841121BN243": 10,
}
"""Beginning of the meter type -> Wh per count."""

HELD: Final = "energy_scale_held"
_NOT_HELD = "no"
PUBLISHED: Final = "energy_scale_published"
INSISTED: Final = "energy_scale_insisted"
"""The scale that the user accepted though the power contradicts it."""
LIKELY: Final = "energy_scale_likely"
"""What the power says while it contradicts."""

Registers = Mapping[str, tuple[int, int]]
"""Code -> its count, and the integral of its power at the moment that it belongs to."""


class EnergyScale:
    """The scale of one meter's energies. `given`: the user's word, None: find out.

    `scale` is what was decided, None while it is not; `published` what totals were published with;
    `contradicted` holds the totals back.
    """

    def __init__(self, given: int | None, learned: Mapping[str, str]) -> None:
        self.given = given
        found = _candidate(learned.get("energy_scale"))
        self.published = _candidate(learned.get(PUBLISHED)) or found
        self.scale = given or found or self.published
        self.contradicted = self.scale is not None and learned.get(HELD) == str(self.scale)
        self._insisted = _candidate(learned.get(INSISTED))
        self._likely = _candidate(learned.get(LIKELY))
        self._begun: tuple[int, Registers] | None = None
        self._verdicts: list[int | None] = []
        self._often = False  # registers come with every list

    @property
    def learned(self) -> dict[str, str]:
        """What to remember."""
        found: dict[str, str] = {}
        if self.scale is not None:
            found[HELD] = str(self.scale) if self.contradicted else _NOT_HELD
            if self.given is None:
                found["energy_scale"] = str(self.scale)
        if self.published is not None:
            found[PUBLISHED] = str(self.published)
        if self._insisted is not None:
            found[INSISTED] = str(self._insisted)
        if self.contradicted:
            found[LIKELY] = str(self._likely or "no")
        return found

    @property
    def is_another(self) -> bool:
        """Whether the configuration says another scale than totals were published with."""
        return self.given is not None and self.published not in (None, self.given)

    @property
    def held(self) -> bool:
        """Whether totals are held back."""
        return self.contradicted or self.is_another

    @property
    def trusted(self) -> int | None:
        """The scale to publish with, None while nothing may be published."""
        return None if self.held else self.scale

    def accept(self) -> int | None:
        """The user's word while totals are held back: the scale of the configuration is right, or
        without one what the power says. The scale from now on; None: nothing is held back."""
        if not self.held:
            return None
        self.scale = self.given or self._likely or self.scale
        if self.contradicted and self.scale != self._likely:
            self._insisted = self.scale
        self.contradicted, self.published = False, self.scale
        self._verdicts.clear()
        self.void()
        return self.scale

    def type_is(self, meter_type: str) -> bool:
        """Decide by the meter's type, if it is proven; whether that was news."""
        if self.scale is not None:
            return False
        for beginning, scale in PROVEN_TYPES.items():
            if meter_type.startswith(beginning):
                self.scale = scale
                return True
        return False

    def void(self) -> None:
        """The power was not told for a while: the window is worth nothing."""
        self._begun = None

    def progress(self, now: int) -> str | None:
        """How far the learning is, in words; None where there is nothing to learn."""
        if self.scale is not None:
            return None
        if self._begun is None:
            return "energy scale: waiting for a register"
        window = SHORTEST if self._often else HOURLY
        passed = min(now - self._begun[0], window) // 60_000
        text = f"energy scale: {passed} of {window // 60_000} minutes"
        return f"{text}, for the second time" if self._verdicts else text

    def registers(self, at: int, now: Registers, *, often: bool) -> str | None:
        """The registers as they were at `at` ms. Returns what was found out, for the log."""
        self._often = often
        if self._begun is None:
            self._begun = (at, now)
            return None
        ratios = self._ratios(now)
        if ratios is None:
            self._begun = (at, now)
            return None
        if not ratios or at - self._begun[0] < SHORTEST:
            return None  # the window goes on
        self._begun = (at, now)
        return self._decide(ratios) if self.scale is None else self._compare(ratios)

    def _ratios(self, now: Registers) -> list[float] | None:
        """Wh per count of the registers that moved enough; None: a register went back."""
        assert self._begun is not None
        ratios = []
        for code, (count, integral) in now.items():
            before, integral_before = self._begun[1].get(code, (count, integral))
            if count < before:
                return None
            if count - before >= LEAST_COUNTS:
                ratios.append((integral - integral_before) / WATT_HOUR / (count - before))
        return ratios

    def _decide(self, ratios: list[float]) -> str | None:
        verdict = _verdict(ratios)
        self._verdicts = [*self._verdicts, verdict][-AGREEING:]
        if verdict is None or self._verdicts != [verdict] * AGREEING:
            if verdict is None:
                self._verdicts.clear()
            return None
        self.scale = verdict
        self._verdicts.clear()
        return f"the energies count {verdict} Wh: learned from the power"

    def _compare(self, ratios: list[float]) -> str | None:
        assert self.scale is not None
        # half way, on a scale of powers of ten, to the next candidate
        fits = all(0.316 < ratio / self.scale < 3.16 for ratio in ratios)
        if not fits:
            self._verdicts.clear()
            self._likely = _verdict(ratios)
            news = not self.contradicted and self._insisted != self.scale
            self.contradicted = self.contradicted or news
            return self.problem if news else None
        if self.contradicted:
            self._verdicts.append(self.scale)
            if len(self._verdicts) >= AGREEING:
                self._verdicts.clear()
                self.contradicted = False
                return f"the energies count {self.scale} Wh after all: totals are published again"
        return None

    @property
    def problem(self) -> str | None:
        """What is wrong, in words for the user; None: nothing."""
        if self.is_another:
            return (
                f"energy_scale is {self.given}, but the totals were published with"
                f" {self.published} Wh per count: they are held back. Set `energy_scale` back to"
                f" {self.published}, or let `kamstrup-mqtt accept METER` take {self.given}"
            )
        if not self.contradicted:
            return None
        likely = f" (more likely {self._likely})" if self._likely else ""
        way = (
            f"`kamstrup-mqtt accept METER` goes on with {self.given or self._likely or self.scale}"
        )
        return (
            f"the energy registers contradict the power: they do not count {self.scale} Wh (any"
            f" more){likely}; totals are held back. Compare with the meter's display: {way},"
            " another `energy_scale` has to be accepted too"
        )


def _candidate(text: str | None) -> int | None:
    return next((scale for scale in CANDIDATES if str(scale) == text), None)


def _verdict(ratios: list[float]) -> int | None:
    """The candidate that all ratios are within a factor of two of."""
    for candidate in CANDIDATES:
        if all(0.5 < ratio / candidate < 2 for ratio in ratios):
            return candidate
    return None
