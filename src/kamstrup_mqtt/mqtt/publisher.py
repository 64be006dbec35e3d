"""Drains the outbox, whether the broker is there or not, and keeps one session with the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig
from kamstrup_mqtt.mqtt.backoff import Backoff
from kamstrup_mqtt.mqtt.connection import (
    ACK_TIMEOUT,
    CONNECT_TIMEOUT,
    BrokerError,
    Connector,
    Trouble,
    Will,
    address,
    connect,
)
from kamstrup_mqtt.mqtt.incoming import Host
from kamstrup_mqtt.mqtt.publish_queue import DIAGNOSTICS_INTERVAL, Board
from kamstrup_mqtt.mqtt.session import Calls, Session, SessionLimits
from kamstrup_mqtt.storage.history import History
from kamstrup_mqtt.storage.state_file import StateFile

_LOG = logging.getLogger(__package__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """Who we are, for bridge/info. `started` in RFC 3339, None while the clock is not right."""

    version: str
    host: Host
    started: str | None
    config_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits in seconds, and how many quick losses in a row mean a second daemon. `tick`: from
    one look at the clock to the next, where nothing is due before."""

    connect: float = CONNECT_TIMEOUT
    ack: float = ACK_TIMEOUT
    first_backoff: float = 1.0
    backoff_cap: float = 60.0
    slow_backoff: float = 60.0
    quick_loss: float = 10.0
    quick_losses: int = 3
    tick: float = 5.0
    diagnostics: float = DIAGNOSTICS_INTERVAL
    farewell: float = 3.0
    leave: float = 1.0
    session: SessionLimits = field(default_factory=SessionLimits)


class Publisher:
    """`run` ends after `stop`, or by cancellation."""

    def __init__(
        self,
        config: Config,
        pictures: Mapping[str, Device],
        memory: StateFile,
        outbox: ReportQueue,
        clock: Clock,
        daemon: Daemon,
        *,
        request_read: Callable[[str], str | None],
        history: History | None = None,
        limits: Limits | None = None,
        rng: random.Random | None = None,
        connect: Connector = connect,
    ) -> None:
        self._connect = connect
        self._limits = limits or Limits()
        self._rng = rng or random.Random()  # noqa: S311  # jitter, no secret
        self._config = config
        self._memory = memory
        self._outbox = outbox
        self._clock = clock
        self._daemon = daemon
        self._request_read = request_read
        self._topics = config.mqtt.topics
        self._announcer = DiscoveryConfig(
            topics=self._topics,
            prefix=config.homeassistant.prefix,
            is_modern=config.homeassistant.is_modern,
            version=daemon.version,
        )
        self._board = Board(
            pictures,
            memory,
            clock,
            history=history,
            diagnostics_interval=self._limits.diagnostics,
        )
        self._where = address(config.mqtt)
        self._drain_deadline = Heartbeat("publisher", clock.monotonic)
        self._session_deadline = Heartbeat("broker session", clock.monotonic)
        self._stop = asyncio.Event()
        self._say_offline = True
        self._backoff = Backoff(
            self._rng,
            self._limits.first_backoff,
            self._limits.backoff_cap,
            self._limits.slow_backoff,
        )
        self._open: Session | None = None  # the session of now
        self._bug = asyncio.Event()
        self._bugs: list[Exception] = []
        self._connected_at: float | None = None
        self._announced = False
        self._complaints: set[Trouble] = set()
        self._quick_losses = 0
        self._crowded = False
        self._told: set[str] = set()
        self.reconnects = 0

    @property
    def deadlines(self) -> tuple[Heartbeat, Heartbeat]:
        """What the watchdog watches."""
        return self._drain_deadline, self._session_deadline

    @property
    def connected(self) -> bool:
        """Whether everything is announced and the broker is there."""
        return self._announced

    @property
    def online(self) -> Mapping[str, bool]:
        """Which meters are online."""
        return self._board.online

    def stop(self, *, offline: bool) -> None:
        """Publish what is there, say `offline` (not before an exec anew), and end `run`."""
        for report in self._outbox.take_all():
            self._board.take(report)
            self._board.record(report)
        self._say_offline = offline
        self._stop.set()
        self._board.changed.set()

    async def run(self) -> None:
        """Publish until stopped."""
        self._outbox.set_consumer(self._drain)
        self._drain()
        async with asyncio.TaskGroup() as group:
            work = (self._raise_bugs(), self._tick(), self._board.history.keep())
            helpers = [group.create_task(task) for task in work]
            sessions = group.create_task(self._sessions())
            await self._stop.wait()
            if self._connected_at is None:
                sessions.cancel()
            await asyncio.wait([sessions], timeout=self._limits.farewell)
            for task in (sessions, *helpers):
                task.cancel()

    def _drain(self) -> None:
        """Take what the readers have put into the outbox, and send it on at once."""
        try:
            for report in self._outbox.take_all():
                self._board.take(report)
                self._push()  # the record has time until the state is on its way
                self._board.record(report)
            self._show_crowd()
        except Exception as bug:  # noqa: BLE001 - not swallowed: a task raises it
            self._bugs.append(bug)
            self._bug.set()

    def _show_crowd(self) -> None:
        self._outbox.set_backpressure(self._board.history.behind)

    async def _raise_bugs(self) -> None:
        """What went wrong in a call by the loop, which would only log it."""
        await self._bug.wait()
        raise self._bugs[0]

    def _push(self) -> None:
        """Send what is due; what needs several steps is left to the session's own task."""
        if self._open is None or not self._open.push():
            self._board.changed.set()

    async def _tick(self) -> None:
        while True:
            rest = self._board.tick() - self._clock.monotonic()
            self._push()
            wait = min(max(rest, 0.0), self._limits.tick)
            self._drain_deadline.expect_within(wait)
            await asyncio.sleep(wait)

    # Sessions

    async def _sessions(self) -> None:
        while not self._stop.is_set():
            self._session_deadline.expect_within(self._limits.connect + self._limits.ack)
            try:
                await self._session()
            except BrokerError as error:
                wait = self._lost(error)
                self._session_deadline.expect_within(wait)
                await asyncio.sleep(wait)

    async def _session(self) -> None:
        will = Will(self._topics.bridge_status, "offline")
        limits = self._limits
        async with self._connect(
            self._config.mqtt, will, connect_timeout=limits.connect, ack_timeout=limits.ack
        ) as connection:
            self._connected_at = self._clock.monotonic()
            calls = Calls(
                info=self._info,
                request_read=self._request_read,
                other_daemon=self._other_daemon,
                alive=self._session_deadline.expect_within,
                warn_once=self._warn_once,
                progress=self._show_crowd,
            )
            self._open = session = Session(
                connection,
                self._config,
                self._announcer,
                self._board,
                self._daemon.host,
                calls,
                ack_timeout=limits.ack,
                limits=limits.session,
                rng=self._rng,
            )
            try:
                await session.run(self._stop, self._ready)
            except BrokerError:
                raise
            except BaseException:
                await self._farewell(session)
                raise
            finally:
                self._open = None
                self._board.history.lost()
                self._show_crowd()
            await self._farewell(session)
            self._announced = False

    async def _farewell(self, session: Session) -> None:
        """Leaving in good order discards the Will, so we say it ourselves, unless we are back in
        a moment."""
        if not self._say_offline:
            return
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(self._limits.leave):
                await session.say_offline()

    def _ready(self) -> None:
        self._announced = True
        if self._quick_losses < 2:  # two that take turns would fill the log
            again = " again" if self.reconnects else ""
            _LOG.info("connected to the broker %s%s", self._where, again)
        self._complaints.clear()

    def _lost(self, error: BrokerError) -> float:
        """Say it once; seconds to wait."""
        now = self._clock.monotonic()
        connected = self._connected_at is not None
        if self._connected_at is not None:
            self.reconnects += 1
            lasted = now - self._connected_at
            self._quick_losses = self._quick_losses + 1 if lasted < self._limits.quick_loss else 0
            if self._quick_losses == 0 and self._announced:
                self._backoff.reset()
                self._crowded = False
        self._connected_at, self._announced = None, False
        if self._quick_losses >= self._limits.quick_losses:
            self._other_daemon(
                f"the connection was lost {self._quick_losses} times within"
                f" {self._limits.quick_loss:g} s"
            )
        self._complain(error, connected)
        return self._backoff.after(error.trouble, crowded=self._crowded)

    def _complain(self, error: BrokerError, connected: bool) -> None:
        """Once for each kind of trouble, until everything is announced again: a broker that
        accepts us and acknowledges nothing is no broker."""
        if error.trouble in self._complaints or (connected and self._quick_losses > 1):
            _LOG.debug("broker: %s", error)
        else:
            _LOG.warning("broker: %s; readings go on, trying again for ever", error)
        self._complaints.add(error.trouble)

    def _other_daemon(self, sign: str) -> None:
        if not self._crowded:
            _LOG.error(
                "another daemon uses instance %s on this broker; set mqtt.instance (%s)",
                self._topics.instance,
                sign,
            )
        self._crowded = True

    def _warn_once(self, message: str) -> None:
        # by us, not by the session: the broker shows a retained message at each connection
        if message not in self._told:
            self._told.add(message)
            _LOG.warning("%s", message)

    def _info(self) -> Json:
        daemon = self._daemon
        return {
            "version": daemon.version,
            "instance": self._topics.instance,
            "host": daemon.host.name,
            "boot": daemon.host.boot,
            "started": daemon.started,
            "config_hash": daemon.config_hash,
            "meters": list(self._board.pictures),
            "queue": len(self._outbox),
            "dropped": self._outbox.dropped,
            "reconnects": self.reconnects,
            "history": self._board.history.info(),
        }
