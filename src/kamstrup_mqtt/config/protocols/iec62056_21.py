"""Options of meters that answer with an IEC 62056-21 readout."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from kamstrup_mqtt.config.polled import Polled, Timing
from kamstrup_mqtt.config.section import Limit, Text
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import Wake


class IecTiming(Timing):
    first_byte: Limit = 3.0
    between: Limit = 2.0
    total: Limit = 60.0
    pause: Limit = 1.6
    tries: Annotated[int, Field(ge=1, le=10)] = 2


class IecMeter(Polled):
    """A meter that answers `/?!` with a readout."""

    protocol_name = "iec62056-21"
    protocol: Literal["iec62056-21"]
    model: Text = "e685_382"
    """The id of the model.

    Example: `model: iec_meter`
    """
    address: Annotated[Text, Field(max_length=32, pattern=r"^[0-9A-Za-z ]*$")] = ""
    """The address of the meter, if several share a line.

    Example: `address: "12345678"`
    """
    bcc: Literal["auto", "sum", "xor", "none"] = "auto"
    """The block check. `auto` finds out which one the meter uses and remembers it.

    Example: `bcc: sum`
    """
    wake: Wake | None = None
    """How a sleeping eye (MULTICAL 401, 66) is woken before each poll.

    Example: `wake: nul`
    """
    parity_mode: Literal["software", "hardware"] = "software"
    """Who checks the parity: the program over 8N1 (`software`), or the port (`hardware`).

    Example: `parity_mode: hardware`
    """
    timing: IecTiming = Field(default_factory=IecTiming)
    """The time limits of a readout.

    Default: see [`timing`](#timing)
    Example: `timing: {total: 90s}`
    """

    def serial_params(self) -> SerialParams:
        params = super().serial_params()
        if not self._in_software:
            return dataclasses.replace(params, bytesize=self._line[0], parity=self._line[1])
        return dataclasses.replace(params, bytesize=8, parity="N")

    def codec_options(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "bcc": self.bcc,
            "parity": "software" if self._in_software else "hardware",
            "baudrate": self.serial_params().baudrate,
            "timings": self.timing.poll_timings(self.wake),
        }

    @property
    def _line(self) -> tuple[int, Literal["N", "E", "O"]]:
        """Data bits and parity of the line: 7E unless configured otherwise."""
        return self.bytesize or 7, self.parity or "E"

    @property
    def _in_software(self) -> bool:
        # only 7E is handled in software; other lines are opened as configured
        return self.parity_mode == "software" and self._line == (7, "E")

    @property
    def _accepts_unlisted(self) -> bool:
        return True


METER = IecMeter
