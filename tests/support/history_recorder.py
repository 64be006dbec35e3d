"""A subscriber that keeps all records of the history, and checks of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiomqtt


@dataclass(slots=True)
class Recorder:
    """Subscribes at the broker without the proxy. `seen` holds the payloads in order of arrival."""

    port: int
    seen: list[str] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and return when the subscription is acknowledged."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._record(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _record(self, ready: asyncio.Event) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", self.port) as client:
                await client.subscribe("kamstrup/main/+/history", qos=1)
                ready.set()
                try:
                    async for message in client.messages:
                        self._keep(message)
                finally:  # messages before the loss, which aiomqtt would drop
                    while len(client.messages):
                        self._keep(client._queue.get_nowait())

    def _keep(self, message: aiomqtt.Message) -> None:
        self.seen.append(bytes(message.payload).decode())

    async def ended(self) -> None:
        """Keep the last messages of a stopped broker, then `stop`."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=5)
        await self.stop()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None


@contextlib.asynccontextmanager
async def recording(port: int) -> AsyncIterator[Recorder]:
    recorder = Recorder(port)
    await recorder.start()
    try:
        yield recorder
    finally:
        await recorder.stop()


def record_id(payload: str) -> tuple[str, str, int]:
    """Return meter, boot id and number, by which consumers drop duplicates."""
    record = json.loads(payload)
    return record["meter"], record["boot"], record["seq"]


def check_records(seen: list[str], accepted: set[str]) -> str:
    """Check that all accepted records arrived unaltered and, per meter and boot, without a gap.

    Returns a summary.
    """
    missing = accepted - set(seen)
    assert not missing, f"{len(missing)} of {len(accepted)} lost: {sorted(missing)[:3]}"
    texts: dict[tuple[str, str, int], str] = {}
    last: dict[tuple[str, str], int] = {}
    for payload in seen:
        meter, boot, seq = record_id(payload)
        first = texts.setdefault((meter, boot, seq), payload)
        assert first == payload, "two records with one number"
        before = last.get((meter, boot), 0)
        assert seq <= before + 1, f"{meter} {boot}: {seq} after {before}"
        last[meter, boot] = max(before, seq)
    boots = len({boot for _, boot in last})
    return (
        f"{len(accepted)} accepted, {len(texts)} delivered, {len(seen) - len(texts)} of them again,"
        f" 0 lost, in order; {boots} boots"
    )
