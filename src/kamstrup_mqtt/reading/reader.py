"""One meter: open its port, poll or listen, hand the readings over, say why when none come."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import traceback
from collections.abc import Iterable, Mapping
from typing import cast

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.heartbeat import Deadline
from kamstrup_mqtt.core.model import NONE, LinkState
from kamstrup_mqtt.core.report_queue import Outbox
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.port import Port
from kamstrup_mqtt.meters import detection
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.protocols.base import (
    Answer,
    Ask,
    Framer,
    PolledCodec,
)
from kamstrup_mqtt.reading.backfill import Backfill
from kamstrup_mqtt.reading.conversation import Exchange
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.reading.framed_link import Line
from kamstrup_mqtt.reading.partial_poll import Parts
from kamstrup_mqtt.reading.push_reader import Listening
from kamstrup_mqtt.reading.reports import MeterSetup, Reports
from kamstrup_mqtt.reading.schedule import Schedule
from kamstrup_mqtt.reading.timeouts import MARGIN, Limits
from kamstrup_mqtt.reading.unsupported_sources import Lacking
from kamstrup_mqtt.storage.state_file import Memory

__all__ = ["Limits", "MeterSetup", "Reader"]

WHOLE_POLL = 5
"""Of the polls of a mute meter one in so many is whole, with all its tries."""
SPREAD = 60.0
"""The polls of several meters are spread over this many seconds, or over their interval."""
_RNG = random.Random()  # noqa: S311 - jitter


class Reader:
    """Reads one meter for ever; `run` ends only by cancellation, and may be started anew."""

    def __init__(
        self,
        setup: MeterSetup,
        port: Port,
        outbox: Outbox,
        memory: Memory,
        clock: Clock,
        deadline: Deadline,
        *,
        limits: Limits | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.setup = setup
        self.counters = Counters()
        self._port = port
        self._memory = memory
        self._mine = memory.meter(setup.id)
        self._clock = clock
        self.deadline = deadline
        self._limits = limits = limits or Limits()
        self._rng = rng or _RNG
        self._log = logging.getLogger(f"kamstrup_mqtt.meter.{setup.id}")
        self._reports = Reports(
            setup,
            outbox,
            self._mine,
            clock,
            self.counters,
            self._log,
            diagnosis_interval=limits.diagnosis,
        )
        self._line = Line(port, setup.codec, self._reports, self.counters)
        self._bug_places: frozenset[tuple[str, int | None]] = NONE
        self._bugs = 0  # since the last good reading
        self._listening: Listening | None = None
        if setup.spec.pushed:
            self._listening = Listening(
                setup,
                self._line,
                self._reports,
                memory,
                clock,
                self.counters,
                deadline,
                limits,
                self._log,
                good=self._no_bug,
                turn=outbox.turn,
            )
        else:
            self._prepare_polling()

    def _prepare_polling(self) -> None:
        setup, limits = self.setup, self._limits
        self.rests = asyncio.Event()
        """Of a polled meter: not set while it is being asked."""
        self.rests.set()
        self._wanted = asyncio.Event()
        self._last_command: float | None = None
        self._failures = 0
        self._mute = 0  # polls in a row that brought nothing but perhaps an echo
        self._identity_due = True
        self._rechecking = False
        self._meter_state: tuple[LinkState, str] | None = None
        self._schedule = self._make_schedule()
        self._lacking = Lacking(
            setup.plan, self._memory, self._mine, self._clock, self._log, limits.unsupported_retry
        )
        self._deriver = Deriver(setup.plan.dialect)
        self._parts = Parts(setup.plan, self._reports, self._log)
        self._backfill = self._make_backfill()

    async def run(self) -> None:
        """Read until cancelled.

        The one place where an unexpected exception, a bug of ours, is caught: what was being
        handled is given up, and the reader goes on, slower and slower if that recurs.
        """
        while True:
            try:
                if self._listening is not None:
                    await self._listening.for_ever()
                else:
                    await self._poll_for_ever()
            except Exception as bug:  # noqa: BLE001 - one meter's fault is one meter's fault
                self._report_bug(bug)
            await self._sleep(
                min(self._limits.restart_cap, self._limits.restart_first * 2 ** min(self._bugs, 30))
            )
            self._bugs += 1

    def restarted(self) -> None:
        """It was stuck, and is run once more."""
        self.counters.internal_errors += 1

    @property
    def asking(self) -> bool:
        """Whether the meter is being asked now; `rests` is set when it no longer is."""
        return self._listening is None and not self.rests.is_set()

    def _no_bug(self) -> None:
        self._bugs = 0

    def _report_bug(self, bug: Exception) -> None:
        self.counters.internal_errors += 1
        last = traceback.extract_tb(bug.__traceback__)[-1]
        place = (last.filename, last.lineno)
        level = logging.DEBUG if place in self._bug_places else logging.ERROR
        self._bug_places |= {place}
        self._log.log(
            level,
            "internal error, please report it with these lines; the bytes being handled: %s",
            self._line.last_bytes.hex(" ") or "none",
            exc_info=bug,
        )
        self._reports.problem(f"internal error ({type(bug).__name__}); see the daemon's log")

    def request_read(self) -> str | None:
        """Read now, if that is allowed: None, else the reason why not."""
        reason = self._why_not_now()
        if reason is not None:
            self.counters.refused_reads += 1
            self._log.debug("read command not carried out: %s", reason)
            return reason
        self._last_command = self._clock.monotonic()
        self._wanted.set()
        return None

    def accept(self) -> tuple[str, ...]:
        """Believe what is held back: the keys of the totals, and what else, in words."""
        heard = self._listening.accept() if self._listening is not None else ()
        return (*heard, *self._reports.accept())

    def _why_not_now(self) -> str | None:
        if self.setup.spec.pushed:
            return "this meter sends by itself and cannot be asked"
        limits = self._limits
        pause = limits.read_battery if self.setup.battery else limits.read_mains
        if self._last_command is None:
            return None
        left = self._last_command + pause - self._clock.monotonic()
        if left <= 0:
            return None
        return f"read on command at most once in {pause:g} s; again in {left:.0f} s"

    async def _sleep(self, seconds: float) -> None:
        self.deadline.within(seconds + MARGIN)
        await asyncio.sleep(seconds)

    # A meter that is asked

    def _make_schedule(self) -> Schedule:
        """When what is polled."""
        setup, plan = self.setup, self.setup.plan
        interval = setup.interval or SPREAD
        groups = dict.fromkeys(v.group for v in plan.values) or dict.fromkeys(plan.groups)
        periods = {group: plan.periods.get(group, interval) for group in groups}
        schedule = Schedule(
            periods,
            self._clock,
            align=setup.align,
            offset=setup.offset,
            phase=self._phase(min(periods.values())),
        )
        first, *others = groups
        readings = self._mine.readings
        last = {group: readings[group].time for group in others if group in readings}
        schedule.remember({first: self._mine.last_poll, **last})
        return schedule

    def _phase(self, interval: float) -> float:
        """Seconds by which this meter's polls are shifted: always the same for one id."""
        digest = hashlib.sha256(self.setup.id.encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 * min(interval, SPREAD)

    def _framer_of(self, link: Link) -> Framer:
        framer, fresh = self._line.framer_of(link)
        self._identity_due |= fresh  # it may lead to another meter
        return framer

    async def _poll_for_ever(self) -> None:
        while True:
            await self._wait_for_poll()
            await self._poll()
            while self._backfill is not None and self._backfill.active and not self._poll_due:
                await self._fill(self._backfill)
                await self._sleep(self._backfill.pause)

    @property
    def _poll_due(self) -> bool:
        return self._wanted.is_set() or self._schedule.next <= self._clock.monotonic()

    def _make_backfill(self) -> Backfill | None:
        setup = self.setup
        log_reader = setup.spec.log_reader
        if setup.backfill is None or log_reader is None:
            return None
        return Backfill(
            setup.backfill,
            log_reader(setup.codec),
            setup.plan,
            meter=setup.id,
            interval=self._schedule.fastest,
            battery=setup.battery,
            memory=self._memory,
            outbox=self._reports.outbox,
            clock=self._clock,
            log=self._log,
        )

    async def _fill(self, filling: Backfill) -> None:
        """One request to the meter's own log."""
        try:
            async with self._port.turn(
                self.setup.serial, self.deadline.within, holder=self.setup.id
            ) as link:
                exchange = Exchange(
                    link,
                    self._framer_of(link),
                    self.counters,
                    self._log,
                    will_act=self.deadline.within,
                )
                await exchange.run(filling.step())
        except (LinkError, MeterError) as error:
            filling.failed(error)
        except Exception:  # a bug of ours: not again and again
            filling.abandon()
            raise

    async def _wait_for_poll(self) -> None:
        """Until a poll is due or commanded; meanwhile notice a port that goes and comes."""
        while not self._wanted.is_set():
            rest = self._schedule.next - self._clock.monotonic()
            if rest <= 0:
                return
            look = self._limits.port_check if self._port.healthy else self._port.retry_in()
            wait = min(rest, look)
            self.deadline.within(wait + MARGIN)
            try:
                async with asyncio.timeout(wait):
                    await self._wanted.wait()
            except TimeoutError:
                if wait < rest and not self._port.healthy:
                    await self._look_at_port()
            self._reports.tell()

    async def _look_at_port(self) -> None:
        try:
            async with self._port.turn(
                self.setup.serial, self.deadline.within, holder=self.setup.id
            ) as link:
                self._framer_of(link)
                # a bridge without its device accepts, and closes at once
                await asyncio.sleep(self._limits.steady)
                link.discard_input()
        except LinkError as error:
            self._line.failed(error)
            return
        self._reports.port_gone = None
        if self._meter_state is None:
            if self._reports.state is not None:
                self._reports.bad(LinkState.NO_BYTES, "the port is open; no poll was due yet")
        elif self._meter_state[0] is LinkState.OK:
            self._reports.good("the port is open")
        else:
            self._reports.bad(*self._meter_state)

    async def _poll(self) -> None:
        commanded = self._wanted.is_set()
        self._wanted.clear()
        groups = tuple(self._schedule.periods) if commanded else self._schedule.due()
        ask = self._ask(groups, knock=not commanded)
        exchange: Exchange | None = None
        self._line.last_bytes = b""
        try:
            async with self._port.turn(
                self.setup.serial,
                self.deadline.within,
                first=self.setup.align,
                holder=self.setup.id,
            ) as link:
                framer = self._framer_of(link)
                exchange = Exchange(
                    link, framer, self.counters, self._log, will_act=self.deadline.within
                )
                if self._identity_due:
                    ask = self._ask(groups, knock=not commanded)
                self._begin_poll(groups)
                answer = await self._asked(exchange, ask)
        except LinkError as error:
            self._line.failed(error)
            self._retry(groups, asked=exchange is not None and exchange.sent, heard=True)
        except MeterError as error:
            self._reports.port_gone = None
            self._meter_state = (error.state, str(error))
            self._reports.bad(*self._meter_state)
            self._retry(groups, asked=True, heard=not self._mute)
        else:
            self._reports.port_gone = None
            self._accept(groups, ask, answer, bytes(exchange.received))
        finally:
            self.rests.set()
            if exchange is not None:
                self._line.last_bytes = bytes(exchange.received)

    async def _asked(self, exchange: Exchange, ask: Ask) -> Answer:
        codec = cast(PolledCodec, self.setup.codec)  # what is not pushed can be polled
        try:
            return await exchange.run(codec.poll(ask))
        except MeterError:
            self._mute += 1
            raise
        finally:
            if exchange.heard:
                self._mute = 0
            self._port.polled(dead=exchange.dead)

    def _ask(self, groups: Iterable[str], *, knock: bool = False) -> Ask:
        wanted = self._identity_due or self._mine.serial is None
        return Ask(
            sources=self._lacking.due(groups),
            identity=self.setup.plan.dialect.identity if wanted else (),
            # now and then a whole poll: a meter may be silent to one request, and answer others
            knock=knock and self._mute >= self._limits.mute and self._mute % WHOLE_POLL != 0,
        )

    def _begin_poll(self, groups: Iterable[str]) -> None:
        """Said before the first byte leaves: a poll that ends in a fault of ours, or in our end,
        was one for the meter's battery all the same."""
        self.rests.clear()
        self._schedule.begun(groups)
        now = self._clock.now()
        if now is not None:
            self._mine.last_poll = now
            self._memory.changed()

    def _retry(self, groups: Iterable[str], *, asked: bool, heard: bool) -> None:
        """When to try again after a failure. A battery meter that heard us is left alone until
        its interval has passed."""
        now = self._clock.monotonic()
        if not asked:
            self._schedule.put_off(groups, now + self._port.retry_in(), earlier_only=False)
            return
        if self.setup.battery:
            if not heard:
                pause = min(self._limits.retry_asleep, self._schedule.fastest)
                self._schedule.put_off(groups, now + pause)
            return
        limits = self._limits
        backoff = min(limits.retry_cap, limits.retry_first * 2 ** min(self._failures, 30))
        self._failures += 1
        backoff *= self._rng.uniform(0.5, 1.0)
        self._schedule.put_off(groups, now + max(backoff, self._port.retry_in()))

    def _accept(self, groups: Iterable[str], ask: Ask, answer: Answer, raw: bytes) -> None:
        self._failures = 0
        self._line.last_bytes = raw
        if self._found_model(answer):
            return
        if self._reports.identity(answer.objects) or self._mine.serial is not None:
            self._identity_due = False
        made = self._deriver.derive(answer.objects, self._mine.learned)
        for warning in made.warnings:
            self._reports.warn_once(warning[:12], warning, logging.INFO)
        answered = self._parts.answered(groups, answer)
        # also what was not asked because the meter does not have it: no value came
        asked = self.setup.plan.sources_of(answered)
        told = self._parts.due(made.objects, groups)
        any_value = self._reports.readings(told, asked, raw)
        self._learn({**answer.learned, **made.learned})
        self._ask_once_more(groups)
        if any_value or (answer.objects and not ask.sources):
            self._port.good()
            self._bugs = 0
            self._lacking.note(answer)
            self._meter_state = (LinkState.OK, "")
            self._parts.note(answer.fault)
            self._reports.good()
            if self._backfill is not None:
                self._backfill.read()
            if answer.fault is not None:
                rest = set(groups) - set(answered)
                self._schedule.put_off(rest, self._clock.monotonic() + self._schedule.fastest)
            return
        self._meter_state = (
            LinkState.BYTES_NO_FRAMES,
            "the meter answers, but has none of the values that it is asked for: check `model`,"
            " or the list of values",
        )
        self._reports.bad(*self._meter_state)

    def _ask_once_more(self, groups: Iterable[str]) -> None:
        """A total that is held back: the meter is asked once more, and only once."""
        self._rechecking = self._reports.doubtful and not self._rechecking
        if self._rechecking:
            self._schedule.put_off(groups, self._clock.monotonic() + self._limits.recheck)

    def _found_model(self, answer: Answer) -> bool:
        """Whether the model of a meter was found out that nobody named; it is read as that from
        now on."""
        if self.setup.found is None:
            return False
        model = detection.guess(answer.objects)
        if model == detection.UNKNOWN:
            self._reports.warn_once(
                detection.AUTO,
                "the model could not be found out; `kamstrup-mqtt scan` shows the registers of"
                " the meter: list them with model: kmp_meter",
            )
            return False
        self._log.info("the meter is a %s", model)
        self._learn({detection.LEARNED: model})
        self._port.good()
        self.setup.found(model)
        return True

    def _learn(self, learned: Mapping[str, str]) -> None:
        if any(self._mine.learned.get(k) != v for k, v in learned.items()):
            self._mine.learned = {**self._mine.learned, **learned}
            self._log.info("learned: %s", dict(learned))
            self._memory.changed(urgent=True)
