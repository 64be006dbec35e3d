"""Somebody who keeps every record of the history, and judges what came."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiomqtt


@dataclass(slots=True)
class Recorder:
    """Subscribed directly at the broker; `seen` are payloads in the order in which they came."""

    port: int
    seen: list[str] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; returns when the subscription is acknowledged."""
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
                finally:  # what came before the end; aiomqtt would throw it away
                    while len(client.messages):
                        self._keep(client._queue.get_nowait())

    def _keep(self, message: aiomqtt.Message) -> None:
        self.seen.append(bytes(message.payload).decode())

    async def ended(self) -> None:
        """The broker is dead: take what it still sent, then `stop`."""
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


def identity(payload: str) -> tuple[str, str, int]:
    """Meter, boot and number: what a consumer drops duplicates by."""
    record = json.loads(payload)
    return record["meter"], record["boot"], record["seq"]


def judge(seen: list[str], accepted: set[str]) -> str:
    """Every accepted record is there; none was altered; first deliveries of one meter and boot
    ascend without a gap. The figures."""
    missing = accepted - set(seen)
    assert not missing, f"{len(missing)} of {len(accepted)} lost: {sorted(missing)[:3]}"
    texts: dict[tuple[str, str, int], str] = {}
    last: dict[tuple[str, str], int] = {}
    for payload in seen:
        meter, boot, seq = identity(payload)
        first = texts.setdefault((meter, boot, seq), payload)
        assert first == payload, "one number, two records"
        before = last.get((meter, boot), 0)
        assert seq <= before + 1, f"{meter} {boot}: {seq} after {before}"
        last[meter, boot] = max(before, seq)
    boots = len({boot for _, boot in last})
    return (
        f"{len(accepted)} accepted, {len(texts)} delivered, {len(seen) - len(texts)} of them again,"
        f" 0 lost, in order; {boots} boots"
    )
