"""Handles messages from the broker.

These are retained messages, Home Assistant's birth message, commands, and the bridge info of
another daemon with the same instance. Their contents are not trusted: any client of the broker may
send them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.log import meter_logger
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig, PublishedDiscovery
from kamstrup_mqtt.homeassistant.removal import parse_announced, parse_meter_id
from kamstrup_mqtt.mqtt.callbacks import SessionCallbacks
from kamstrup_mqtt.mqtt.connection import Received
from kamstrup_mqtt.mqtt.publish_queue import PublishQueue

_LOG = logging.getLogger(__package__)

MAX_COMMAND = 64
"""Bytes of a `read` command. Longer ones are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine of a daemon. `boot` is the kernel's boot id, or None where it is hidden."""

    name: str
    boot: str | None

    def is_other(self, name: object, boot: object) -> bool:
        """Return whether `name` and `boot` describe another machine.

        A container that was created again has another name, but the same boot id.
        """
        return name != self.name and (self.boot is None or boot != self.boot)


@dataclass(slots=True)
class RetainedMessages:
    """What the broker had retained: discovery messages by meter id, and the instance's topics."""

    discovery: dict[str, PublishedDiscovery] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)


class IncomingMessages:
    """Handles the messages of one connection.

    retained       the retained messages
    last_retained  the loop time at which the last retained message arrived
    is_complete    set to True when the broker has sent all retained messages; discovery messages
                   that arrive later come from this daemon
    """

    def __init__(
        self,
        config: Config,
        discovery: DiscoveryConfig,
        queue: PublishQueue,
        host: Host,
        callbacks: SessionCallbacks,
        *,
        choose_birth_delay: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = config
        self._discovery = discovery
        self._topics = discovery.topics
        self._queue = queue
        self._host = host
        self._callbacks = callbacks
        self._choose_birth_delay = choose_birth_delay
        self._loop = loop
        self.retained = RetainedMessages()
        self.last_retained = loop.time()
        self.is_complete = False
        self._is_birth_pending = False

    async def listen(self, messages: AsyncIterator[Received]) -> None:
        """Handle messages for as long as the connection lasts."""
        async for message in messages:
            self.handle(message)

    def handle(self, message: Received) -> None:
        """Handle one incoming message. Raises only what a callback raises."""
        if message.retained:
            self._handle_retained(message)
        elif message.topic == self._topics.bridge_info:
            self._check_bridge_info(_decode(message.payload))
        elif message.topic == self._config.homeassistant.status_topic:
            self._handle_birth(message)
        elif self._config.mqtt.commands and (id_ := self._commanded_meter(message.topic)):
            self._handle_read(id_, message.payload)

    def _commanded_meter(self, topic: str) -> str | None:
        """Return the meter of a `read` topic, or None for another topic."""
        return next((id_ for id_ in self._queue.devices if self._topics.read(id_) == topic), None)

    # Retained messages

    def _handle_retained(self, message: Received) -> None:
        self.last_retained = self._loop.time()
        if self._commanded_meter(message.topic) is not None:
            if self._config.mqtt.commands:
                self._callbacks.warn_once(
                    f"{message.topic} holds a retained message, which is ignored: publish commands"
                    " without retain"
                )
            return
        text = _decode(message.payload)
        if message.topic.startswith(f"{self._topics.root}/"):
            self.retained.topics[message.topic] = text
        elif not self.is_complete:
            self._keep_discovery(message.topic, text)

    def _keep_discovery(self, topic: str, text: str) -> None:
        announced = parse_announced(self._discovery, topic, text)
        id_ = parse_meter_id(self._discovery, topic)
        if announced is not None and id_ is not None:
            self.retained.discovery[id_] = announced

    def check_retained_info(self) -> None:
        """Report another daemon that was connected before."""
        topics = self.retained.topics
        # The info alone may be stale: a running daemon is also `online`
        if topics.get(self._topics.bridge_status) == "online":
            self._check_bridge_info(topics.get(self._topics.bridge_info, ""))

    def _check_bridge_info(self, text: str) -> None:
        try:
            info = json.loads(text)
        except (ValueError, RecursionError):  # not from a daemon
            return
        if isinstance(info, dict) and self._host.is_other(info.get("host"), info.get("boot")):
            self._callbacks.report_conflict(f"on host {str(info.get('host'))[:64]!r}")

    # Birth message and commands

    def _handle_birth(self, message: Received) -> None:
        birth_payload = self._config.homeassistant.birth_payload
        if self._is_birth_pending or _decode(message.payload) != birth_payload:
            return  # many birth messages get one answer
        self._is_birth_pending = True
        _LOG.info("Home Assistant has started: announcing everything again")
        self._queue.mark_announcements()
        # Home Assistant subscribes to state topics after it has read the discovery messages
        self._loop.call_later(self._choose_birth_delay(), self._republish_states)

    def _republish_states(self) -> None:
        self._is_birth_pending = False
        self._queue.mark_states()

    def _handle_read(self, id_: str, payload: bytes) -> None:
        if len(payload) > MAX_COMMAND:
            self._callbacks.warn_once(
                f"{self._topics.read(id_)}: a command of over {MAX_COMMAND} bytes is ignored"
            )
            return
        refusal = self._callbacks.request_read(id_)
        if refusal is None:
            meter_logger(id_).info("%s: reading now, by command", id_)
        else:
            meter_logger(id_).debug("%s: not read by command: %s", id_, refusal)


def _decode(payload: bytes) -> str:
    return payload.decode(errors="replace")
