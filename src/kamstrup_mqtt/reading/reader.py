"""Reads one meter: polls it or listens to it, and survives its own crashes."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from kamstrup_mqtt.core.backoff import Backoff
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.log import meter_logger
from kamstrup_mqtt.core.model import EMPTY, RetainedState
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.reading import messages
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.reader_config import ReaderConfig
from kamstrup_mqtt.reading.timeouts import ReaderTimeouts
from kamstrup_mqtt.storage.state_file import StateFile
from kamstrup_mqtt.storage.state_schema import ReaderState

if TYPE_CHECKING:
    from kamstrup_mqtt.reading.poll_reader import PollReader
    from kamstrup_mqtt.reading.push_reader import PushReader

__all__ = ["Reader", "ReaderConfig", "ReaderTimeouts"]

_RNG = random.Random()  # noqa: S311 - jitter


class Reader:
    """The supervised reader of one meter: `run` ends by cancellation or by a crash, and the
    supervisor starts it again."""

    def __init__(
        self,
        config: ReaderConfig,
        port: Port,
        report_queue: ReportQueue,
        state_file: StateFile,
        clock: Clock,
        heartbeat: Heartbeat,
        *,
        timeouts: ReaderTimeouts | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._context = context = ReaderContext(
            config=config,
            state=state_file.meter(config.id).reader,
            state_file=state_file,
            report_queue=report_queue,
            clock=clock,
            heartbeat=heartbeat,
            log=meter_logger(config.id),
            timeouts=timeouts or ReaderTimeouts(),
        )
        limits = context.timeouts
        self._restart_backoff = Backoff(limits.restart_first, limits.restart_cap)
        self._poll_reader: PollReader | None = None
        self._push_reader: PushReader | None = None
        # most daemons read one kind of meter, and need the memory of its modules alone
        if config.spec.is_pushed:
            from kamstrup_mqtt.reading.push_reader import PushReader

            self._push_reader = PushReader(context, port, self._restart_backoff.reset)
        else:
            from kamstrup_mqtt.reading.poll_reader import PollReader

            self._poll_reader = PollReader(context, port, self._restart_backoff.reset, rng or _RNG)
        self._crash_sites: frozenset[tuple[str, int | None]] = EMPTY

    @property
    def config(self) -> ReaderConfig:
        """The configured meter."""
        return self._context.config

    @property
    def state(self) -> ReaderState:
        """The state that the reader has learned of the meter."""
        return self._context.state

    @property
    def counters(self) -> Counters:
        """The counters of the reader."""
        return self._context.counters

    @property
    def heartbeat(self) -> Heartbeat:
        """The heartbeat: a deadline for the next action of the reader."""
        return self._context.heartbeat

    @property
    def _reader(self) -> PollReader | PushReader:
        reader = self._push_reader or self._poll_reader
        assert reader is not None
        return reader

    # Supervision

    async def run(self) -> None:
        """Read until cancelled."""
        await self._reader.run()

    def on_restart(self) -> None:
        """Count that the reader was stuck and is started again."""
        self.counters.internal_errors += 1

    def on_crash(self, error: Exception) -> float:
        """Report an unexpected exception, which is a bug of this program, and return the seconds
        until the reader is to be started again.

        What was being handled is given up. The delay doubles with each crash until a good reading.
        """
        self.counters.internal_errors += 1
        last = traceback.extract_tb(error.__traceback__)[-1]
        site = (last.filename, last.lineno)
        level = logging.DEBUG if site in self._crash_sites else logging.ERROR
        self._crash_sites |= {site}
        last_bytes = self._reader.framed_link.last_bytes.hex(" ") or "none"
        self._context.log.log(level, messages.INTERNAL_ERROR, last_bytes, exc_info=error)
        self._reader.reports.status.report_crash(
            f"internal error ({type(error).__name__}); see the daemon's log"
        )
        return self._restart_backoff.next_pause()

    # Polls

    @property
    def is_polling(self) -> bool:
        """Whether the meter is being asked now."""
        return self._poll_reader is not None and not self._poll_reader.idle_event.is_set()

    async def wait_until_idle(self) -> None:
        """Wait until the meter is not being asked."""
        if self._poll_reader is not None:
            await self._poll_reader.idle_event.wait()

    def request_read(self) -> str | None:
        """Read now and return None, or return the reason why that is refused."""
        if self._poll_reader is None:
            reason: str | None = "this meter sends by itself and cannot be asked"
        else:
            reason = self._poll_reader.read_requests.add()
        if reason is not None:
            self.counters.refused_reads += 1
            self._context.log.debug("read command not carried out: %s", reason)
        return reason

    # Corrections by the user and the broker

    def accept_held(self) -> tuple[str, ...]:
        """Accept what is held back: return the keys of the totals, and what else, in words."""
        accepted = () if self._push_reader is None else self._push_reader.decoder.accept_held()
        keys = self._reader.reports.readings.accept_held()
        self._reader.reports.status.report_diagnosis(at_once=True)
        return (*accepted, *keys)

    def merge_retained(self, retained: RetainedState) -> Mapping[str, Decimal]:
        """Take over live counters that the broker retained, and return what they are now, by key
        and in the units of the retained values."""
        if self._push_reader is None:
            return {}
        return self._push_reader.decoder.merge_retained(retained)
