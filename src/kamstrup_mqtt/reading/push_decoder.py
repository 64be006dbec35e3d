"""What a meter that sends by itself tells: its frames into readings; the parity of its line."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import MeterError, ReplayError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.protocols.base import Dropped, DropReason, Frame, Moment, PushedCodec, Told
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.reports import MeterSetup, Reports
from kamstrup_mqtt.storage.state_file import Memory

_ENERGIES = frozenset(("kWh", "kvarh"))
"""Units of the totals that an accepted scale changes."""


class Hearing:
    """Takes the frames of one meter. `fault`: why the last of them was of no use."""

    def __init__(
        self,
        setup: MeterSetup,
        reports: Reports,
        memory: Memory,
        clock: Clock,
        counters: Counters,
        log: logging.Logger,
    ) -> None:
        self.fault: tuple[LinkState, str] | None = None
        self._codec = cast(PushedCodec, setup.codec)
        self._reports = reports
        self._memory = memory
        self._mine = memory.meter(setup.id)
        self._clock = clock
        self._counters = counters
        self._log = log
        totals = self._mine.totals
        self._codec.resume(
            {key: (total.value, total.time) for key, total in totals.items()},
            exact=memory.ended_well,
        )

    def take(self, frame: Frame) -> bool:
        """Hand over what a frame tells; whether there was any value in it."""
        try:
            message = self._codec.decode(frame)
        except ReplayError as error:
            self.fault = (LinkState.BYTES_NO_FRAMES, str(error))
            self._counters.drop(str(error), frame.raw, self._clock.monotonic())
            self._counters.replayed += 1
            self._log.info("%s", error)
            return False
        except MeterError as error:
            self._refuse(error, frame)
            return False
        heard = self._codec.hear(message, Moment(self._clock.now(), self._clock.monotonic()))
        if not heard.settled:  # who tells it is known before what it tells is judged
            self._follow(heard)
        told = self._reports.readings(heard.objects, (), frame.raw, belongs=heard.belongs)
        if heard.settled:
            self._follow(heard)
        return told

    def _follow(self, heard: Told) -> None:
        """Learn what follows from a frame besides its values, and who the meter is."""
        followed = self._codec.follow()
        for level, text in followed.log:
            self._log.log(level, "%s", text)
        if followed.anew:
            self._mine.learned = {}
        if not followed.learned.items() <= self._mine.learned.items():
            self._mine.learned = {**self._mine.learned, **followed.learned}
            self._memory.changed(urgent=True)
            self._reports.connection()
        self._reports.notes = followed.notes
        self._reports.problem_now = followed.problem
        self._reports.identity(heard.objects)

    def accept(self) -> tuple[str, ...]:
        """Believe what the codec holds back; what that was, in words."""
        accepted, learned = self._codec.accept()
        if accepted is None:
            return ()
        self._mine.learned = {**self._mine.learned, **learned}
        self._memory.changed(urgent=True)
        self._reports.begin_anew(k for k, unit in self._mine.units.items() if unit in _ENERGIES)
        self._log.info("accepted by hand: %s", accepted)
        return (accepted,)

    def _refuse(self, error: MeterError, frame: Frame) -> None:
        self.fault = (error.state, str(error))
        self._counters.drop(str(error), frame.raw, self._clock.monotonic())
        if error.state is LinkState.WRONG_KEY:
            self._counters.undecrypted += 1
            self._reports.bad(*self.fault)  # it will not become right by waiting
            return
        self._reports.warn_once(
            str(error), f"{error}; please report it with these bytes: {frame.raw.hex(' ')}"
        )

    def drop(self, drop: Dropped) -> None:
        """Take bytes that were no frame."""
        self.fault = _fault(drop)


_FAULTS: Mapping[DropReason, tuple[LinkState, str]] = MappingProxyType(
    {
        DropReason.CHECKSUM: (
            LinkState.CHECKSUM,
            "bytes come, but their checksums are wrong: check the wiring and the line's settings",
        ),
        DropReason.PARITY: (
            LinkState.BYTES_NO_FRAMES,
            "bytes come, but the parity of the line is wrong: the meter sends 8N1 and is read as"
            " 8E1. Set `parity: none` (behind a TCP bridge: 2400n81 in the bridge)",
        ),
        DropReason.M_BUS: (
            LinkState.BYTES_NO_FRAMES,
            "M-Bus telegrams come (68 .. 68), as Austrian and Polish meters send them: this is no"
            " HAN port that is read here (Norway, Sweden, Denmark, Switzerland: 7E .. 7E)",
        ),
        DropReason.P1: (
            LinkState.BYTES_NO_FRAMES,
            "a P1 telegram comes (/KAM5 ..., text): this is a P1 port, not a HAN port; it needs a"
            " reader for P1 (DSMR)",
        ),
    }
)


def _fault(drop: Dropped) -> tuple[LinkState, str]:
    if drop.reason in _FAULTS:
        return _FAULTS[drop.reason]
    return (
        LinkState.BYTES_NO_FRAMES,
        f"bytes come, but no whole list ({drop.reason}): check speed and parity (Kamstrup 2400 8N1,"
        f" Aidon and Kaifa 2400 8E1), and `protocol`; last: {drop.raw[:32].hex(' ')}",
    )


class ParityHunt:
    """Tries the line without parity and with even parity in turn, until frames come.

    What worked is remembered. `enabled` False: the line is opened as it is configured.
    """

    def __init__(self, params: SerialParams, learned: str | None, *, enabled: bool) -> None:
        self.params = params
        self.enabled = enabled
        if enabled and learned == "N":
            self.params = dataclasses.replace(params, parity="N")
        elif enabled and learned == "E":
            self.params = dataclasses.replace(params, parity="E")
        self._since: float | None = None

    def over(self) -> None:
        """A frame came: these params are right."""
        self._since = None

    def due(self, now: float, wait: float, fault: tuple[LinkState, str] | None) -> bool:
        """Whether bytes came in vain for `wait` seconds with these params. `now` monotonic."""
        if not self.enabled or fault is None or fault[0] is LinkState.WRONG_KEY:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= wait

    def turn(self) -> SerialParams:
        """The other parity."""
        other = dataclasses.replace(self.params, parity="N" if self.params.parity == "E" else "E")
        self.params = other
        self._since = None
        return other
