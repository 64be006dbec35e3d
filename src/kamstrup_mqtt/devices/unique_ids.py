"""Meters that tell the same serial number are kept apart."""

from __future__ import annotations

from collections.abc import Iterable

from kamstrup_mqtt.devices.device import Device


def assign_suffixes(pictures: Iterable[Device]) -> list[str]:
    """Give each of several meters with one serial number ids of its own; returns warnings.

    Who was announced under the bare number keeps it, else the first configured has it; the
    others get `_<id>` behind it, for as long as they are remembered.
    """
    named = [(p, own) for p in pictures if (own := p.base_serial) is not None]
    holders: dict[str, Device] = {}
    for picture, own in sorted(named, key=lambda item: item[0].meter_state.announced_as != item[1]):
        if picture.meter_state.announced_as != f"{own}_{picture.config.id}":
            holders.setdefault(own, picture)
    warnings = []
    for picture, own in named:
        holder = holders.get(own)
        suffix = "" if holder is picture else f"_{picture.config.id}"
        if suffix and picture.suffix != suffix and holder is not None:
            warnings.append(
                f"{picture.config.id} and {holder.config.id} tell the same serial number {own}:"
                f" the ids of {picture.config.id} end in {suffix}; are both on one meter?"
            )
        picture.suffix = suffix
    return warnings
