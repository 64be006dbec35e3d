"""One meter: open its port, poll or listen, hand the readings over, say why when none come."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import traceback
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.model import EMPTY, LinkState
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.meters import detection
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.protocols.base import (
    Framer,
    PolledCodec,
    PollRequest,
    PollResponse,
)
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.framed_link import FramedLink
from kamstrup_mqtt.reading.partial_poll import PartialPoll
from kamstrup_mqtt.reading.push_reader import PushReader
from kamstrup_mqtt.reading.reports import ReaderConfig, Reports
from kamstrup_mqtt.reading.schedule import Schedule
from kamstrup_mqtt.reading.timeouts import HEARTBEAT_MARGIN, ReaderTimeouts
from kamstrup_mqtt.reading.unsupported_sources import UnsupportedSources
from kamstrup_mqtt.storage.state_file import StateFile

if TYPE_CHECKING:
    from kamstrup_mqtt.protocols.kmp import KmpCodec
    from kamstrup_mqtt.reading.backfill import Backfill

__all__ = ["Reader", "ReaderConfig", "ReaderTimeouts"]

FULL_POLL_EVERY = 5
"""Of the polls of a mute meter one in so many is whole, with all its tries."""
SPREAD = 60.0
"""The polls of several meters are spread over this many seconds, or over their interval."""
_RNG = random.Random()  # noqa: S311 - jitter


class Reader:
    """Reads one meter for ever; `run` ends only by cancellation, and may be started anew."""

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
        self.config = config
        self.counters = Counters()
        self._port = port
        self._state_file = state_file
        self._meter_state = state_file.meter(config.id)
        self._clock = clock
        self.heartbeat = heartbeat
        self._timeouts = timeouts = timeouts or ReaderTimeouts()
        self._rng = rng or _RNG
        self._log = logging.getLogger(f"kamstrup_mqtt.meter.{config.id}")
        self._reports = Reports(
            config,
            report_queue,
            self._meter_state,
            clock,
            self.counters,
            self._log,
            diagnosis_interval=timeouts.diagnosis_interval,
        )
        self._framed_link = FramedLink(port, config.codec, self._reports, self.counters)
        self._crash_sites: frozenset[tuple[str, int | None]] = EMPTY
        self._crash_count = 0  # since the last good reading
        self._push_reader: PushReader | None = None
        if config.spec.is_pushed:
            self._push_reader = PushReader(
                config,
                self._framed_link,
                self._reports,
                state_file,
                clock,
                self.counters,
                heartbeat,
                timeouts,
                self._log,
                on_reading=self._reset_crashes,
                yield_control=report_queue.wait_for_capacity,
            )
        else:
            self._prepare_polling()

    def _prepare_polling(self) -> None:
        setup, limits = self.config, self._timeouts
        self.idle_event = asyncio.Event()
        """Of a polled meter: not set while it is being asked."""
        self.idle_event.set()
        self._read_requested = asyncio.Event()
        self._last_command: float | None = None
        self._failures = 0
        self._silent_polls = 0  # polls in a row that brought nothing but perhaps an echo
        self._needs_identity = True
        self._is_rechecking = False
        self._link_status: tuple[LinkState, str] | None = None
        self._schedule = self._make_schedule()
        self._unsupported = UnsupportedSources(
            setup.plan,
            self._state_file,
            self._meter_state,
            self._clock,
            self._log,
            limits.unsupported_retry,
        )
        self._deriver = Deriver(setup.plan.profile)
        self._partial_poll = PartialPoll(setup.plan, self._reports, self._log)
        self._backfill = self._make_backfill()

    async def run(self) -> None:
        """Read until cancelled.

        The one place where an unexpected exception, a bug of ours, is caught: what was being
        handled is given up, and the reader goes on, slower and slower if that recurs.
        """
        while True:
            try:
                if self._push_reader is not None:
                    await self._push_reader.run()
                else:
                    await self._poll_forever()
            except Exception as bug:  # noqa: BLE001 - one meter's fault is one meter's fault
                self._report_crash(bug)
            await self._sleep(
                min(
                    self._timeouts.restart_cap,
                    self._timeouts.restart_first * 2 ** min(self._crash_count, 30),
                )
            )
            self._crash_count += 1

    def on_restart(self) -> None:
        """It was stuck, and is run once more."""
        self.counters.internal_errors += 1

    @property
    def is_polling(self) -> bool:
        """Whether the meter is being asked now; `idle_event` is set when it no longer is."""
        return self._push_reader is None and not self.idle_event.is_set()

    def _reset_crashes(self) -> None:
        self._crash_count = 0

    def _report_crash(self, bug: Exception) -> None:
        self.counters.internal_errors += 1
        last = traceback.extract_tb(bug.__traceback__)[-1]
        place = (last.filename, last.lineno)
        level = logging.DEBUG if place in self._crash_sites else logging.ERROR
        self._crash_sites |= {place}
        self._log.log(
            level,
            "internal error, please report it with these lines; the bytes being handled: %s",
            self._framed_link.last_bytes.hex(" ") or "none",
            exc_info=bug,
        )
        self._reports.report_crash(f"internal error ({type(bug).__name__}); see the daemon's log")

    def request_read(self) -> str | None:
        """Read now, if that is allowed: None, else the reason why not."""
        reason = self._refusal_reason()
        if reason is not None:
            self.counters.refused_reads += 1
            self._log.debug("read command not carried out: %s", reason)
            return reason
        self._last_command = self._clock.monotonic()
        self._read_requested.set()
        return None

    def accept_held(self) -> tuple[str, ...]:
        """Believe what is held back: the keys of the totals, and what else, in words."""
        heard = self._push_reader.accept_held() if self._push_reader is not None else ()
        return (*heard, *self._reports.accept_held())

    def _refusal_reason(self) -> str | None:
        if self.config.spec.is_pushed:
            return "this meter sends by itself and cannot be asked"
        limits = self._timeouts
        pause = limits.read_battery if self.config.battery else limits.read_mains
        if self._last_command is None:
            return None
        left = self._last_command + pause - self._clock.monotonic()
        if left <= 0:
            return None
        return f"read on command at most once in {pause:g} s; again in {left:.0f} s"

    async def _sleep(self, seconds: float) -> None:
        self.heartbeat.expect_within(seconds + HEARTBEAT_MARGIN)
        await asyncio.sleep(seconds)

    # A meter that is asked

    def _make_schedule(self) -> Schedule:
        """When what is polled."""
        setup, plan = self.config, self.config.plan
        interval = setup.interval or SPREAD
        groups = dict.fromkeys(v.group for v in plan.values) or dict.fromkeys(plan.groups)
        periods = {group: plan.periods.get(group, interval) for group in groups}
        schedule = Schedule(
            periods,
            self._clock,
            align=setup.align,
            offset=setup.offset,
            phase=self._phase_shift(min(periods.values())),
        )
        first, *others = groups
        readings = self._meter_state.readings
        last = {group: readings[group].time for group in others if group in readings}
        schedule.restore({first: self._meter_state.last_poll, **last})
        return schedule

    def _phase_shift(self, interval: float) -> float:
        """Seconds by which this meter's polls are shifted: always the same for one id."""
        digest = hashlib.sha256(self.config.id.encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 * min(interval, SPREAD)

    def _framer_for(self, link: Link) -> Framer:
        framer, fresh = self._framed_link.framer_for(link)
        self._needs_identity |= fresh  # it may lead to another meter
        return framer

    async def _poll_forever(self) -> None:
        while True:
            await self._wait_for_poll()
            await self._poll()
            while self._backfill is not None and self._backfill.is_active and not self._is_poll_due:
                await self._backfill_step(self._backfill)
                await self._sleep(self._backfill.pause)

    @property
    def _is_poll_due(self) -> bool:
        return self._read_requested.is_set() or self._schedule.next_poll <= self._clock.monotonic()

    def _make_backfill(self) -> Backfill | None:
        setup = self.config
        if setup.backfill is None:
            return None
        # a daemon that reads no KMP meter does without its protocol, which is large
        from kamstrup_mqtt.reading.backfill import Backfill

        return Backfill(
            setup.backfill,
            cast("KmpCodec", setup.codec),  # the configuration has it for no other protocol
            setup.plan,
            meter=setup.id,
            interval=self._schedule.shortest_period,
            battery=setup.battery,
            state_file=self._state_file,
            report_queue=self._reports.report_queue,
            clock=self._clock,
            log=self._log,
        )

    async def _backfill_step(self, backfill: Backfill) -> None:
        """One request to the meter's own log."""
        try:
            async with self._port.lease(
                self.config.serial, self.heartbeat.expect_within, holder=self.config.id
            ) as link:
                exchange = ConversationRunner(
                    link,
                    self._framer_for(link),
                    self.counters,
                    self._log,
                    will_act=self.heartbeat.expect_within,
                )
                await exchange.run(backfill.step())
        except (LinkError, MeterError) as error:
            backfill.on_error(error)
        except Exception:  # a bug of ours: not again and again
            backfill.abandon()
            raise

    async def _wait_for_poll(self) -> None:
        """Until a poll is due or commanded; meanwhile notice a port that goes and comes."""
        while not self._read_requested.is_set():
            rest = self._schedule.next_poll - self._clock.monotonic()
            if rest <= 0:
                return
            look = (
                self._timeouts.port_check_interval if self._port.is_open else self._port.retry_in()
            )
            wait = min(rest, look)
            self.heartbeat.expect_within(wait + HEARTBEAT_MARGIN)
            try:
                async with asyncio.timeout(wait):
                    await self._read_requested.wait()
            except TimeoutError:
                if wait < rest and not self._port.is_open:
                    await self._check_port()
            self._reports.report_diagnosis()

    async def _check_port(self) -> None:
        try:
            async with self._port.lease(
                self.config.serial, self.heartbeat.expect_within, holder=self.config.id
            ) as link:
                self._framer_for(link)
                # a bridge without its device accepts, and closes at once
                await asyncio.sleep(self._timeouts.reopen_grace)
                link.discard_input()
        except LinkError as error:
            self._framed_link.report_failure(error)
            return
        self._reports.port_gone_since = None
        if self._link_status is None:
            if self._reports.state is not None:
                self._reports.mark_failed(
                    LinkState.NO_BYTES, "the port is open; no poll was due yet"
                )
        elif self._link_status[0] is LinkState.OK:
            self._reports.mark_ok("the port is open")
        else:
            self._reports.mark_failed(*self._link_status)

    async def _poll(self) -> None:
        commanded = self._read_requested.is_set()
        self._read_requested.clear()
        groups = tuple(self._schedule.periods) if commanded else self._schedule.due_groups()
        request = self._make_request(groups, probe_only=not commanded)
        runner: ConversationRunner | None = None
        self._framed_link.last_bytes = b""
        try:
            async with self._port.lease(
                self.config.serial,
                self.heartbeat.expect_within,
                has_priority=self.config.align,
                holder=self.config.id,
            ) as link:
                framer = self._framer_for(link)
                runner = ConversationRunner(
                    link, framer, self.counters, self._log, will_act=self.heartbeat.expect_within
                )
                if self._needs_identity:
                    request = self._make_request(groups, probe_only=not commanded)
                self._record_poll_start(groups)
                response = await self._run_poll(runner, request)
        except LinkError as error:
            self._framed_link.report_failure(error)
            self._schedule_retry(
                groups, request_sent=runner is not None and runner.request_sent, got_response=True
            )
        except MeterError as error:
            self._reports.port_gone_since = None
            self._link_status = (error.state, str(error))
            self._reports.mark_failed(*self._link_status)
            self._schedule_retry(groups, request_sent=True, got_response=not self._silent_polls)
        else:
            self._reports.port_gone_since = None
            self._handle_response(groups, request, response, bytes(runner.received))
        finally:
            self.idle_event.set()
            if runner is not None:
                self._framed_link.last_bytes = bytes(runner.received)

    async def _run_poll(self, runner: ConversationRunner, request: PollRequest) -> PollResponse:
        codec = cast(PolledCodec, self.config.codec)  # what is not pushed can be polled
        try:
            return await runner.run(codec.poll(request))
        except MeterError:
            self._silent_polls += 1
            raise
        finally:
            if runner.got_response:
                self._silent_polls = 0
            self._port.record_poll(was_silent=runner.is_silent)

    def _make_request(self, groups: Iterable[str], *, probe_only: bool = False) -> PollRequest:
        wanted = self._needs_identity or self._meter_state.serial is None
        return PollRequest(
            sources=self._unsupported.sources_to_read(groups),
            identity=self.config.plan.profile.identity if wanted else (),
            # now and then a whole poll: a meter may be silent to one request, and answer others
            probe_only=probe_only
            and self._silent_polls >= self._timeouts.max_silent_polls
            and self._silent_polls % FULL_POLL_EVERY != 0,
        )

    def _record_poll_start(self, groups: Iterable[str]) -> None:
        """Said before the first byte leaves: a poll that ends in a fault of ours, or in our end,
        was one for the meter's battery all the same."""
        self.idle_event.clear()
        self._schedule.mark_started(groups)
        now = self._clock.now()
        if now is not None:
            self._meter_state.last_poll = now
            self._state_file.mark_changed()

    def _schedule_retry(
        self, groups: Iterable[str], *, request_sent: bool, got_response: bool
    ) -> None:
        """When to try again after a failure. A battery meter that heard us is left alone until
        its interval has passed."""
        now = self._clock.monotonic()
        if not request_sent:
            self._schedule.defer(groups, now + self._port.retry_in(), earlier_only=False)
            return
        if self.config.battery:
            if not got_response:
                pause = min(self._timeouts.retry_asleep, self._schedule.shortest_period)
                self._schedule.defer(groups, now + pause)
            return
        limits = self._timeouts
        backoff = min(limits.retry_cap, limits.retry_first * 2 ** min(self._failures, 30))
        self._failures += 1
        backoff *= self._rng.uniform(0.5, 1.0)
        self._schedule.defer(groups, now + max(backoff, self._port.retry_in()))

    def _handle_response(
        self, groups: Iterable[str], request: PollRequest, response: PollResponse, raw: bytes
    ) -> None:
        self._failures = 0
        self._framed_link.last_bytes = raw
        if self._detect_model(response):
            return
        if self._reports.report_identity(response.objects) or self._meter_state.serial is not None:
            self._needs_identity = False
        made = self._deriver.derive(response.objects, self._meter_state.learned)
        for fault, text in made.warnings:
            self._reports.warn_once(fault, text, logging.INFO)
        answered = self._partial_poll.answered_groups(groups, response)
        # also what was not asked because the meter does not have it: no value came
        asked = self.config.plan.sources_of(answered)
        told = self._partial_poll.objects_due(made.objects, groups)
        any_value = self._reports.report_readings(told, asked, raw)
        self._save_learned({**response.learned, **made.learned})
        self._schedule_recheck(groups)
        if any_value or (response.objects and not request.sources):
            self._port.mark_success()
            self._crash_count = 0
            self._unsupported.update(response)
            self._link_status = (LinkState.OK, "")
            self._partial_poll.report_error(response.error)
            self._reports.mark_ok()
            if self._backfill is not None:
                self._backfill.on_reading()
            if response.error is not None:
                rest = set(groups) - set(answered)
                self._schedule.defer(rest, self._clock.monotonic() + self._schedule.shortest_period)
            return
        self._link_status = (
            LinkState.BYTES_NO_FRAMES,
            "the meter answers, but has none of the values that it is asked for: check `model`,"
            " or the list of values",
        )
        self._reports.mark_failed(*self._link_status)

    def _schedule_recheck(self, groups: Iterable[str]) -> None:
        """A total that is held back: the meter is asked once more, and only once."""
        self._is_rechecking = self._reports.has_held_totals and not self._is_rechecking
        if self._is_rechecking:
            self._schedule.defer(groups, self._clock.monotonic() + self._timeouts.recheck_delay)

    def _detect_model(self, response: PollResponse) -> bool:
        """Whether the model of a meter was found out that nobody named; it is read as that from
        now on."""
        if self.config.on_model_found is None:
            return False
        model = detection.detect_model(response.objects)
        if model == detection.UNKNOWN_MODEL:
            self._reports.warn_once(
                AUTO,
                "the model could not be found out; `kamstrup-mqtt scan` shows the registers of"
                " the meter: list them with model: kmp_meter",
            )
            return False
        self._log.info("the meter is a %s", model)
        self._save_learned({detection.STATE_KEY: model})
        self._port.mark_success()
        self.config.on_model_found(model)
        return True

    def _save_learned(self, learned: Mapping[str, str]) -> None:
        if any(self._meter_state.learned.get(k) != v for k, v in learned.items()):
            self._meter_state.learned = {**self._meter_state.learned, **learned}
            self._log.info("learned: %s", dict(learned))
            self._state_file.mark_changed(urgent=True)
