"""Keeps a session with the broker."""

from __future__ import annotations

import asyncio
import contextlib

from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.mqtt.broker_errors import BrokerError
from kamstrup_mqtt.mqtt.connection import Connector, Will, format_address
from kamstrup_mqtt.mqtt.limits import PublisherLimits
from kamstrup_mqtt.mqtt.reconnect_policy import ReconnectPolicy
from kamstrup_mqtt.mqtt.session import Session, SessionContext


class SessionRunner:
    """Runs one session after another until it is stopped."""

    def __init__(
        self,
        context: SessionContext,
        policy: ReconnectPolicy,
        connect: Connector,
        limits: PublisherLimits,
        heartbeat: Heartbeat,
    ) -> None:
        self._context = context
        self._policy = policy
        self._connect = connect
        self._limits = limits
        self._heartbeat = heartbeat
        self._stop = asyncio.Event()
        self._publishes_offline = True
        self._session: Session | None = None

    def push(self) -> bool:
        """See `Session.push`. Returns False without a session."""
        return self._session is not None and self._session.push()

    def stop(self, *, offline: bool) -> None:
        """End `run` after publishing the pending topics, and with `offline` the bridge's status."""
        self._publishes_offline = offline
        self._stop.set()

    async def wait_stopped(self) -> None:
        """Wait until `stop` is called."""
        await self._stop.wait()

    async def run(self) -> None:
        """Connect and run sessions until `stop` is called."""
        while not self._stop.is_set():
            self._heartbeat.expect_within(self._limits.connect + self._limits.ack)
            try:
                await self._run_session()
            except BrokerError as error:
                pause = self._policy.handle_loss(error)
                self._heartbeat.expect_within(pause)
                await asyncio.sleep(pause)

    async def _run_session(self) -> None:
        mqtt, limits = self._context.config.mqtt, self._limits
        will = Will(mqtt.topics.bridge_status, "offline")
        async with self._connect(
            mqtt, will, connect_timeout=limits.connect, ack_timeout=limits.ack
        ) as connection:
            self._policy.mark_connected()
            self._session = session = Session(connection, self._context)
            try:
                await session.run(
                    self._stop, lambda: self._policy.mark_announced(format_address(mqtt))
                )
            except BrokerError:
                raise
            except BaseException:
                await self._publish_offline(session)
                raise
            finally:
                self._session = None
                self._context.queue.history.end_connection()
                self._context.callbacks.update_backpressure()
            await self._publish_offline(session)
            self._policy.mark_closed()

    async def _publish_offline(self, session: Session) -> None:
        """Publish `offline`, because a proper disconnection discards the will."""
        if not self._publishes_offline:
            return
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(self._limits.leave):
                await session.publish_offline()
