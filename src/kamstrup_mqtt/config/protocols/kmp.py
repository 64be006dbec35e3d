"""Options of meters that speak KMP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kamstrup_mqtt.config.polled import Polled, Timing
from kamstrup_mqtt.config.section import Limit, Section, validation_error
from kamstrup_mqtt.protocols.base import Wake


class KmpTiming(Timing):
    first_byte: Limit = 1.6
    between: Limit = 0.5
    total: Limit = 6.0
    pause: Limit = 1.6
    tries: Annotated[int, Field(ge=1, le=10)] = 3


class Backfill(Section):
    """The meter's own log, read after a gap. Experimental. `backfill: true` takes the defaults."""

    logger: Literal["hour", "day", "month", "year"] = "hour"
    """The log of a 303, 403 or 603 that is read.

    Example: `logger: day`
    """
    log_id: Annotated[int, Field(ge=0, le=255)] | None = None
    """The number of the log, for other models.

    Example: `log_id: 1`
    """
    records: Annotated[int, Field(ge=1, le=2000)] = 168
    """The number of records that are read at most after one gap.

    Example: `records: 500`
    """


def _backfill(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return value


def _kmp_address(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            raise ValueError("must be a number from 0x00 to 0xFF, such as 0x3F") from None
    return value


class KmpMeter(Polled):
    """A MULTICAL, a flowIQ, or another meter that speaks KMP."""

    protocol_name = "kmp"
    protocol: Literal["kmp"]
    address: Annotated[int, BeforeValidator(_kmp_address), Field(ge=0, le=0xFF)] = 0x3F
    """The destination of requests: `0x3F` is the meter, `0x7F` and `0xBF` are its modules.

    Default: `0x3F`
    Example: `address: 0x3F`
    """
    wake: Wake | None = None
    """How a sleeping eye is woken before each poll: `nul` is a light that flickers for 2 s,
    `ident` a request at 300 baud, which a bridge cannot send.

    Example: `wake: nul`
    """
    backfill: Annotated[Backfill | None, BeforeValidator(_backfill)] = None
    """Experimental: read the meter's own log after a gap.

    Default: `false`
    Example: `backfill: true`
    """
    timing: KmpTiming = Field(default_factory=KmpTiming)
    """The time limits of a request.

    Default: see [`timing`](#timing)
    Example: `timing: {tries: 5}`
    """

    @model_validator(mode="after")
    def _has_log(self) -> KmpMeter:
        if self.backfill and self.backfill.log_id is None and not self.profile.has_log:
            words = (
                f"a {self.meter_model.name} has no known log of hours; if you know the number of"
                " one of its logs, write backfill: {log_id: 1}"
            )
            raise validation_error([(("backfill",), words)])
        return self

    def codec_options(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "baudrate": self.serial_params().baudrate,
            "timings": self.timing.poll_timings(self.wake),
        }


METER = KmpMeter
