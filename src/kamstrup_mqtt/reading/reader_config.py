"""The configuration of a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.limits import DEFAULT_LIMITS, MeterLimits
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import Codec, ProtocolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillConfig:
    """What to read of a meter's log after a gap: the log by its period or by its number, and at
    most `records` of it."""

    logger: str = "hour"
    log_id: int | None = None
    records: int = 168


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderConfig:
    """One configured meter.

    interval         seconds between polls; None: the meter sends by itself
    battery          each answer costs the meter some of its battery
    detect_parity    the parity of the line is found out
    limits           what the meter can do at most; `has_power_limit`: the user gave the power
    on_model_found   called with the model of a meter whose model is `auto`
    align, offset    poll at multiples of the interval in local time, plus `offset` seconds
    backfill         what of the meter's log fills a gap
    """

    id: str
    name: str
    spec: ProtocolSpec
    codec: Codec
    plan: ReadingPlan
    serial: SerialParams
    interval: float | None
    battery: bool = False
    detect_parity: bool = False
    limits: MeterLimits = DEFAULT_LIMITS
    has_power_limit: bool = False
    on_model_found: Callable[[str], None] | None = None
    align: bool = False
    offset: float = 0.0
    backfill: BackfillConfig | None = None
