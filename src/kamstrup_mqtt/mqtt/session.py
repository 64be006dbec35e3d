"""What the daemon does on one connection to the broker.

On connect, each step acknowledged: subscribe; remove former meters; the status of every meter;
discovery; states; diagnostics; bridge/info; bridge/status `online` last. Then whatever becomes
pending, in the same order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig
from kamstrup_mqtt.mqtt.broker_errors import BrokerError
from kamstrup_mqtt.mqtt.callbacks import SessionCallbacks
from kamstrup_mqtt.mqtt.connection import HISTORY_WINDOW, STATE_WINDOW, Connection
from kamstrup_mqtt.mqtt.device_announcer import DeviceAnnouncer
from kamstrup_mqtt.mqtt.in_flight import InFlightWindow
from kamstrup_mqtt.mqtt.incoming import Host, IncomingMessages
from kamstrup_mqtt.mqtt.publish_queue import PublishQueue
from kamstrup_mqtt.mqtt.step_publisher import StepPublisher
from kamstrup_mqtt.storage.history.buffer import Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Times in seconds.

    quiet_period  without a retained message, after which the broker has sent them all
    quiet_cap     after which waiting for retained messages ends in any case
    birth         range of the delay from Home Assistant's birth message to the states
    info          between two bridge/info messages
    idle          after which an idle session reports that it is alive
    finish        for the last records of the history at the end
    """

    quiet_period: float = 0.5
    quiet_cap: float = 5.0
    birth: tuple[float, float] = (1.0, 3.0)
    info: float = 300.0
    idle: float = 10.0
    finish: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionContext:
    """What the sessions of a publisher have in common. `ack_timeout` is in seconds."""

    config: Config
    discovery: DiscoveryConfig
    queue: PublishQueue
    host: Host
    callbacks: SessionCallbacks
    ack_timeout: float
    limits: SessionLimits
    rng: random.Random

    @property
    def step_timeout(self) -> float:
        """The seconds after which a session that makes no step is stuck."""
        return 2 * self.ack_timeout


class Session:
    """One session with the broker."""

    def __init__(self, connection: Connection, context: SessionContext) -> None:
        self._connection = connection
        self._context = context
        self._topics = context.discovery.topics
        self._queue = context.queue
        self._limits = context.limits
        self._loop = asyncio.get_running_loop()
        self._window = InFlightWindow(connection, STATE_WINDOW, self._push_in_callback)
        self._steps = StepPublisher(
            self._window, context.callbacks.expect_progress, context.step_timeout
        )
        self._incoming = IncomingMessages(
            context.config,
            context.discovery,
            context.queue,
            context.host,
            context.callbacks,
            choose_birth_delay=partial(context.rng.uniform, *context.limits.birth),
            loop=self._loop,
        )
        self._announcer = DeviceAnnouncer(
            context.discovery, context.queue, self._incoming.retained, self._steps
        )
        self._info_time = self._loop.time()
        self._is_in_steps = True

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Publish until `stop` is set, and then the topics that are still pending.

        `on_ready` is called when everything is announced. Raises BrokerError when the connection is
        lost.
        """
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._incoming.listen(self._connection.messages())),
                    group.create_task(self._connection.wait_lost()),
                ]
                await self._start()
                on_ready()
                helpers.append(group.create_task(self._send_history()))
                while not stop.is_set():
                    await self._wait_for_pending()
                    await self._publish_pending()
                await self._publish_pending()
                await self._queue.history.drain(self._limits.finish)
                for helper in helpers:
                    helper.cancel()
        except BaseExceptionGroup as errors:
            lost, other = errors.split(BrokerError)
            if lost is None or other is not None:
                raise
            raise next(_leaves(lost)) from None

    async def publish_offline(self) -> None:
        """Publish `offline`. The broker does not send the will after a proper disconnection."""
        await self._connection.publish(self._topics.bridge_status, "offline")

    # Start

    async def _start(self) -> None:
        self._expect_progress()
        await self._connection.subscribe(self._subscriptions())
        await self._wait_for_retained()
        await self._announcer.remove_former_meters()
        self._queue.merge_retained(self._topics, self._incoming.retained.topics)
        self._queue.mark_all()
        await self._publish_pending(is_first=True)
        await self._publish_info()
        await self._steps.publish([(self._topics.bridge_status, "online")])

    def _subscriptions(self) -> list[str]:
        config = self._context.config
        topics = [
            f"{self._topics.root}/#",
            self._topics.bridge_info,
            self._discovery_filter,
        ]
        if config.homeassistant.enabled:
            topics.append(config.homeassistant.status_topic)
        if config.mqtt.commands:
            topics.append(self._topics.read("+"))
        return topics

    @property
    def _discovery_filter(self) -> str:
        return f"{self._context.discovery.prefix}/device/+/config"

    async def _wait_for_retained(self) -> None:
        """Wait until the broker has sent all retained messages, then narrow the subscriptions."""
        limits = self._limits
        self._expect_progress(limits.quiet_cap)
        start = self._loop.time()
        while True:
            quiet = max(start, self._incoming.last_retained) + limits.quiet_period
            pause = min(start + limits.quiet_cap, quiet) - self._loop.time()
            if pause <= 0:
                break
            await asyncio.sleep(pause)
        self._incoming.is_complete = True
        await self._connection.unsubscribe(f"{self._topics.root}/#")
        await self._connection.unsubscribe(self._discovery_filter)
        self._incoming.check_retained_info()

    # Pending topics

    def push(self) -> bool:
        """Send pending states and diagnostics as far as the window has room.

        Returns False if the session's task has to publish because steps are needed.
        """
        pending = self._queue.pending
        if self._is_in_steps or pending.discovery or pending.status:
            return False
        while pending.states and not self._window.is_full:
            self._window.send(*self._state(*_pop_first(pending.states)))
        while pending.diagnostics and not self._window.is_full:
            self._window.send(*self._diagnostics(_pop_first(pending.diagnostics)))
        self._connection.flush()
        return True

    def _push_in_callback(self) -> None:
        # The loop would only log an exception of its callback
        try:
            self.push()
        except Exception as bug:  # noqa: BLE001 - `wait_lost` raises it
            self._connection.fail(bug)

    def _state(self, id_: str, group: str) -> tuple[str, str]:
        return self._topics.state(id_, group), self._queue.devices[id_].state_json(group)

    def _diagnostics(self, id_: str) -> tuple[str, str]:
        return self._topics.diagnostics(id_), self._queue.diagnostics_payload(id_)

    def _status(self, id_: str) -> tuple[str, str]:
        return self._topics.status(id_), self._queue.status_payload(id_)

    async def _wait_for_pending(self) -> None:
        self._expect_progress(self._limits.idle)
        try:
            async with asyncio.timeout(self._limits.idle):
                await self._queue.changed.wait()
        except TimeoutError:
            pass

    async def _publish_pending(self, *, is_first: bool = False) -> None:
        """Publish everything that is pending in acknowledged steps.

        `push` pauses meanwhile. It would keep the window from becoming empty.
        """
        self._is_in_steps = True
        if self._loop.time() - self._info_time >= self._limits.info:
            await self._publish_info()
        await self._publish_steps(is_first=is_first)
        self._is_in_steps = False

    async def _publish_steps(self, *, is_first: bool) -> None:
        pending = self._queue.take_pending()
        statuses = [self._status(id_) for id_ in pending.status]
        # On connect a meter's availability comes before its device. Later a new device comes first.
        if is_first:
            await self._steps.publish(statuses)
        if self._context.config.homeassistant.enabled:
            await self._announcer.announce_bridge(force=is_first)
            for id_ in pending.discovery:
                await self._announcer.announce_meter(id_)
            await self._steps.finish()
        if not is_first:
            await self._steps.publish(statuses)
        await self._steps.publish(self._state(*key) for key in pending.states)
        await self._steps.publish(self._diagnostics(id_) for id_ in pending.diagnostics)

    async def _publish_info(self) -> None:
        self._info_time = self._loop.time()
        info = decimal_json.dumps(self._context.callbacks.bridge_info())
        await self._steps.publish([(self._topics.bridge_info, info)])

    def _expect_progress(self, seconds: float = 0.0) -> None:
        self._context.callbacks.expect_progress(seconds + self._context.step_timeout)

    # History

    async def _send_history(self) -> None:
        """Send the records of the history, oldest first, in a window of their own."""
        history = self._queue.history
        window = InFlightWindow(self._connection, HISTORY_WINDOW)
        history.begin_connection()
        while True:
            record = await history.next_record()
            if history.is_replaying and (pause := history.rate_limiter.reserve_slot()):
                await asyncio.sleep(pause)
            await window.wait_for_slot()
            topic = self._topics.history(record.meter)
            on_ack = partial(self._handle_record_ack, record)
            window.send(topic, record.payload, retain=False, on_ack=on_ack)

    def _handle_record_ack(self, record: Record) -> None:
        self._queue.history.acknowledge(record)
        self._context.callbacks.update_backpressure()


def _pop_first(pending: dict[T, None]) -> T:
    """Remove and return the key that was added first."""
    key = next(iter(pending))
    del pending[key]
    return key


def _leaves(group: BaseExceptionGroup[BrokerError]) -> Iterator[BrokerError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
