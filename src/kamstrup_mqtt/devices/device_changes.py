"""The changes that a report makes to a device, and therefore what has to be published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kamstrup_mqtt.core.model import EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """Changes made by one report.

    discovery     the discovery message differs (send it only if `Device.serial` is not None, and
                  after the states: Home Assistant logs a warning for a key that the retained state
                  lacks; where `replaced`, before them)
    identity      a serial number is new: call `assign_suffixes`
    replaced      another meter answers: its old device is removed before the new one is announced
    states        groups to publish
    diagnostics   worth publishing within a minute; `link`: at once, the link state changed
    device_state  the device's state changed; `urgent`: it must be written within seconds
    log           (logging level, message), each for the log once
    """

    discovery: bool = False
    identity: bool = False
    replaced: bool = False
    states: frozenset[str] = EMPTY
    diagnostics: bool = False
    link: bool = False
    device_state: bool = False
    urgent: bool = False
    log: tuple[tuple[int, str], ...] = ()


@cache
def routine_change(group: str) -> DeviceChange:
    """Return what a reading of a group changes when nothing of it is new."""
    return DeviceChange(states=frozenset({group}), diagnostics=True, device_state=True)
