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
from kamstrup_mqtt.protocols.base import (
    DroppedBytes,
    DropReason,
    Frame,
    PushedCodec,
    PushedReading,
    Timestamp,
)
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.reports import ReaderConfig, Reports
from kamstrup_mqtt.storage.state_file import StateFile

_ENERGIES = frozenset(("kWh", "kvarh"))
"""Units of the totals that an accepted scale changes."""


class PushDecoder:
    """Takes the frames of one meter. `last_error`: why the last of them was of no use."""

    def __init__(
        self,
        config: ReaderConfig,
        reports: Reports,
        state_file: StateFile,
        clock: Clock,
        counters: Counters,
        log: logging.Logger,
    ) -> None:
        self.last_error: tuple[LinkState, str] | None = None
        self._codec = cast(PushedCodec, config.codec)
        self._reports = reports
        self._state_file = state_file
        self._meter_state = state_file.meter(config.id)
        self._clock = clock
        self._counters = counters
        self._log = log

    def process(self, frame: Frame) -> bool:
        """Hand over what a frame tells; whether there was any value in it."""
        try:
            message = self._codec.decode(frame)
        except ReplayError as error:
            self.last_error = (LinkState.BYTES_NO_FRAMES, str(error))
            self._counters.record_drop(str(error), frame.raw, self._clock.monotonic())
            self._counters.replayed += 1
            self._log.info("%s", error)
            return False
        except MeterError as error:
            self._reject(error, frame)
            return False
        received_at = Timestamp(self._clock.now(), self._clock.monotonic())
        reading = self._codec.process(message, received_at)
        if not reading.same_sender:  # who tells it is known before what it tells is judged
            self._learn(reading)
        has_values = self._reports.report_pushed(reading, frame.raw, received_at)
        if reading.same_sender:
            self._learn(reading)
        return has_values

    def _learn(self, reading: PushedReading) -> None:
        """Learn what follows from a frame besides its values, and who the meter is."""
        update = self._codec.learn()
        for level, text in update.log:
            self._log.log(level, "%s", text)
        if update.meter_replaced:
            self._meter_state.learned = {}
            self._reports.replace_meter()
        if not update.learned.items() <= self._meter_state.learned.items():
            self._meter_state.learned = {**self._meter_state.learned, **update.learned}
            self._state_file.mark_changed(urgent=True)
            self._reports.apply_connection()
        live = self._reports.live_counters
        self._reports.notes = (*update.notes, *(live.notes() if live is not None else ()))
        self._reports.problem = update.problem
        self._reports.report_identity(reading.objects)

    def accept_held(self) -> tuple[str, ...]:
        """Believe what the codec holds back; what that was, in words."""
        accepted, learned = self._codec.accept_held()
        if accepted is None:
            return ()
        self._meter_state.learned = {**self._meter_state.learned, **learned}
        self._state_file.mark_changed(urgent=True)
        self._reports.reset_totals(
            k for k, unit in self._meter_state.units.items() if unit in _ENERGIES
        )
        self._log.info("accepted by hand: %s", accepted)
        return (accepted,)

    def _reject(self, error: MeterError, frame: Frame) -> None:
        self.last_error = (error.state, str(error))
        self._counters.record_drop(str(error), frame.raw, self._clock.monotonic())
        if error.state is LinkState.WRONG_KEY:
            self._counters.undecrypted += 1
            self._reports.mark_failed(*self.last_error)  # it will not become right by waiting
            return
        self._reports.warn_once(
            str(error), f"{error}; please report it with these bytes: {frame.raw.hex(' ')}"
        )

    def record_drop(self, drop: DroppedBytes) -> None:
        """Take bytes that were no frame."""
        self.last_error = _drop_message(drop)


_DROP_MESSAGES: Mapping[DropReason, tuple[LinkState, str]] = MappingProxyType(
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


def _drop_message(drop: DroppedBytes) -> tuple[LinkState, str]:
    if drop.reason in _DROP_MESSAGES:
        return _DROP_MESSAGES[drop.reason]
    return (
        LinkState.BYTES_NO_FRAMES,
        f"bytes come, but no whole list ({drop.reason}): check speed and parity (Kamstrup 2400 8N1,"
        f" Aidon and Kaifa 2400 8E1), and `protocol`; last: {drop.raw[:32].hex(' ')}",
    )


class ParityDetector:
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

    def confirm(self) -> None:
        """A frame came: these params are right."""
        self._since = None

    def is_due(self, now: float, wait: float, last_error: tuple[LinkState, str] | None) -> bool:
        """Whether bytes came in vain for `wait` seconds with these params. `now` monotonic."""
        if not self.enabled or last_error is None or last_error[0] is LinkState.WRONG_KEY:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= wait

    def switch(self) -> SerialParams:
        """The other parity."""
        other = dataclasses.replace(self.params, parity="N" if self.params.parity == "E" else "E")
        self.params = other
        self._since = None
        return other
