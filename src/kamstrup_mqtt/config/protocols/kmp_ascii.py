"""Options of the 685-382 when it is read by its KMP-ASCII protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kamstrup_mqtt.config.polled import Polled, Timing
from kamstrup_mqtt.config.section import Limit, Text


class KmpAsciiTiming(Timing):
    first_byte: Limit = 1.0
    between: Limit = 0.6
    total: Limit = 4.0
    pause: Limit = 1.6
    tries: Annotated[int, Field(ge=1, le=10)] = 3


class KmpAsciiMeter(Polled):
    """A 685-382 by its own protocol."""

    protocol_name = "kmp-ascii"
    protocol: Literal["kmp-ascii"]
    model: Text = "e685_382"
    """The id of the model.

    Example: `model: e685_382`
    """
    timing: KmpAsciiTiming = Field(default_factory=KmpAsciiTiming)
    """The time limits of a request.

    Default: see [`timing`](#timing)
    Example: `timing: {tries: 5}`
    """

    def codec_options(self) -> dict[str, Any]:
        return {"timings": self.timing.poll_timings()}


METER = KmpAsciiMeter
