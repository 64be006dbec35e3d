"""The log: one line per record, control characters escaped, secrets masked.

Under systemd the journal has the time and takes the priority from `<n>`; elsewhere the time is
written. `kamstrup_mqtt.meter.<id>` is one meter's logger, so that each can have its own level.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from typing import IO

from kamstrup_mqtt.core.text import escape_unprintable

ROOT = "kamstrup_mqtt"
LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
MASK = "********"

_PRIORITY = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def meter_logger(meter_id: str) -> logging.Logger:
    """The logger of one configured meter."""
    return logging.getLogger(f"{ROOT}.meter.{meter_id}")


class Formatter(logging.Formatter):
    """Writes a record; only tracebacks, which are ours, may take several lines."""

    def __init__(self, *, journal: bool = False, secrets: Iterable[str] = ()) -> None:
        super().__init__(
            "%(levelname)s %(name)s: %(message)s"
            if journal
            else "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
            datefmt="%Y-%m-%d %H:%M:%S",
        )
        self._journal = journal
        # the longest first: a secret that contains another must not leave its tail behind
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = escape_unprintable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        text = "\n".join(map(escape_unprintable, super().format(record).split("\n")))
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        if not self._journal:
            return text
        priority = next((n for level, n in _PRIORITY if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


def set_up(
    level: str = "info",
    *,
    verbose: int = 0,
    meters: Mapping[str, str | None] | None = None,
    secrets: Iterable[str] = (),
    stream: IO[str] | None = None,
) -> None:
    """Send the log to `stream` (standard error).

    `verbose` 1: this program at DEBUG whatever `level` says; 2: the libraries too. `meters`: id
    -> level of that meter's logger, None to leave it as the others. May be called again.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(journal="JOURNAL_STREAM" in os.environ, secrets=secrets))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h.formatter, Formatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose > 1 else logging.WARNING)
    logging.getLogger(ROOT).setLevel(logging.DEBUG if verbose else LEVELS[level])
    for meter_id, name in (meters or {}).items():
        chosen = logging.DEBUG if verbose else LEVELS[name] if name else logging.NOTSET
        meter_logger(meter_id).setLevel(chosen)
