"""Signals that end a command."""

from __future__ import annotations

import asyncio
import signal


def stop_signals(*more: signal.Signals) -> asyncio.Future[signal.Signals]:
    """A future with the first SIGINT, SIGTERM or one of `more` that arrives.

    From then on these signals no longer end the process themselves.
    """
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM, *more):
        loop.add_signal_handler(number, stop, number)
    return stopped
