"""What happens on one connection to the broker, from the subscription to the farewell.

On connect, each step acknowledged: subscribe; clean up; every meter's status; discovery; states;
diagnostics; bridge/info; bridge/status `online` last. Then whatever becomes due, in the same order.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.homeassistant.discovery import meter_discovery
from kamstrup_mqtt.homeassistant.gateway_device import bridge_discovery, problem_component
from kamstrup_mqtt.homeassistant.messages import Discovery, DiscoveryConfig, PublishedDiscovery
from kamstrup_mqtt.homeassistant.removal import publish_sequence
from kamstrup_mqtt.mqtt.connection import HISTORY_WINDOW, IN_FLIGHT, BrokerError, Connection
from kamstrup_mqtt.mqtt.in_flight import Window
from kamstrup_mqtt.mqtt.incoming import Host, Inbox
from kamstrup_mqtt.mqtt.publish_queue import Board
from kamstrup_mqtt.storage.history import Record
from kamstrup_mqtt.storage.state_schema import intern_mapping

T = TypeVar("T")

_LOG = logging.getLogger(__package__)

BRIDGE = "bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Seconds. `settle`: without a retained message, after which the broker has shown them all;
    `settle_cap`: however many come; `birth`: from Home Assistant's birth message to the states;
    `info`: from one bridge/info to the next; `idle`: without anything due; `finish`: for the last
    records of the history."""

    settle: float = 0.5
    settle_cap: float = 5.0
    birth: tuple[float, float] = (1.0, 3.0)
    info: float = 300.0
    idle: float = 10.0
    finish: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What a session needs from outside.

    info           the contents of bridge/info
    request_read   asks a meter's reader to read now: None, or the reason why not
    other_daemon   called with a description when another daemon uses our instance
    alive          called before each step with the seconds that it may take
    warn_once      logs a warning, each text once in the life of the process
    progress       called when the broker took a record
    """

    info: Callable[[], Json]
    request_read: Callable[[str], str | None]
    other_daemon: Callable[[str], None]
    alive: Callable[[float], None]
    warn_once: Callable[[str], None]
    progress: Callable[[], None]


class Session:
    """One connection's worth of work."""

    def __init__(
        self,
        connection: Connection,
        config: Config,
        announcer: DiscoveryConfig,
        board: Board,
        host: Host,
        calls: Calls,
        *,
        ack_timeout: float,
        limits: SessionLimits,
        rng: random.Random,
    ) -> None:
        self._connection = connection
        self._config = config
        self._announcer = announcer
        self._topics = announcer.topics
        self._board = board
        self._calls = calls
        self._step = 2 * ack_timeout
        self._limits = limits
        self._bridge: PublishedDiscovery | None = None  # as it was announced last
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(
            config,
            announcer,
            board,
            host,
            request_read=calls.request_read,
            other_daemon=calls.other_daemon,
            warn_once=calls.warn_once,
            birth=partial(rng.uniform, *limits.birth),
            loop=self._loop,
        )
        self._retained = self._inbox.retained
        self._info_at = self._loop.time()
        self._window = Window(connection, IN_FLIGHT, self._room)
        self._stepping = True  # the task is at work; what is due meanwhile, it does next

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Work until `stop` (then publish what is still due) or a BrokerError. `ready` is called
        when everything was announced."""
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._inbox.listen(self._connection.messages())),
                    group.create_task(self._connection.lost()),
                ]
                await self._connected()
                ready()
                helpers.append(group.create_task(self._send_history()))
                while not stop.is_set():
                    await self._wait()
                    await self._publish_due()
                await self._publish_due()
                await self._board.history.finish(self._limits.finish)
                for helper in helpers:
                    helper.cancel()
        except BaseExceptionGroup as errors:
            lost, other = errors.split(BrokerError)
            if lost is None or other is not None:
                raise
            raise next(_leaves(lost)) from None

    async def say_offline(self) -> None:
        """The farewell: without it the broker would wait for the keepalive to send the Will."""
        await self._connection.publish(self._topics.bridge_status, "offline")

    # The start

    async def _connected(self) -> None:
        self._calls.alive(self._step)
        await self._connection.subscribe(self._subscriptions())
        await self._settle()
        await self._remove_gone()
        self._board.recall(self._topics, self._retained.topics)
        self._board.everything()
        await self._publish_due(first=True)
        await self._publish_info()
        await self._publish([(self._topics.bridge_status, "online")])

    def _subscriptions(self) -> list[str]:
        topics = [
            f"{self._topics.root}/#",
            self._topics.bridge_info,
            f"{self._announcer.prefix}/device/+/config",
        ]
        if self._config.homeassistant.enabled:
            topics.append(self._config.homeassistant.status_topic)
        if self._config.mqtt.commands:
            topics.append(self._topics.read("+"))
        return topics

    async def _settle(self) -> None:
        """Wait until the broker has shown what it had; then listen to what is meant for us only."""
        self._calls.alive(self._limits.settle_cap + self._step)
        begun = self._loop.time()
        while True:
            quiet = max(begun, self._inbox.last_retained) + self._limits.settle
            rest = min(begun + self._limits.settle_cap, quiet) - self._loop.time()
            if rest <= 0:
                break
            await asyncio.sleep(rest)
        self._inbox.settled = True
        await self._connection.unsubscribe(f"{self._topics.root}/#")
        await self._connection.unsubscribe(f"{self._announcer.prefix}/device/+/config")
        self._inbox.check_retained_info()

    async def _remove_gone(self) -> None:
        """Meters that are configured no longer: their device, then their topics, then memory."""
        memory = self._board.memory
        known = (*self._retained.announced, *memory.meters)
        gone = [id_ for id_ in dict.fromkeys(known) if id_ not in (BRIDGE, *self._board.pictures)]
        for id_ in gone:
            if id_ in self._retained.announced:
                topic = self._topics.discovery(self._announcer.prefix, id_)
                await self._publish([(topic, "")])
            prefix = f"{self._topics.root}/{id_}/"
            left = [topic for topic in self._retained.topics if topic.startswith(prefix)]
            await self._publish((topic, "") for topic in left)
            if id_ in memory.meters:
                memory.forget(id_)
            _LOG.info("%s is configured no longer: removed from the broker and forgotten", id_)

    # What is due

    def push(self) -> bool:
        """Send the states and diagnostics that are due, as far as the window has room; False: the
        task has to do it, in steps."""
        due = self._board.due
        if self._stepping or due.discovery or due.status:
            return False
        while due.states and not self._window.full:
            self._window.send(*self._state(*_pop(due.states)))
        while due.diagnostics and not self._window.full:
            self._window.send(*self._diagnostics(_pop(due.diagnostics)))
        self._connection.flush()
        return True

    def _room(self) -> None:
        """Called by the loop, which would only log an exception."""
        try:
            self.push()
        except Exception as bug:  # noqa: BLE001 - not swallowed: `Connection.lost` raises it
            self._connection.fail(bug)

    def _state(self, id_: str, group: str) -> tuple[str, str]:
        return self._topics.state(id_, group), self._board.pictures[id_].state_json(group)

    def _diagnostics(self, id_: str) -> tuple[str, str]:
        return self._topics.diagnostics(id_), self._board.diagnostics(id_)

    async def _wait(self) -> None:
        self._calls.alive(self._limits.idle + self._step)
        try:
            async with asyncio.timeout(self._limits.idle):
                await self._board.changed.wait()
        except TimeoutError:
            pass

    async def _publish_due(self, *, first: bool = False) -> None:
        """Publish all that is due, each step acknowledged; `push` would keep the window from ever
        being empty meanwhile."""
        self._stepping = True
        if self._loop.time() - self._info_at >= self._limits.info:
            await self._publish_info()
        await self._publish_steps(first=first)
        self._stepping = False

    async def _publish_steps(self, *, first: bool) -> None:
        board, topics = self._board, self._topics
        due = board.take_due()
        statuses = [(topics.status(id_), board.status(id_)) for id_ in due.status]
        # on connect a meter's availability is known before the device; afterwards a device that
        # is new comes first
        if first:
            await self._publish(statuses)
        if self._config.homeassistant.enabled:
            await self._announce_bridge(first=first)
            for id_ in due.discovery:
                message = meter_discovery(self._announcer, board.pictures[id_])
                if message is not None:
                    await self._announce(message, id_)
            await self._drained()
        if not first:
            await self._publish(statuses)
        await self._publish(self._state(*key) for key in due.states)
        await self._publish(self._diagnostics(id_) for id_ in due.diagnostics)

    async def _announce_bridge(self, *, first: bool) -> None:
        """The daemon's own device: at first, and when a meter that has no device of its own yet is
        in trouble, until it has told who it is."""
        shown = self._bridge.components if self._bridge is not None else {}
        waiting = [
            picture
            for id_, picture in self._board.pictures.items()
            if picture.serial is None and (picture.problem or problem_component(id_) in shown)
        ]
        message = bridge_discovery(self._announcer, waiting)
        if first or message.announced != self._bridge:
            self._retained.announced.setdefault(BRIDGE, self._bridge or message.announced)
            await self._announce(message, BRIDGE)
            self._bridge = message.announced

    async def _announce(self, message: Discovery, id_: str) -> None:
        """Announce a device, in as many steps as it takes to have what is gone forgotten. The last
        step is on its way then: a house full of meters does not wait for one after the other."""
        *gone, last = publish_sequence(message, self._before(id_))
        if gone:
            await self._publish((message.topic, payload) for payload in gone)
        self._calls.alive(self._step)
        await self._window.vacancy()
        self._window.send(message.topic, last, then=partial(self._note, message.announced, id_))

    def _note(self, announced: PublishedDiscovery, id_: str) -> None:
        """The broker has what announces this device."""
        self._retained.announced.pop(id_, None)
        if id_ == BRIDGE:
            return
        memory = self._board.pictures[id_].meter_state
        now = (announced.components, announced.serial)
        if (memory.announced, memory.announced_as) != now:
            memory.announced, memory.announced_as = (
                intern_mapping(announced.components),
                announced.serial,
            )
            self._board.memory.mark_changed(urgent=True)

    def _before(self, id_: str) -> PublishedDiscovery | None:
        """What was announced last: what the broker showed and what memory knows, together."""
        shown = self._retained.announced.get(id_)
        if id_ == BRIDGE:
            return shown
        memory = self._board.pictures[id_].meter_state
        if not memory.announced or memory.announced_as is None:
            return shown
        known = PublishedDiscovery(memory.announced_as, memory.announced)
        if shown is None or shown.serial != known.serial:
            return shown or known
        return PublishedDiscovery(known.serial, {**known.components, **shown.components})

    async def _publish_info(self) -> None:
        self._info_at = self._loop.time()
        await self._publish([(self._topics.bridge_info, decimal_json.dumps(self._calls.info()))])

    async def _publish(self, messages: Iterable[tuple[str, str]]) -> None:
        """Publish messages, several in flight; all acknowledged at the end."""
        for topic, payload in messages:
            self._calls.alive(self._step)
            await self._window.vacancy()
            self._window.send(topic, payload)
        await self._drained()

    async def _drained(self) -> None:
        self._calls.alive(self._step)
        await self._window.drained()

    # The history

    async def _send_history(self) -> None:
        """Records, oldest first, so many at a time that are not acknowledged."""
        history = self._board.history
        window = Window(self._connection, HISTORY_WINDOW)
        history.connected()
        while True:
            record = await history.next()
            if history.catching_up and (wait := history.pace.reserve_slot()):
                await asyncio.sleep(wait)
            await window.vacancy()
            topic = self._topics.history(record.meter)
            window.send(topic, record.payload, retain=False, then=partial(self._recorded, record))

    def _recorded(self, record: Record) -> None:
        self._board.history.acked(record)
        self._calls.progress()


def _pop(due: dict[T, None]) -> T:
    """The key that became due first."""
    key = next(iter(due))
    del due[key]
    return key


def _leaves(group: BaseExceptionGroup[BrokerError]) -> Iterator[BrokerError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
