"""A register that is counted on between two of its values.

A meter tells its registers once an hour, 5 to 60 s after the hour they belong to, and so an hour's
energy lands in the next one. The power that it tells every 10 s adds up to the same within a few
tenths of a percent; the counter goes on with that, and each register puts it right again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from kamstrup_mqtt.protocols.han.integral import WATT_HOUR, Integral

_KILO: Final = 3  # Wh to kWh


class LiveCounter:
    """One counter. It never steps back: where it ran ahead of its register it stands until the
    truth has caught up."""

    def __init__(self, integral: Integral) -> None:
        self._integral = integral
        self._base: int | None = None  # what the truth has more than the integral
        self._last_value = 0
        self.error: Decimal | None = None
        """How far it was from the last register, in kWh; positive: ahead of it."""

    def restore(self, value: Decimal, *, running: bool) -> None:
        """Go on from a value in kWh that was published before: it will not step back behind it.
        `running`: that was just now, so it goes on at once, else with the first register."""
        self._last_value = int(value.scaleb(_KILO)) * WATT_HOUR
        if running:
            self._base = self._last_value - self._integral.total

    def anchor(self, register: int, step: int, at: int) -> None:
        """The register had this value in Wh at `value_at` ms. It counts in steps of `step` Wh, so
        the truth lies between it and the next step."""
        low, high = register * WATT_HOUR, (register + step) * WATT_HOUR - 1
        then = self._integral.value_at(at)
        if self._base is None:
            self._base = low - then
            return
        counted = self._base + then
        truth = min(max(counted, low), high)
        self._base += truth - counted
        self.error = _kwh(abs(counted - truth)).copy_sign(counted - truth)

    def reset(self) -> None:
        """Begin anew with the next register; what was shown stays the least."""
        self._base = None
        self.error = None

    @property
    def value(self) -> Decimal | None:
        """The counter in kWh, in whole Wh; None before the first register."""
        if self._base is None:
            return None
        self._last_value = max(self._last_value, self._base + self._integral.total)
        return _kwh(self._last_value)


def _kwh(energy: int) -> Decimal:
    return Decimal((0, tuple(map(int, str(energy // WATT_HOUR))), -_KILO))
