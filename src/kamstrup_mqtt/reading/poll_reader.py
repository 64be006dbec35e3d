"""Polls a meter when it is due, and reports why no readings arrive."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import cast

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import DecodedValue, LinkState
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.meters import dependencies, detection, registry
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.protocols.base import Framer, PolledCodec, PollRequest, PollResponse
from kamstrup_mqtt.reading import messages
from kamstrup_mqtt.reading.backfill import Backfill
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.framed_link import FramedLink
from kamstrup_mqtt.reading.poll_result import PartialPoll, UnsupportedSources
from kamstrup_mqtt.reading.poll_retry import PollRetry
from kamstrup_mqtt.reading.read_requests import ReadRequests
from kamstrup_mqtt.reading.reports import make_reports
from kamstrup_mqtt.reading.schedule import Schedule
from kamstrup_mqtt.reading.timeouts import HEARTBEAT_MARGIN

SPREAD = 60.0
"""The polls of several meters are spread over this many seconds, or over their interval."""


class PollReader:
    """Polls one meter. `on_reading` is called for each good reading; `idle_event` is set while the
    meter is not being asked."""

    def __init__(
        self,
        context: ReaderContext,
        port: Port,
        on_reading: Callable[[], None],
        rng: random.Random,
    ) -> None:
        self._context = context
        self._on_reading = on_reading
        self._unsupported = UnsupportedSources(context)
        self.reports = make_reports(context, derivation_inputs(context), self._unsupported.reset)
        self.framed_link = FramedLink(port, context, self.reports.status)
        self.read_requests = ReadRequests(context)
        self.idle_event = asyncio.Event()
        self.idle_event.set()
        self._schedule = make_schedule(context)
        self._retry = PollRetry(context, self._schedule, port, rng)
        self._deriver = Deriver(context.config.plan.profile)
        self._partial_poll = PartialPoll(context, self.reports.status)
        self._backfill = Backfill.of(context, self._schedule.shortest_period)
        self._needs_identity = True
        self._is_rechecking = False
        self._last_result: tuple[LinkState, str] | None = None

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self._wait_for_poll()
            await self._poll()
            backfill = self._backfill
            while backfill is not None and backfill.is_active and not self._is_poll_due:
                await self._backfill_step(backfill)
                self._context.heartbeat.expect_within(backfill.pause + HEARTBEAT_MARGIN)
                await asyncio.sleep(backfill.pause)

    @property
    def _is_poll_due(self) -> bool:
        now = self._context.clock.monotonic()
        return self.read_requests.is_pending or self._schedule.next_poll <= now

    async def _wait_for_poll(self) -> None:
        """Wait until a poll is due or requested; meanwhile notice a port that goes and comes."""
        timeouts, port = self._context.timeouts, self.framed_link.port
        while not self.read_requests.is_pending:
            rest = self._schedule.next_poll - self._context.clock.monotonic()
            if rest <= 0:
                return
            wait = min(rest, timeouts.port_check_interval if port.is_open else port.retry_in())
            self._context.heartbeat.expect_within(wait + HEARTBEAT_MARGIN)
            try:
                async with asyncio.timeout(wait):
                    await self.read_requests.wait()
            except TimeoutError:
                if wait < rest and not port.is_open:
                    await self._check_port()
            self.reports.status.report_diagnosis()

    async def _check_port(self) -> None:
        try:
            async with self._lease() as link:
                self._framer_for(link)
                # a bridge without its device accepts, and closes at once
                await asyncio.sleep(self._context.timeouts.reopen_grace)
                link.discard_input()
        except LinkError as error:
            self.framed_link.report_failure(error)
            return
        status = self.reports.status
        status.port_gone_since = None
        if self._last_result is None:
            if status.state is not None:
                status.mark_failed(LinkState.NO_BYTES, messages.PORT_OPEN_NO_POLL)
        elif self._last_result[0] is LinkState.OK:
            status.mark_ok("the port is open")
        else:
            status.mark_failed(*self._last_result)

    def _lease(self, *, has_priority: bool = False) -> AbstractAsyncContextManager[Link]:
        config = self._context.config
        return self.framed_link.port.lease(
            config.serial,
            self._context.heartbeat.expect_within,
            has_priority=has_priority,
            holder=config.id,
        )

    def _framer_for(self, link: Link) -> Framer:
        framer, is_new = self.framed_link.framer_for(link)
        self._needs_identity |= is_new  # it may lead to another meter
        return framer

    def _runner(self, link: Link) -> ConversationRunner:
        context = self._context
        return ConversationRunner(
            link,
            self._framer_for(link),
            context.counters,
            context.log,
            will_act=context.heartbeat.expect_within,
        )

    # A poll

    async def _poll(self) -> None:
        is_requested = self.read_requests.take()
        groups = tuple(self._schedule.periods) if is_requested else self._schedule.due_groups()
        status = self.reports.status
        runner: ConversationRunner | None = None
        self.framed_link.last_bytes = b""
        try:
            async with self._lease(has_priority=self._context.config.align) as link:
                runner = self._runner(link)
                request = self._make_request(groups, probe_only=not is_requested)
                self._record_poll_start(groups)
                response = await self._run_poll(runner, request)
        except LinkError as error:
            self.framed_link.report_failure(error)
            request_sent = runner is not None and runner.request_sent
            self._retry.defer(groups, request_sent=request_sent, got_response=True)
        except MeterError as error:
            status.port_gone_since = None
            self._last_result = (error.state, str(error))
            status.mark_failed(*self._last_result)
            got_response = not self._retry.silent_polls
            self._retry.defer(groups, request_sent=True, got_response=got_response)
        else:
            status.port_gone_since = None
            self._handle_response(groups, request, response, bytes(runner.received))
        finally:
            self.idle_event.set()
            if runner is not None:
                self.framed_link.last_bytes = bytes(runner.received)

    async def _run_poll(self, runner: ConversationRunner, request: PollRequest) -> PollResponse:
        codec = cast(
            PolledCodec, self._context.config.codec
        )  # a meter that is not pushed is polled
        try:
            return await runner.run(codec.poll(request))
        except MeterError:
            self._retry.silent_polls += 1
            raise
        finally:
            if runner.got_response:
                self._retry.silent_polls = 0
            self.framed_link.port.record_poll(was_silent=runner.is_silent)

    def _make_request(self, groups: Iterable[str], *, probe_only: bool) -> PollRequest:
        context = self._context
        needs_identity = self._needs_identity or context.state.serial is None
        return PollRequest(
            sources=self._unsupported.sources_to_read(groups),
            identity=context.config.plan.profile.identity if needs_identity else (),
            probe_only=probe_only and self._retry.probe_only,
        )

    def _record_poll_start(self, groups: Iterable[str]) -> None:
        """Record the poll before the first byte is sent: one that ends in a crash, or in the end
        of this program, costs the meter's battery all the same."""
        context = self._context
        self.idle_event.clear()
        self._schedule.mark_started(groups)
        now = context.clock.now()
        if now is not None:
            context.state.last_poll = now
            context.state_file.mark_changed()

    # Its response

    def _handle_response(
        self, groups: Iterable[str], request: PollRequest, response: PollResponse, raw: bytes
    ) -> None:
        self._retry.reset()
        self.framed_link.last_bytes = raw
        if self._detect_model(response):
            return
        if (
            self.reports.identity.report_identity(response.objects)
            or self._context.state.serial is not None
        ):
            self._needs_identity = False
        answered = self._partial_poll.answered_groups(groups, response)
        has_values = self._report(groups, answered, response, raw)
        self._learn(response.learned)
        self._schedule_recheck(groups)
        if has_values or (response.objects and not request.sources):
            self._record_success(response)
            if response.error is not None:
                unanswered = set(groups) - set(answered)
                now = self._context.clock.monotonic()
                self._schedule.defer(unanswered, now + self._schedule.shortest_period)
            return
        self._last_result = (LinkState.BYTES_NO_FRAMES, messages.NO_VALUES)
        self.reports.status.mark_failed(*self._last_result)

    def _report(
        self,
        groups: Iterable[str],
        answered: Iterable[str],
        response: PollResponse,
        raw: bytes,
    ) -> bool:
        def derive(objects: tuple[DecodedValue, ...]) -> tuple[DecodedValue, ...]:
            found = self._deriver.derive(objects, self._context.state.learned.as_mapping())
            for fault, text in found.warnings:
                self._context.log_once(fault, text, logging.INFO)
            self._learn(found.learned)
            return self._partial_poll.objects_due(found.objects, groups)

        # unsupported sources count as missing too: they were not requested
        requested = self._context.config.plan.sources_of(answered)
        return self.reports.readings.report_poll(response.objects, requested, raw, derive)

    def _record_success(self, response: PollResponse) -> None:
        self.framed_link.port.mark_success()
        self._on_reading()
        self._unsupported.update(response)
        self._last_result = (LinkState.OK, "")
        self._partial_poll.report_error(response.error)
        self.reports.status.mark_ok()
        if self._backfill is not None:
            self._backfill.on_reading()

    def _schedule_recheck(self, groups: Iterable[str]) -> None:
        """Ask the meter once more, and only once, about a total that is held back."""
        self._is_rechecking = self.reports.readings.has_held_totals and not self._is_rechecking
        if self._is_rechecking:
            delay = self._context.timeouts.recheck_delay
            self._schedule.defer(groups, self._context.clock.monotonic() + delay)

    def _detect_model(self, response: PollResponse) -> bool:
        """Detect the model of a meter whose model is `auto`, and return whether it was detected:
        the meter is read as that model from now on."""
        context = self._context
        if context.config.on_model_found is None:
            return False
        model = detection.detect_model(response.objects)
        if model == detection.UNKNOWN_MODEL:
            context.log_once(AUTO, messages.MODEL_UNKNOWN)
            return False
        context.log.info("the meter is a %s", model)
        self._learn({"model": model})
        context.state.last_poll = None  # this poll has read no values: read them after the restart
        self.framed_link.port.mark_success()
        context.config.on_model_found(model)
        return True

    def _learn(self, learned: Mapping[str, str]) -> None:
        if self._context.learn(learned):
            self._context.log.info("learned: %s", dict(learned))

    # The meter's log

    async def _backfill_step(self, backfill: Backfill) -> None:
        """Send one request to the meter's log."""
        try:
            async with self._lease() as link:
                await self._runner(link).run(backfill.step())
        except (LinkError, MeterError) as error:
            backfill.on_error(error)
        except Exception:  # a bug of this program must not recur with each step
            backfill.abandon()
            raise


def make_schedule(context: ReaderContext) -> Schedule:
    """Make the schedule of a polled meter, continuing that of the last run."""
    config, state = context.config, context.state
    interval = config.interval or SPREAD
    plan = config.plan
    groups = dict.fromkeys(v.group for v in plan.values) or dict.fromkeys(plan.groups)
    periods = {group: plan.periods.get(group, interval) for group in groups}
    schedule = Schedule(
        periods,
        context.clock,
        align=config.align,
        offset=config.offset,
        phase=_phase_shift(config.id, min(periods.values())),
    )
    first, *others = groups
    last = {group: state.last_read.get(group) for group in others}
    schedule.restore({first: state.last_poll, **last})
    return schedule


def _phase_shift(meter: str, interval: float) -> float:
    """Return the seconds by which a meter's polls are shifted: always the same for one id."""
    digest = hashlib.sha256(meter.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * min(interval, SPREAD)


def derivation_inputs(context: ReaderContext) -> frozenset[str]:
    """Return the keys that the published values are derived from."""
    plan = context.config.plan
    sources = dependencies.sources_to_read(plan.profile, plan.sources)
    return frozenset(
        registry.quantity_for(plan.protocol, plan.profile, source).key for source in sources
    )
