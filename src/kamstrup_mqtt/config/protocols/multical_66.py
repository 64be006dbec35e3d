"""Options of a MULTICAL 66 or III that is read by its short requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kamstrup_mqtt.config.polled import Polled, Timing
from kamstrup_mqtt.config.section import Limit, Text, validation_error
from kamstrup_mqtt.links.address import TcpBridge
from kamstrup_mqtt.protocols.base import Wake


class Multical66Timing(Timing):
    first_byte: Limit = 3.0
    between: Limit = 0.5
    total: Limit = 8.0
    pause: Limit = 5.0
    tries: Annotated[int, Field(ge=1, le=10)] = 2


class Multical66Meter(Polled):
    """A MULTICAL 66 or III by its own requests, on a local port: the speed changes."""

    protocol_name = "multical-66"
    protocol: Literal["multical-66"]
    model: Text = "multical_66"
    """The id of the model.

    Example: `model: multical_66`
    """
    wake: Wake | None = None
    """How a sleeping eye is woken before each poll.

    Example: `wake: nul`
    """
    timing: Multical66Timing = Field(default_factory=Multical66Timing)
    """The time limits of a request.

    Default: see [`timing`](#timing)
    Example: `timing: {tries: 3}`
    """

    @model_validator(mode="after")
    def _local(self) -> Multical66Meter:
        if isinstance(self.port, TcpBridge):
            words = "this protocol changes the speed of the line, which a TCP bridge cannot do"
            raise validation_error([(("port",), words)])
        return self

    def codec_options(self) -> dict[str, Any]:
        return {
            "baudrate": self.serial_params().baudrate,
            "timings": self.timing.poll_timings(self.wake),
        }


METER = Multical66Meter
