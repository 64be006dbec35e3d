"""Decodes the frames of a meter that sends by itself."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import cast

from kamstrup_mqtt.core.errors import MeterError, ReplayError
from kamstrup_mqtt.core.model import LinkState, RetainedState
from kamstrup_mqtt.protocols.base import (
    DroppedBytes,
    Frame,
    PushedCodec,
    PushedReading,
    Timestamp,
)
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.live_counters import LiveCounters
from kamstrup_mqtt.reading.messages import describe_drop
from kamstrup_mqtt.reading.reports import MeterReports

_SCALED_UNITS = frozenset(("kWh", "kvarh"))
"""Units of the totals that an accepted energy scale changes."""


class PushDecoder:
    """Takes the frames of one meter. `last_error`: why the last of them was of no use."""

    def __init__(
        self, context: ReaderContext, reports: MeterReports, live_counters: LiveCounters
    ) -> None:
        self.last_error: tuple[LinkState, str] | None = None
        self._context = context
        self._codec = cast(PushedCodec, context.config.codec)
        self._reports = reports
        self._live_counters = live_counters

    def process(self, frame: Frame) -> bool:
        """Report what a frame contains, and return whether there was any value in it."""
        context = self._context
        try:
            message = self._codec.decode(frame)
        except ReplayError as error:
            self.last_error = (LinkState.BYTES_NO_FRAMES, str(error))
            context.counters.record_drop(str(error), frame.raw, context.clock.monotonic())
            context.counters.replayed += 1
            context.log.info("%s", error)
            return False
        except MeterError as error:
            self._reject(error, frame)
            return False
        received_at = Timestamp(context.clock.now(), context.clock.monotonic())
        reading = self._codec.process(message, received_at)
        if not reading.same_sender:  # the sender is known before its values are judged
            self._learn(reading)
        has_values = self._report(reading, received_at, frame.raw)
        if reading.same_sender:
            self._learn(reading)
        return has_values

    def _report(self, reading: PushedReading, received_at: Timestamp, raw: bytes) -> bool:
        count = partial(
            self._live_counters.update,
            received_at=received_at,
            register_age=reading.register_age,
            scale_trusted=reading.scale_trusted,
        )
        return self._reports.readings.report_push(
            reading.objects, raw, count, measured_at=reading.measured_at
        )

    def _learn(self, reading: PushedReading) -> None:
        """Learn facts from a frame besides its values, and report the meter's identity."""
        update = self._codec.learn()
        for level, text in update.log:
            self._context.log.log(level, "%s", text)
        if update.meter_replaced:
            self._reports.identity.replace_meter()
        self._reports.identity.report_identity(reading.objects)
        if self._context.learn(update.learned):
            self._reports.readings.apply_connection()
        status = self._reports.status
        status.notes = (*update.notes, *self._live_counters.notes())
        status.problem = update.problem

    def merge_retained(self, retained: RetainedState) -> dict[str, Decimal]:
        """Take over live counters that the broker retained, and return what they are now."""
        return self._live_counters.merge_retained(
            retained.values,
            retained.time,
            self._context.state.totals,
            lambda key, seconds: self._reports.readings.max_rise(key, "kWh", seconds),
        )

    def accept_held(self) -> tuple[str, ...]:
        """Accept what the codec holds back, and return what that was, in words."""
        accepted, learned = self._codec.accept_held()
        if accepted is None:
            return ()
        self._context.learn(learned)
        totals = self._context.state.totals
        self._reports.readings.forget_totals(
            [key for key, total in totals.items() if total.unit in _SCALED_UNITS]
        )
        self._live_counters.restart()
        self._reports.status.problem = None
        self._context.log.info("accepted by the user: %s", accepted)
        return (accepted,)

    def _reject(self, error: MeterError, frame: Frame) -> None:
        context = self._context
        self.last_error = (error.state, str(error))
        context.counters.record_drop(str(error), frame.raw, context.clock.monotonic())
        if error.state is LinkState.WRONG_KEY:
            context.counters.undecrypted += 1
            self._reports.status.mark_failed(*self.last_error)  # waiting does not help
            return
        context.log_once(
            str(error), f"{error}; please report it with these bytes: {frame.raw.hex(' ')}"
        )

    def record_drop(self, drop: DroppedBytes) -> None:
        """Take bytes that were no frame."""
        self.last_error = describe_drop(drop)
