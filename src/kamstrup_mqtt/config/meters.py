"""The meters of a configuration: one class for each protocol, told apart by `protocol`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from kamstrup_mqtt.config.han import HanMeter
from kamstrup_mqtt.config.meter import LogLevel, Meter
from kamstrup_mqtt.config.polled import (
    BATTERY_WARNING,
    IecMeter,
    KmpAsciiMeter,
    KmpMeter,
    Multical66Meter,
    Polled,
)

__all__ = [
    "BATTERY_WARNING",
    "METER_CLASSES",
    "HanMeter",
    "IecMeter",
    "KmpAsciiMeter",
    "KmpMeter",
    "LogLevel",
    "Meter",
    "MeterConfig",
    "Multical66Meter",
    "Polled",
]

MeterConfig: TypeAlias = Annotated[
    KmpMeter | KmpAsciiMeter | IecMeter | Multical66Meter | HanMeter,
    Field(discriminator="protocol"),
]
METER_CLASSES: tuple[type[Meter], ...] = (
    KmpMeter,
    KmpAsciiMeter,
    IecMeter,
    Multical66Meter,
    HanMeter,
)
