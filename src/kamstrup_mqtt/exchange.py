"""Carries a conversation out on a link, or listens on it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from kamstrup_mqtt.counters import Counters
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.protocols.base import Answer, Conversation, Event, Framer


class Exchange:
    """One link, one framer: what a conversation yields is done on the line."""

    def __init__(self, link: Link, framer: Framer, counters: Counters, log: logging.Logger) -> None:
        raise NotImplementedError

    async def run(self, conversation: Conversation) -> Answer:
        """Hold the conversation. Raises LinkError when the line is lost, MeterError when the
        meter did not answer and the conversation gave up."""
        raise NotImplementedError


async def listen(
    link: Link, framer: Framer, counters: Counters, log: logging.Logger, *, tick: float = 1.0
) -> AsyncIterator[Event | None]:
    """What a pushing meter sends; None at least every `tick` seconds while no frame comes."""
    raise NotImplementedError
    yield None
