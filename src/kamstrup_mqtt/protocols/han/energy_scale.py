"""The scale of Kamstrup's energy registers: a count is 10 Wh or 1 Wh.

The lists do not say which, and grid companies change it remotely. The power adds up to an energy
between two values of a register; divided by the counts between them it is near 10 or near 1. A
decision needs at least 20 counts and two windows in a row that agree. Meter types with a known
scale decide at once. Totals are held back if a window contradicts the decision, or if the
configuration has another scale: the scale of a published total only changes when the user accepts
it (`accept_held`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kamstrup_mqtt.protocols.power_integral import WATT_HOUR

CANDIDATES: Final = (10, 1)
MIN_COUNTS: Final = 20
AGREEING_WINDOWS: Final = 2
MIN_WINDOW: Final = 5 * 60_000
"""Minimum length of a window in milliseconds, for lists with registers every 10 s."""
HOURLY_WINDOW: Final = 60 * 60_000

PROVEN_TYPES: Final[Mapping[str, int]] = {
    # 689 lists of 2017 and seed 003: 203 counts in an hour of 2032 Wh, 361 in one of 3.6 kWh
    "6841121BN243": 10,
}
"""Prefix of the meter type -> Wh per count."""

HELD_KEY: Final = "energy_scale_held"
_NOT_HELD = "no"
PUBLISHED_KEY: Final = "energy_scale_published"
CONFIRMED_KEY: Final = "energy_scale_insisted"
"""The scale that the user accepted though the power contradicts it."""
LIKELY_KEY: Final = "energy_scale_likely"
"""The scale that the power suggests while it contradicts the decided one."""

Registers = Mapping[str, tuple[int, int]]
"""Code of a register -> its count, and the integral of its power at the same time."""


class EnergyScale:
    """The scale of one meter's energies, in Wh per count.

    configured       the scale in the configuration, None to learn it
    scale            the decided scale, None while it is not known
    published_scale  the scale that totals were published with
    is_contradicted  the power contradicts the decided scale: totals are held back
    """

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
        """Everything to remember."""
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
        """Whether totals were published with another scale than the configured one."""
        return self.configured is not None and self.published_scale not in (None, self.configured)

    @property
    def is_held_back(self) -> bool:
        """Whether totals are held back."""
        return self.is_contradicted or self.has_config_conflict

    @property
    def usable_scale(self) -> int | None:
        """The scale to publish totals with. None while they must not be published."""
        return None if self.is_held_back else self.scale

    def accept_held(self) -> int | None:
        """Accept the configured scale, or the one that the power suggests if none is configured.

        Returns the new scale, None if nothing is held back.
        """
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
        """Decide by the meter's type if its scale is known. Returns whether that decided it."""
        if self.scale is not None:
            return False
        for beginning, scale in PROVEN_TYPES.items():
            if meter_type.startswith(beginning):
                self.scale = scale
                return True
        return False

    def discard_window(self) -> None:
        """Start the window again, because the power was not known for a while."""
        self._window_start = None

    def describe_progress(self, now: int) -> str | None:
        """Describe the progress of the learning at `now` ms. None if there is nothing to learn."""
        if self.scale is not None:
            return None
        if self._window_start is None:
            return "energy scale: waiting for a register"
        window = MIN_WINDOW if self._is_frequent else HOURLY_WINDOW
        passed = min(now - self._window_start[0], window) // 60_000
        text = f"energy scale: {passed} of {window // 60_000} minutes"
        return f"{text}, for the second time" if self._verdicts else text

    def add_registers(self, at: int, now: Registers, *, is_frequent: bool) -> str | None:
        """Add the registers `now`, measured at `at` ms.

        Returns what was decided, in words for the log; None if nothing was.
        """
        self._is_frequent = is_frequent
        if self._window_start is None:
            self._window_start = (at, now)
            return None
        ratios = self._ratios(now)
        if ratios is None:
            self._window_start = (at, now)
            return None
        if not ratios or at - self._window_start[0] < MIN_WINDOW:
            return None  # the window is still too short
        self._window_start = (at, now)
        return self._decide(ratios) if self.scale is None else self._check_decided(ratios)

    def _ratios(self, now: Registers) -> list[float] | None:
        """Wh per count of each register that advanced enough. None if a register decreased."""
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
        # half way to the next candidate on a logarithmic scale
        fits = all(0.316 < ratio / self.scale < 3.16 for ratio in ratios)
        if not fits:
            self._verdicts.clear()
            self._likely = _matching_candidate(ratios)
            is_new = not self.is_contradicted and self._user_confirmed != self.scale
            self.is_contradicted = self.is_contradicted or is_new
            return self.problem if is_new else None
        if self.is_contradicted:
            self._verdicts.append(self.scale)
            if len(self._verdicts) >= AGREEING_WINDOWS:
                self._verdicts.clear()
                self.is_contradicted = False
                return f"the energies count {self.scale} Wh after all: totals are published again"
        return None

    @property
    def problem(self) -> str | None:
        """The reason why totals are held back, in words for the user. None if they are not."""
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
    """Return the candidate that all ratios are near to: within a factor of two."""
    for candidate in CANDIDATES:
        if all(0.5 < ratio / candidate < 2 for ratio in ratios):
            return candidate
    return None
