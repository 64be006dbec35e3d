"""What aiomqtt and paho ask of the loop, carried out only where it still holds."""

from __future__ import annotations

import asyncio
import socket

import pytest

from kamstrup_mqtt.mqtt.fd_guard import CarefulLoop


async def watched(loop: asyncio.AbstractEventLoop, descriptor: int) -> bool:
    """Whether the loop watches it now."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return bool(loop.remove_writer(descriptor))


@pytest.mark.parametrize("again", [False, True])
async def test_a_descriptor_is_watched_only_while_it_is_that_socket(again: bool) -> None:
    """Found by the soak: the broker's socket was closed before the loop came to watch it, and its
    number was already that of a meter's connection."""
    loop = asyncio.get_running_loop()
    careful = CarefulLoop(loop)
    near, far = socket.socketpair()
    number = near.fileno()
    careful.call_soon_threadsafe(loop.add_writer, number, lambda: None)
    assert await watched(loop, number)
    careful.call_soon_threadsafe(loop.add_writer, number, lambda: None)
    near.close()
    other = socket.socket() if again else None
    assert other is None or other.fileno() == number
    assert not await watched(loop, number)
    careful.call_soon_threadsafe(loop.add_reader, 10**6, lambda: None)  # closed already
    called = asyncio.Event()
    careful.call_soon_threadsafe(called.set)
    await called.wait()
    for open_ in (far, other):
        if open_ is not None:
            open_.close()
