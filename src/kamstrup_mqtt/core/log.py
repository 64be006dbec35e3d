"""The log: one line per record, control characters escaped, secrets masked.

Under systemd, the journal adds the time and reads the priority from the prefix `<n>`. Elsewhere,
each line starts with the time. Each meter has a logger `kamstrup_mqtt.meter.<id>` with its level.
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
    """Return the logger of a configured meter."""
    return logging.getLogger(f"{ROOT}.meter.{meter_id}")


class Formatter(logging.Formatter):
    """Formats a record on one line. Only tracebacks take several lines."""

    def __init__(self, *, journal: bool = False, secrets: Iterable[str] = ()) -> None:
        super().__init__(
            "%(levelname)s %(name)s: %(message)s"
            if journal
            else "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
            datefmt="%Y-%m-%d %H:%M:%S",
        )
        self._journal = journal
        # longest first: a secret that contains another one is masked whole
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - name of the base class
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

    level    level of this program's loggers
    verbose  1: this program at DEBUG, regardless of `level`; 2: the libraries too
    meters   id -> level of the meter's logger, None for `level`
    secrets  texts to mask

    Repeated calls replace the settings.
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
        meter_level = logging.DEBUG if verbose else LEVELS[name] if name else logging.NOTSET
        meter_logger(meter_id).setLevel(meter_level)
