"""The daemon of the demo, in a separate process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

STOP_TIMEOUT = 7.0
"""Seconds after which the daemon is killed; it stops within 5."""

LOG_FILE = "daemon.log"
LOG_LINES = 15
"""Lines of the log to show when the daemon fails."""


@contextlib.asynccontextmanager
async def run_daemon(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Context manager with the running daemon; its log is beside the configuration."""
    service_variables = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
    environment = {key: value for key, value in os.environ.items() if key not in service_variables}
    state = config.parent / "state"
    state.mkdir()
    environment |= {"STATE_DIRECTORY": str(state), "RUNTIME_DIRECTORY": str(state)}
    with config.with_name(LOG_FILE).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kamstrup_mqtt", "run", "-c", str(config)),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches only this process, which ends the daemon
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def end_of_log(folder: Path) -> str:
    """The last lines of the daemon's log."""
    log = (folder / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    return "\n".join(log.splitlines()[-LOG_LINES:])
