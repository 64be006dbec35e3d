"""Makes the daemon's components from the configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kamstrup_mqtt.config import Config, Meter, SpoolConfig
from kamstrup_mqtt.devices.device import Device, DeviceConfig
from kamstrup_mqtt.devices.device_readings import MergeRetained
from kamstrup_mqtt.devices.payloads import Diagnostics
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.limits import MeterLimits, limits_for
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.reading.reader_config import BackfillConfig, ReaderConfig
from kamstrup_mqtt.storage import spool
from kamstrup_mqtt.storage.history.queue import HistoryQueue
from kamstrup_mqtt.storage.history.spooler import HistoryLimits
from kamstrup_mqtt.storage.state_schema import Learned, MeterState, adopt_model

if TYPE_CHECKING:
    from kamstrup_mqtt.config.polled import Polled
    from kamstrup_mqtt.config.protocols.kmp import KmpMeter


def make_history(
    config: SpoolConfig,
    path: Path,
    monotonic: Callable[[], float],
    seed: str | None,
    limits: HistoryLimits,
) -> HistoryQueue:
    """Make the history with its spool in `path`. `seed` makes the boot id reproducible."""
    size = config.megabytes * 1_000_000
    disk = None
    if config.mode != "memory":
        disk = spool.Spool(spool.SpoolFile(path, rows=config.rows, size=size))
    boot_id = None if seed is None else hashlib.sha256(seed.encode()).hexdigest()[:16]
    return HistoryQueue(
        config.mode,
        disk,
        rows=config.rows,
        size=size,
        resend=config.resend,
        monotonic=monotonic,
        boot_id=boot_id,
        limits=limits,
    )


def device_config(meter: Meter, config: Config, plan: ReadingPlan | None = None) -> DeviceConfig:
    """Return what is known of a meter before its first reading."""
    return DeviceConfig(
        id=meter.id,
        name=meter.name,
        model_id=meter.model,
        model=meter.meter_model,
        plan=plan or meter.plan(),
        interval=meter.interval_seconds,
        serial=meter.serial,
        commands=config.mqtt.commands,
    )


def make_device(
    meter: Meter,
    config: Config,
    state: MeterState,
    started: float,
    *,
    exact: bool = True,
    merge_live: MergeRetained | None = None,
    plan: ReadingPlan | None = None,
) -> Device:
    """Make the device of a meter from its state.

    started     monotonic time at which the daemon started
    exact       the state is equal to the last published one
    merge_live  passes retained live counters to the reader of the meter
    plan        the reading plan of the meter if it is already made
    """
    adopt_model(state.reader, meter.model, meter.profile.identity)
    return Device(
        device_config(meter, config, plan),
        state.device,
        started,
        exact=exact,
        diagnostics=Diagnostics(
            learned=state.reader.learned.as_mapping(),
            unsupported=tuple(map(str, state.reader.unsupported)),
        ),
        merge_live=merge_live,
    )


def _meter_limits(meter: Meter) -> MeterLimits:
    return limits_for(meter.meter_model, meter.max_power, meter.max_flow)


def reader_config(
    meter: Meter,
    learned: Learned,
    on_model_found: Callable[[str], None] | None,
    *,
    fast_path: bool = True,
    plan: ReadingPlan | None = None,
) -> ReaderConfig:
    """Make the configuration of a reader.

    on_model_found  called with the detected model of a meter that is configured as `auto`
    fast_path       use the learned layouts of `protocols.fast_path`
    plan            the reading plan of the meter if it is already made
    """
    spec = registry.find_protocol(meter.protocol_name)
    polled = None if meter.is_pushed else cast("Polled", meter)
    return ReaderConfig(
        id=meter.id,
        name=meter.name,
        spec=spec,
        codec=spec.make_codec(
            **meter.codec_options(), learned=learned.as_mapping(), fast_path=fast_path
        ),
        plan=plan or meter.plan(),
        serial=meter.serial_params(),
        interval=meter.interval_seconds,
        battery=meter.meter_model.has_battery,
        detect_parity=meter.detects_parity,
        limits=_meter_limits(meter),
        has_power_limit=meter.max_power is not None,
        on_model_found=on_model_found,
        align=polled is not None and polled.align,
        offset=0.0 if polled is None else polled.offset,
        backfill=_backfill_config(meter),
    )


def _backfill_config(meter: Meter) -> BackfillConfig | None:
    found = cast("KmpMeter", meter).backfill if meter.protocol_name == "kmp" else None
    return None if found is None else BackfillConfig(**found.model_dump())
