"""Unique ids for meters with the same serial number."""

from __future__ import annotations

from collections.abc import Iterable

from kamstrup_mqtt.devices.device import Device


def assign_suffixes(devices: Iterable[Device]) -> list[str]:
    """Give meters that share a serial number different ids, and return warnings.

    The meter that was announced under the bare number keeps it, else the first configured one gets
    it. The ids of the others end in `_<id>`, as long as they are in the state file.
    """
    named = [(d, serial) for d in devices if (serial := d.base_serial) is not None]
    holders: dict[str, Device] = {}
    for device, serial in sorted(
        named, key=lambda item: item[0].meter_state.announced_as != item[1]
    ):
        if device.meter_state.announced_as != f"{serial}_{device.config.id}":
            holders.setdefault(serial, device)
    warnings = []
    for device, serial in named:
        holder = holders.get(serial)
        suffix = "" if holder is device else f"_{device.config.id}"
        if suffix and device.suffix != suffix and holder is not None:
            warnings.append(
                f"{device.config.id} and {holder.config.id} have the same serial number {serial}:"
                f" the ids of {device.config.id} end in {suffix}; are both on one meter?"
            )
        device.suffix = suffix
    return warnings
