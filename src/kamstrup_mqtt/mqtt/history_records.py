"""Turns readings into records of the history topic (docs/topics.md, History)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.model import LoggedReading, Reading, Scalar
from kamstrup_mqtt.devices.device import Device

PUSHED_KINDS = ("live", "hourly")


class RecordEncoder:
    """Encodes records and numbers them: `seq` counts from 1 for each meter and run (`boot`)."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._last_numbers: dict[str, int] = {}

    def encode_reading(self, reading: Reading, device: Device) -> str:
        """Return the record of a reading that `device` has applied, with the published values."""
        kind = reading.group if reading.group in PUSHED_KINDS else "values"
        measured_at = reading.measured_at or estimate_measured_at(kind, reading.time)
        values = device.meter_state.readings[reading.group].values
        return self._encode(device, kind, reading.time, measured_at, values)

    def encode_logged(self, record: LoggedReading, device: Device) -> str:
        """Return the record of an entry of the meter's own log."""
        values = device.logged_values(record)
        return self._encode(device, "backfill", record.time, record.measured_at, values)

    def _encode(
        self,
        device: Device,
        kind: str,
        time: datetime | None,
        measured_at: datetime | None,
        values: Mapping[str, Scalar],
    ) -> str:
        meter = device.config.id
        number = self._last_numbers[meter] = self._last_numbers.get(meter, 0) + 1
        return decimal_json.dumps(
            {
                "meter": meter,
                "serial": device.serial_text,
                "boot": self._boot,
                "seq": number,
                "kind": kind,
                "time": rfc3339(time),
                "at": rfc3339(measured_at),
                "readings": dict(values),
            }
        )


def estimate_measured_at(kind: str, received: datetime | None) -> datetime | None:
    """Estimate when the values of a reading without `measured_at` were measured.

    The registers of an hourly list are those of the full hour, and the list arrives within a minute
    after it. All other values are current when they arrive. Returns None if the time is not known.
    """
    if kind != "hourly" or received is None:
        return received
    if received.minute != 0:
        return None
    return received.replace(minute=0, second=0, microsecond=0)
