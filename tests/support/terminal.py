"""A command on a new terminal, as a user sees it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import time

from tests.support.commandline import command, environment


class Terminal:
    """Runs `kamstrup-mqtt` on a new terminal. `shown` is what it has printed so far."""

    def __init__(self, *args: str) -> None:
        self._near, far = pty.openpty()
        self.process = subprocess.Popen(
            command(*args),
            stdin=far,
            stdout=far,
            stderr=far,
            env=environment(),
            start_new_session=True,
        )
        os.close(far)
        self.shown = ""

    def wait_for(self, text: str, timeout: float = 20.0) -> None:
        """Read until `text` is shown."""
        end = time.monotonic() + timeout
        while text not in self.shown:
            ready, _, _ = select.select([self._near], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} was not shown: {self.shown}"
            self.shown += os.read(self._near, 4096).decode()

    def interrupt(self) -> int:
        """Do what Ctrl-C does; returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Read to the end; returns the exit code."""
        rest = b""
        with contextlib.suppress(OSError):  # the program has closed its end
            while data := os.read(self._near, 4096):
                rest += data
        self.shown += rest.decode()
        os.close(self._near)
        return self.process.wait(10)
