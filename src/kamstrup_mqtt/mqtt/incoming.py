"""What the broker brings us: what it had retained when we came, Home Assistant's birth, commands,
and the traces of another daemon that uses our instance.

Nothing in it is trusted: whoever may write to our topics may write anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig, PublishedDiscovery
from kamstrup_mqtt.homeassistant.removal import parse_announced, parse_meter_id
from kamstrup_mqtt.mqtt.connection import Received
from kamstrup_mqtt.mqtt.publish_queue import Board

_LOG = logging.getLogger(__package__)

MAX_COMMAND = 64
"""Bytes of a `read` command; longer ones are not for us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where this daemon runs. `boot` is the kernel's id of this boot, None where it is hidden."""

    name: str
    boot: str | None

    def is_other(self, host: object, boot: object) -> bool:
        """Whether somebody who says this is on another machine (a container made anew on the same
        boot is not)."""
        return host != self.name and (self.boot is None or boot != self.boot)


@dataclass(slots=True)
class Retained:
    """What the broker had when we came: discovery messages of ours, and our own topics."""

    announced: dict[str, PublishedDiscovery] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)


class Inbox:
    """What came on one connection.

    request_read   asks a meter's reader to read now: None, or the reason why not
    other_daemon   called with a description when another daemon uses our instance
    warn_once      logs a warning, each text once in the life of the process
    birth          seconds from Home Assistant's birth message to the states

    last_retained  when a retained message came, the last one (loop time)
    settled        discovery messages that come now are our own
    """

    def __init__(
        self,
        config: Config,
        announcer: DiscoveryConfig,
        board: Board,
        host: Host,
        *,
        request_read: Callable[[str], str | None],
        other_daemon: Callable[[str], None],
        warn_once: Callable[[str], None],
        birth: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = config
        self._announcer = announcer
        self._topics = announcer.topics
        self._board = board
        self._host = host
        self._request_read = request_read
        self._other_daemon = other_daemon
        self._warn_once = warn_once
        self._birth = birth
        self._loop = loop
        self.retained = Retained()
        self.last_retained = self._loop.time()
        self.settled = False
        self._born = False  # Home Assistant was started, and waits for the states

    async def listen(self, messages: AsyncIterator[Received]) -> None:
        """Take what comes, for as long as the connection lasts."""
        async for message in messages:
            self.receive(message)

    def check_retained_info(self) -> None:
        """See whether another daemon was here when we came."""
        topics = self.retained.topics
        # a stale one is no proof: whoever lives has said `online`
        if topics.get(self._topics.bridge_status) == "online":
            self._check_info(topics.get(self._topics.bridge_info, ""))

    def receive(self, message: Received) -> None:
        """Take one message; whatever it is, nothing comes out but what the calls do."""
        if message.retained:
            self._receive_retained(message)
        elif message.topic == self._topics.bridge_info:
            self._check_info(_text(message.payload))
        elif message.topic == self._config.homeassistant.status_topic:
            self._receive_birth(message)
        elif self._config.mqtt.commands and (id_ := self._commanded(message.topic)) is not None:
            self._receive_read(id_, message.payload)

    def _commanded(self, topic: str) -> str | None:
        """The meter of a `read` topic."""
        return next((id_ for id_ in self._board.pictures if self._topics.read(id_) == topic), None)

    def _receive_retained(self, message: Received) -> None:
        self.last_retained = self._loop.time()
        if self._commanded(message.topic) is not None:
            if self._config.mqtt.commands:
                self._warn_once(
                    f"{message.topic} holds a retained message, which is ignored: publish commands"
                    " without retain"
                )
            return
        text = _text(message.payload)
        if message.topic.startswith(f"{self._topics.root}/"):
            self.retained.topics[message.topic] = text
            return
        announced = parse_announced(self._announcer, message.topic, text)
        id_ = parse_meter_id(self._announcer, message.topic)
        if announced is not None and id_ is not None and not self.settled:
            self.retained.announced[id_] = announced

    def _receive_birth(self, message: Received) -> None:
        if self._born or _text(message.payload) != self._config.homeassistant.birth_payload:
            return  # who sends a thousand of them gets one answer
        self._born = True
        _LOG.info("Home Assistant was started: announcing everything again")
        self._board.all_announcements()
        # Home Assistant subscribes to state topics only after it has read the discovery
        self._loop.call_later(self._birth(), self._after_birth)

    def _after_birth(self) -> None:
        self._born = False
        self._board.all_states()

    def _receive_read(self, id_: str, payload: bytes) -> None:
        if len(payload) > MAX_COMMAND:
            self._warn_once(
                f"{self._topics.read(id_)}: a command of over {MAX_COMMAND} bytes is ignored"
            )
            return
        reason = self._request_read(id_)
        log = logging.getLogger(f"kamstrup_mqtt.meter.{id_}")
        if reason is None:
            log.info("%s: reading now, by command", id_)
        else:
            log.debug("%s: not read by command: %s", id_, reason)

    def _check_info(self, text: str) -> None:
        try:
            info = json.loads(text)
        except (ValueError, RecursionError):  # somebody else's
            return
        if isinstance(info, dict) and self._host.is_other(info.get("host"), info.get("boot")):
            self._other_daemon(f"on host {str(info.get('host'))[:64]!r}")


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")
