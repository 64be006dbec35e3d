"""The configuration of a device."""

from __future__ import annotations

from dataclasses import dataclass

from kamstrup_mqtt.meters.model import MeterModel
from kamstrup_mqtt.meters.plan import ReadingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """One configured meter as it is published.

    interval  seconds between polls; None: the meter sends by itself
    serial    the serial number that the user gave
    commands  Home Assistant gets a "Read now" button
    """

    id: str
    name: str
    model_id: str
    model: MeterModel
    plan: ReadingPlan
    interval: float | None
    serial: str | None = None
    commands: bool = True

    @property
    def is_polled(self) -> bool:
        """Whether the meter must be asked."""
        return self.interval is not None
