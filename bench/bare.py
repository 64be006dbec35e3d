"""A process that does nothing but publish: `python -m bench.bare PORT TOPIC`.

It stands where the daemon stands: in a process of its own, idle between two messages, with aiomqtt
alone. A line on stdin is a payload; it is published with QoS 1, retained, and once it is
acknowledged the monotonic time just before `publish` goes to stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiomqtt

PAUSE = 0.01
"""Seconds after which the time is told: the subscriber is not woken while its message comes."""


async def main(port: int, topic: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with aiomqtt.Client("127.0.0.1", port) as client:
        while payload := (await lines.readline()).rstrip(b"\n"):
            start = time.monotonic()
            await client.publish(topic, payload, qos=1, retain=True)
            await asyncio.sleep(PAUSE)
            print(start, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
