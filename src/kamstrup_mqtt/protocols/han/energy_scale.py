"""How many Wh a count of Kamstrup's energy registers is worth: 10, or 1.

The lists do not tell it, and grid companies change it from afar. Between two registers the power
adds up to an energy; divided by the counts between them it is near 10 or near 1. A verdict needs
at least 20 counts, and two windows in a row that agree. Meter types whose scale is proven decide
at once. A window that contradicts what was decided holds the totals back, and so does another
scale in the configuration: a scale is never changed under a total that was published, but by the
user's word (`accept_held`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kamstrup_mqtt.protocols.power_integral import WATT_HOUR

CANDIDATES: Final = (10, 1)
MIN_COUNTS: Final = 20
AGREEING_WINDOWS: Final = 2
MIN_WINDOW: Final = 5 * 60_000
"""Milliseconds that a window has at least (a list with registers comes every 10 s)."""
HOURLY_WINDOW: Final = 60 * 60_000

PROVEN_TYPES: Final[Mapping[str, int]] = {
    # 689 lists of 2017 and seed 003: 203 counts in an hour of 2032 Wh, 361 in one of 3.6 kWh
    "6841121BN243": 10,
}
"""Beginning of the meter type -> Wh per count."""

HELD_KEY: Final = "energy_scale_held"
_NOT_HELD = "no"
PUBLISHED_KEY: Final = "energy_scale_published"
CONFIRMED_KEY: Final = "energy_scale_insisted"
"""The scale that the user accepted though the power contradicts it."""
LIKELY_KEY: Final = "energy_scale_likely"
"""What the power says while it contradicts."""

Registers = Mapping[str, tuple[int, int]]
"""Code -> its count, and the integral of its power at the moment that it belongs to."""


class EnergyScale:
    """The scale of one meter's energies. `configured`: the user's word, None: find out.

    `scale` is what was decided, None while it is not; `published_scale` what totals were published
    with; `is_contradicted` holds the totals back."""

    def __init__(self, configured: int | None, learned: Mapping[str, str]) -> None:
        self.configured = configured
        found = _candidate(learned.get("energy_scale"))
        self.published_scale = _candidate(learned.get(PUBLISHED_KEY)) or found
        self.scale = configured or found or self.published_scale
        self.is_contradicted = self.scale is not None and learned.get(HELD_KEY) == str(self.scale)
        self._user_confirmed = _candidate(learned.get(CONFIRMED_KEY))
        self._likely = _candidate(learned.get(LIKELY_KEY))
        self._window_start: tuple[int, Registers] | None = None
        self._verdicts: list[int | None] = []
        self._is_frequent = False  # registers come with every list

    @property
    def learned(self) -> dict[str, str]:
        """What to remember."""
        found: dict[str, str] = {}
        if self.scale is not None:
            found[HELD_KEY] = str(self.scale) if self.is_contradicted else _NOT_HELD
            if self.configured is None:
                found["energy_scale"] = str(self.scale)
        if self.published_scale is not None:
            found[PUBLISHED_KEY] = str(self.published_scale)
        if self._user_confirmed is not None:
            found[CONFIRMED_KEY] = str(self._user_confirmed)
        if self.is_contradicted:
            found[LIKELY_KEY] = str(self._likely or "no")
        return found

    @property
    def has_config_conflict(self) -> bool:
        """Whether the configuration says another scale than totals were published with."""
        return self.configured is not None and self.published_scale not in (None, self.configured)

    @property
    def is_held_back(self) -> bool:
        """Whether totals are held back."""
        return self.is_contradicted or self.has_config_conflict

    @property
    def usable_scale(self) -> int | None:
        """The scale to publish with, None while nothing may be published."""
        return None if self.is_held_back else self.scale

    def accept_held(self) -> int | None:
        """The user's word while totals are held back: the scale of the configuration is right, or
        without one what the power says. The scale from now on; None: nothing is held back."""
        if not self.is_held_back:
            return None
        self.scale = self.configured or self._likely or self.scale
        if self.is_contradicted and self.scale != self._likely:
            self._user_confirmed = self.scale
        self.is_contradicted, self.published_scale = False, self.scale
        self._verdicts.clear()
        self.discard_window()
        return self.scale

    def decide_by_type(self, meter_type: str) -> bool:
        """Decide by the meter's type, if it is proven; whether that was news."""
        if self.scale is not None:
            return False
        for beginning, scale in PROVEN_TYPES.items():
            if meter_type.startswith(beginning):
                self.scale = scale
                return True
        return False

    def discard_window(self) -> None:
        """The power was not told for a while: the window is worth nothing."""
        self._window_start = None

    def describe_progress(self, now: int) -> str | None:
        """How far the learning is, in words; None where there is nothing to learn."""
        if self.scale is not None:
            return None
        if self._window_start is None:
            return "energy scale: waiting for a register"
        window = MIN_WINDOW if self._is_frequent else HOURLY_WINDOW
        passed = min(now - self._window_start[0], window) // 60_000
        text = f"energy scale: {passed} of {window // 60_000} minutes"
        return f"{text}, for the second time" if self._verdicts else text

    def add_registers(self, at: int, now: Registers, *, is_frequent: bool) -> str | None:
        """The registers as they were at `at` ms. Returns what was found out, for the log."""
        self._is_frequent = is_frequent
        if self._window_start is None:
            self._window_start = (at, now)
            return None
        ratios = self._ratios(now)
        if ratios is None:
            self._window_start = (at, now)
            return None
        if not ratios or at - self._window_start[0] < MIN_WINDOW:
            return None  # the window goes on
        self._window_start = (at, now)
        return self._decide(ratios) if self.scale is None else self._check_decided(ratios)

    def _ratios(self, now: Registers) -> list[float] | None:
        """Wh per count of the registers that moved enough; None: a register went back."""
        assert self._window_start is not None
        ratios = []
        for code, (count, integral) in now.items():
            before, integral_before = self._window_start[1].get(code, (count, integral))
            if count < before:
                return None
            if count - before >= MIN_COUNTS:
                ratios.append((integral - integral_before) / WATT_HOUR / (count - before))
        return ratios

    def _decide(self, ratios: list[float]) -> str | None:
        verdict = _matching_candidate(ratios)
        self._verdicts = [*self._verdicts, verdict][-AGREEING_WINDOWS:]
        if verdict is None or self._verdicts != [verdict] * AGREEING_WINDOWS:
            if verdict is None:
                self._verdicts.clear()
            return None
        self.scale = verdict
        self._verdicts.clear()
        return f"the energies count {verdict} Wh: learned from the power"

    def _check_decided(self, ratios: list[float]) -> str | None:
        assert self.scale is not None
        # half way, on a scale of powers of ten, to the next candidate
        fits = all(0.316 < ratio / self.scale < 3.16 for ratio in ratios)
        if not fits:
            self._verdicts.clear()
            self._likely = _matching_candidate(ratios)
            news = not self.is_contradicted and self._user_confirmed != self.scale
            self.is_contradicted = self.is_contradicted or news
            return self.problem if news else None
        if self.is_contradicted:
            self._verdicts.append(self.scale)
            if len(self._verdicts) >= AGREEING_WINDOWS:
                self._verdicts.clear()
                self.is_contradicted = False
                return f"the energies count {self.scale} Wh after all: totals are published again"
        return None

    @property
    def problem(self) -> str | None:
        """What is wrong, in words for the user; None: nothing."""
        if self.has_config_conflict:
            return (
                f"energy_scale is {self.configured}, but the totals were published with"
                f" {self.published_scale} Wh per count: they are held back. Set"
                f" `energy_scale` back to {self.published_scale}, or let"
                f" `kamstrup-mqtt accept METER` take {self.configured}"
            )
        if not self.is_contradicted:
            return None
        likely = f" (more likely {self._likely})" if self._likely else ""
        scale = self.configured or self._likely or self.scale
        way = f"`kamstrup-mqtt accept METER` goes on with {scale}"
        return (
            f"the energy registers contradict the power: they do not count {self.scale} Wh (any"
            f" more){likely}; totals are held back. Compare with the meter's display: {way},"
            " another `energy_scale` has to be accepted too"
        )


def _candidate(text: str | None) -> int | None:
    return next((scale for scale in CANDIDATES if str(scale) == text), None)


def _matching_candidate(ratios: list[float]) -> int | None:
    """The candidate that all ratios are within a factor of two of."""
    for candidate in CANDIDATES:
        if all(0.5 < ratio / candidate < 2 for ratio in ratios):
            return candidate
    return None
