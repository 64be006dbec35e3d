"""What the configuration means to the parts that the program is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kamstrup_mqtt.config import Config, Meter, SpoolConfig
from kamstrup_mqtt.devices.device import MeterFacts
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.limits import Bounds
from kamstrup_mqtt.meters.plan import shared
from kamstrup_mqtt.reading.backfill import Wanted
from kamstrup_mqtt.reading.reader import MeterSetup
from kamstrup_mqtt.storage import spool
from kamstrup_mqtt.storage.history import History, Limits

if TYPE_CHECKING:
    from kamstrup_mqtt.config.polled import KmpMeter, Polled


def history(
    config: SpoolConfig,
    path: Path,
    monotonic: Callable[[], float],
    seed: str | None,
    limits: Limits,
) -> History:
    """The records, with the spool in `path` behind them; `seed` for a boot id that is always the
    same."""
    size = config.megabytes * 1_000_000
    disk = None
    if config.mode != "memory":
        disk = spool.Spool(spool.SpoolFile(path, rows=config.rows, size=size))
    boot = None if seed is None else hashlib.sha256(seed.encode()).hexdigest()[:16]
    return History(
        config.mode,
        disk,
        rows=config.rows,
        size=size,
        resend=config.resend,
        monotonic=monotonic,
        boot=boot,
        limits=limits,
    )


def facts(meter: Meter, config: Config) -> MeterFacts:
    """What the publisher knows of a meter before it has answered."""
    return MeterFacts(
        id=meter.id,
        name=meter.name,
        model_id=meter.model,
        model=meter.meter_model,
        plan=shared(meter.plan()),
        interval=meter.interval_seconds,
        serial=meter.serial,
        commands=config.mqtt.commands,
        bounds=_bounds(meter),
    )


def _bounds(meter: Meter) -> Bounds:
    return Bounds(
        power=meter.max_power or meter.meter_model.power_bound,
        flow=meter.max_flow or meter.meter_model.max_flow,
    )


def setup(
    meter: Meter, learned: Mapping[str, str], found: Callable[[str], None] | None
) -> MeterSetup:
    """What a reader needs for a meter; `found` is called with the model of one that is asked for
    it."""
    spec = registry.protocol(meter.protocol_name)
    polled = None if meter.pushed else cast("Polled", meter)
    return MeterSetup(
        id=meter.id,
        name=meter.name,
        spec=spec,
        codec=spec.codec(**meter.codec_options(), learned=learned),
        plan=shared(meter.plan()),
        serial=meter.serial_params(),
        interval=meter.interval_seconds,
        battery=meter.meter_model.battery,
        hunt_parity=meter.hunts_parity,
        bounds=_bounds(meter),
        bounded=meter.max_power is not None,
        found=found,
        align=polled is not None and polled.align,
        offset=0.0 if polled is None else polled.offset,
        backfill=_backfill(meter),
    )


def _backfill(meter: Meter) -> Wanted | None:
    found = cast("KmpMeter", meter).backfill if meter.protocol_name == "kmp" else None
    return None if found is None else Wanted(**found.model_dump())
