"""Publishes messages in steps. A step ends when all its messages are acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kamstrup_mqtt.mqtt.in_flight import InFlightWindow


class StepPublisher:
    """Publishes through a window.

    `expect_progress` is called before each wait with `timeout`, the seconds that it may take.
    """

    def __init__(
        self, window: InFlightWindow, expect_progress: Callable[[float], None], timeout: float
    ) -> None:
        self._window = window
        self._expect_progress = expect_progress
        self._timeout = timeout

    async def publish(self, messages: Iterable[tuple[str, str]]) -> None:
        """Publish retained messages (topic, payload) and wait until all are acknowledged."""
        for topic, payload in messages:
            await self.send(topic, payload)
        await self.finish()

    async def send(
        self, topic: str, payload: str, on_ack: Callable[[], None] = lambda: None
    ) -> None:
        """Send a retained message as soon as the window has room. Part of the current step."""
        self._expect_progress(self._timeout)
        await self._window.wait_for_slot()
        self._window.send(topic, payload, on_ack=on_ack)

    async def finish(self) -> None:
        """Wait until all messages of the step are acknowledged."""
        self._expect_progress(self._timeout)
        await self._window.wait_empty()
