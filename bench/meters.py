"""Many HAN meters on TCP ports, in a process of their own: prints the ports, then pushes.

    --count     how many
    --interval  seconds from list to list, the phases spread over it; 0: as fast as they are taken
    --piece     bytes in one write, 16 ms apart (as a USB adapter passes 2400 baud on); 0: whole

An empty line on stdin lets them begin; each further line stops them, and is answered with how many
lists were sent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys

from bench.frames import LIVE, han_variants

PIECE_TIME = 0.016


class Meters:
    """`count` listening sockets; each meter pushes to who is connected to it."""

    def __init__(self, count: int, interval: float, piece: int) -> None:
        self._interval = interval
        self._piece = piece
        self._frames = [
            han_variants(LIVE, 4, meter_id=f"{number:016d}".encode()) for number in range(count)
        ]
        self._go = asyncio.Event()
        self._stopped = False
        self._servers: list[asyncio.Server] = []
        self.sent = 0

    async def start(self) -> list[int]:
        for number in range(len(self._frames)):

            async def connected(
                _: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = number
            ) -> None:
                await self._push(number, writer)

            self._servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        return [server.sockets[0].getsockname()[1] for server in self._servers]

    async def _push(self, number: int, writer: asyncio.StreamWriter) -> None:
        frames = self._frames[number]
        await self._go.wait()
        if self._interval:
            await asyncio.sleep(self._interval * number / len(self._frames))
        loop = asyncio.get_running_loop()
        due, sent = loop.time(), 0
        while not self._stopped:
            if writer.is_closing():  # the daemon has ended
                return
            await self._write(writer, frames[sent % len(frames)])
            sent += 1
            self.sent += 1
            if self._interval:
                due += self._interval
                await asyncio.sleep(due - loop.time())
        await asyncio.sleep(3600)  # connected, and silent

    async def _write(self, writer: asyncio.StreamWriter, frame: bytes) -> None:
        if not self._piece:
            writer.write(frame)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            return
        for at in range(0, len(frame), self._piece):
            writer.write(frame[at : at + self._piece])
            await asyncio.sleep(PIECE_TIME)

    def begin(self) -> None:
        self._go.set()

    def stop(self) -> None:
        self._stopped = True


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--interval", type=float, default=10.0)
    parser.add_argument("--piece", type=int, default=0)
    args = parser.parse_args()
    meters = Meters(args.count, args.interval, args.piece)
    print(json.dumps(await meters.start()), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    meters.begin()
    print("{}", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.strip() == "stop":
            meters.stop()
        print(json.dumps({"sent": meters.sent}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
