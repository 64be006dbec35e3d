"""The end of a run: its reason, its time limit, and the signals that request it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from enum import Enum

from kamstrup_mqtt.daemon.watchdog import EXIT_AFTER


class ExitReason(Enum):
    """Why a run of the daemon ended."""

    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    RELOAD = "reload"


class Shutdown:
    """The request to end a run.

    exit_timer  ends the process after the given seconds unless it is called again
    timeout     seconds within which the daemon has to end
    """

    def __init__(self, exit_timer: Callable[[float], None], timeout: float) -> None:
        self.reason: ExitReason | None = None
        self._exit_timer = exit_timer
        self._timeout = timeout
        self._requested = asyncio.Event()

    def request(self, reason: ExitReason) -> None:
        """Request the end. The first request decides the reason."""
        if self.reason is None:
            self.reason = reason
            self._exit_timer(self._timeout)
            self._requested.set()

    async def wait(self) -> None:
        """Wait for a request."""
        await self._requested.wait()

    def arm_watchdog(self) -> None:
        """Restart the exit timer of the watchdog, unless that of the shutdown is running."""
        if self.reason is None:
            self._exit_timer(EXIT_AFTER)


@contextlib.contextmanager
def handle_signals(shutdown: Shutdown, reload: Callable[[], None]) -> Iterator[None]:
    """End the run on SIGTERM and SIGINT, and call `reload` on SIGHUP."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, shutdown.request, ExitReason.STOPPED)
    loop.add_signal_handler(signal.SIGINT, shutdown.request, ExitReason.INTERRUPTED)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
