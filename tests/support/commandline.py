"""Runs commands as a user does: each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

LIMIT = 30.0


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects in the lines of standard output, with exact numbers."""
        return [json.loads(line, parse_float=Decimal) for line in self.out.splitlines()]


def command(*args: str) -> list[str]:
    """The command line of `kamstrup-mqtt` with these arguments."""
    return [sys.executable, "-W", "error", "-m", "kamstrup_mqtt", *args]


def environment(**more: str) -> dict[str, str]:
    """The environment of this process without the variables of this program."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("KAMSTRUP_")}
    return {**ours, "PYTHONUNBUFFERED": "1", **more}


def kamstrup_mqtt(
    *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, limit: float = LIMIT
) -> Result:
    """Run a command to its end. Raises TimeoutExpired after `limit` seconds."""
    done = subprocess.run(
        command(*args),
        input=stdin,
        capture_output=True,
        env=environment(**(env or {})),
        timeout=limit,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def emulated(*args: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Context manager with a running emulator: its process and its address."""
    with subprocess.Popen(
        command("emulate", *args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline().decode()
            if " listens on " not in line:
                assert process.stderr
                raise AssertionError(line + process.stderr.read().decode())
            yield process, line.split(" listens on ")[1].strip()
        finally:
            process.kill()
