"""The state file: what is kept between runs of the daemon."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from datetime import datetime
from pathlib import Path

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.core.files import acquire_lock, set_aside, write_atomically
from kamstrup_mqtt.core.threads import SerialWorker
from kamstrup_mqtt.storage.state_schema import (
    CORRUPT_ERRORS,
    VERSION,
    LastReading,
    LastTotal,
    MeterState,
    NewerVersionError,
    dumps,
    parse,
)

_LOG = logging.getLogger(__name__)

FILE = "memory.json"
URGENT_DELAY = 2.0
"""Seconds from an urgent change to its write; changes within this time are written once."""
WRITE_INTERVAL = 15 * 60.0
LAST_WRITE_TIMEOUT = 2.0
"""Seconds that the last write may take: a slow card must not delay the exit."""


class StateFile:
    """Reads the file at the start, locks it while the daemon runs, and writes it as a whole.

    Urgent changes (identity, keys, units, learned choices) are written within seconds, others at
    most every 15 minutes and on a clean shutdown. A file that is missing, read-only or corrupt is
    logged once and set aside, and the daemon runs without it. A file of an older version is
    converted, and kept beside the new one. `path` None: nothing is stored.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Clock,
        *,
        urgent_within: float = URGENT_DELAY,
        otherwise_every: float = WRITE_INTERVAL,
        last_write_limit: float = LAST_WRITE_TIMEOUT,
        write: Callable[[Path, str], None] | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._urgent_within = urgent_within
        self._otherwise_every = otherwise_every
        self._last_write_limit = last_write_limit
        self._write_file = write or write_atomically
        self._meters: dict[str, MeterState] = {}
        self._dirty = asyncio.Event()
        self._urgent = asyncio.Event()
        self._written = clock.monotonic()
        self._writer = SerialWorker("kamstrup-memory")
        self._is_failing = False
        self._last_write: Future[None] | None = None
        self._lock: int | None = None
        self.clean_shutdown = True
        """Whether the previous process stored its whole state before it ended."""

    def open(self) -> None:
        """Lock and read the file. Raises ConfigError with the pid if another daemon has it."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock, self.clean_shutdown = acquire_lock(self._path)
        except OSError as error:
            self.clean_shutdown = False  # not known
            self._warn_unwritable(error)
        self._meters = self._read(self._path)
        self._clock.not_before = max([self._clock.not_before, *self._times()])

    @property
    def meters(self) -> Mapping[str, MeterState]:
        """The state of all meters, including those that are no longer configured."""
        return self._meters

    def meter(self, id_: str) -> MeterState:
        """Return the state of one meter; it is empty if there was none."""
        return self._meters.setdefault(id_, MeterState.empty())

    def forget(self, id_: str) -> None:
        """Remove a meter."""
        if self._meters.pop(id_, None) is not None:
            self.mark_changed(urgent=True)

    def clamp_times(self, now: datetime) -> None:
        """Move times from the future to `now`: the clock was wrong and has been set back."""
        for reader, device in self._meters.values():
            if reader.last_poll is not None:
                reader.last_poll = min(reader.last_poll, now)
            reader.last_read = {group: min(time, now) for group, time in reader.last_read.items()}
            stamps: list[LastReading | LastTotal] = [
                *device.readings.values(),
                *reader.totals.values(),
            ]
            for stamped in stamps:
                if stamped.time is not None:
                    stamped.time = min(stamped.time, now)
        self.mark_changed(urgent=True)

    def mark_changed(self, *, urgent: bool = False) -> None:
        """Schedule a write. Call it in the thread of the loop after each change."""
        self._dirty.set()
        if urgent:
            self._urgent.set()

    async def run(self) -> None:
        """Write when changes are due, until cancelled; then write once more."""
        try:
            while True:
                await self._wait_until_due()
                await asyncio.wrap_future(self._start_write())
        finally:
            if self._dirty.is_set():
                self._start_write()
            if self._last_write is not None:
                await asyncio.wait(
                    [asyncio.wrap_future(self._last_write)], timeout=self._last_write_limit
                )

    def close(self) -> None:
        """Write what changed and release the lock."""
        if self._dirty.is_set():
            self._start_write()
        if self._last_write is not None:
            wait([self._last_write], timeout=self._last_write_limit)
        if self._lock is not None:
            if not self._is_failing and (self._last_write is None or self._last_write.done()):
                os.truncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    async def _wait_until_due(self) -> None:
        await self._dirty.wait()
        rest = self._written + self._otherwise_every - self._clock.monotonic()
        try:
            async with asyncio.timeout(max(rest, 0.0)):
                await self._urgent.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._urgent_within)

    def _start_write(self) -> Future[None]:
        """Write in a daemon thread, so that neither loop nor exit waits for a slow card."""
        self._dirty.clear()
        self._urgent.clear()
        self._written = self._clock.monotonic()
        text = dumps(self._meters)
        self._last_write = self._writer.submit(lambda: self._write(text))
        return self._last_write

    def _write(self, text: str) -> None:
        if self._path is None:
            return
        try:
            self._write_file(self._path, text)
        except OSError as error:
            self._warn_unwritable(error)
            return
        if self._is_failing:
            self._is_failing = False
            _LOG.info("%s can be written again", self._path)

    def _warn_unwritable(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            _LOG.warning(
                "%s cannot be written (%s): after a restart meters are announced only once they"
                " have answered; free the disk, make the directory writable, or set"
                " STATE_DIRECTORY",
                self._path,
                error.strerror or error,
            )

    def _read(self, path: Path) -> dict[str, MeterState]:
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            _LOG.info("%s: no state file yet", path)
            return {}
        except OSError as error:
            _LOG.warning(
                "%s cannot be read (%s): the daemon starts without it",
                path,
                error.strerror or error,
            )
            return {}
        try:
            stored = parse(text)
        except NewerVersionError as error:
            _replace_unusable(path, "newer", f"was written by a newer version ({error})")
        except CORRUPT_ERRORS as error:
            _replace_unusable(path, "corrupt", f"is corrupt ({type(error).__name__}: {error})")
        else:
            if stored.version != VERSION:
                self._keep_old_version(path, text, stored.version)
            return stored.meters
        return {}

    def _keep_old_version(self, path: Path, text: bytes, version: int) -> None:
        """Keep a copy of a file of an older version beside it, for a downgrade."""
        old = path.with_name(f"{path.stem}.v{version}{path.suffix}")
        try:
            self._write_file(old, text.decode())
        except OSError as error:
            _LOG.warning(
                "%s is converted from version %d to %d, but the copy %s could not be written (%s):"
                " after a downgrade meters are announced only once they have answered",
                path,
                version,
                VERSION,
                old.name,
                error.strerror or error,
            )
        else:
            _LOG.info(
                "%s is converted from version %d to %d; %s keeps the old version: for a downgrade,"
                " rename it to %s",
                path,
                version,
                VERSION,
                old.name,
                path.name,
            )
        self.mark_changed(urgent=True)

    def _times(self) -> list[datetime]:
        return [
            time
            for reader, device in self._meters.values()
            for time in (reader.last_poll, *(reading.time for reading in device.readings.values()))
            if time is not None
        ]


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory of the state file: $STATE_DIRECTORY (systemd; /data in the image), else
    one in the home directory."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".local/state/kamstrup-mqtt"


def detected_models(meters: Mapping[str, MeterState]) -> dict[str, str]:
    """Return meter -> the model that was detected (`model: auto`)."""
    found = {id_: meter.reader.learned.model for id_, meter in meters.items()}
    return {id_: model for id_, model in found.items() if model is not None}


def read_only(path: Path) -> Mapping[str, MeterState]:
    """Return the stored state without locking or changing the file; for `discovery`.

    The result is empty if there is no file or an unusable one, which the daemon logs. Raises
    KamstrupMqttError for a file that may not be read.
    """
    try:
        return parse(path.read_bytes()).meters
    except PermissionError:
        raise KamstrupMqttError(
            f"{path}: permission denied; run this command as the daemon's user, or as root"
        ) from None
    except (OSError, NewerVersionError, *CORRUPT_ERRORS):
        return {}


def _replace_unusable(path: Path, reason: str, description: str) -> None:
    try:
        aside = set_aside(path, reason)
    except OSError as error:
        _LOG.warning(
            "%s %s; the daemon starts without it (%s)", path, description, error.strerror or error
        )
    else:
        _LOG.warning(
            "%s %s; set aside as %s, the daemon starts without it", path, description, aside.name
        )
