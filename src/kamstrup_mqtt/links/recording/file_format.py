"""Recordings of the bytes on the meters' lines: written by `capture`, read by `replay`.

A recording holds one JSON object per line. Each line is written in one piece, so that a crash
damages at most the last one. docs/recordings.md describes the fields:

    {"kamstrup_mqtt_recording": 1, "version": "0.1.0", "started": "2026-...Z", "meters": [{...}]}
    {"t": 0.003121, "meter": "heat", "event": "opened", "line": {...}, "link": "tcp", ...}
    {"t": 0.004410, "meter": "heat", "tx": "803f1001003c..."}
    {"t": 0.310775, "meter": "heat", "rx": "403f1001003c..."}
    {"t": 60.0, "end": "the time is over"}

`t` is in seconds since the start, by the monotonic clock. The last line is missing if the process
was killed. An incomplete last line is ignored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from kamstrup_mqtt.core.clock import parse_rfc3339, rfc3339
from kamstrup_mqtt.core.errors import ConfigError, KamstrupMqttError
from kamstrup_mqtt.core.files import create_private
from kamstrup_mqtt.core.model import LinkState, SerialParams

T = TypeVar("T")

FORMAT = "kamstrup_mqtt_recording"
VERSION = 1

ChangeKind: TypeAlias = Literal["opened", "reopened", "failed", "lost", "closed", "changed"]
_CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
LinkKind: TypeAlias = Literal["serial", "tcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first line of a recording.

    started  None if the host's clock was not set
    meters   the meters' configuration as in the YAML file, without secrets
    """

    version: str
    started: datetime | None
    meters: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedBytes:
    """Bytes received from the line of a meter; `at` in seconds since the start."""

    at: float
    meter: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SentBytes:
    """Bytes sent to the line of a meter; `at` in seconds since the start."""

    at: float
    meter: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange:
    """A change of the state of a line, at `at` seconds since the start.

    opened, reopened  with `params`, `link` and `idle_timeout`
    failed, lost      could not be opened, or broke: with `state` and `text`
    closed            by this program
    changed           configured with `params`
    """

    at: float
    meter: str
    event: ChangeKind
    params: SerialParams | None = None
    link: LinkKind | None = None
    idle_timeout: float | None = None
    state: LinkState | None = None
    text: str | None = None


RecordedEvent: TypeAlias = ReceivedBytes | SentBytes | LineChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording that was read.

    length        seconds
    end           why it ended, None if the process was killed
    is_truncated  the last line is incomplete
    """

    header: Header
    events: tuple[RecordedEvent, ...]
    length: float
    end: str | None
    is_truncated: bool

    def events_of(self, meter: str) -> tuple[RecordedEvent, ...]:
        """Return the events of one meter in order."""
        return tuple(event for event in self.events if event.meter == meter)

    @property
    def meters(self) -> tuple[str, ...]:
        """Ids of the recorded meters."""
        return tuple(str(meter["id"]) for meter in self.header.meters)


# Writing


class RecordingFile:
    """Writes a recording.

    `failure` says why nothing more can be written. Events after a failure are ignored.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        """Create the file. Raises ConfigError if it exists or cannot be created."""
        self.path = path
        self.failure: str | None = None
        self._size = 0
        # private: the contents reveal serial numbers and when somebody was at home
        self._file = create_private(path, replace=replace)

    def write_header(self, header: Header) -> None:
        """Write the first line. Raises KamstrupMqttError if that fails."""
        self._write(
            {
                FORMAT: VERSION,
                "version": header.version,
                "started": rfc3339(header.started),
                "meters": list(header.meters),
            }
        )
        if self.failure is not None:
            raise KamstrupMqttError(self.failure)

    def append(self, event: RecordedEvent) -> None:
        """Append an event. Never raises."""
        common = {"t": round(event.at, 6), "meter": event.meter}
        if isinstance(event, ReceivedBytes):
            self._write({**common, "rx": event.data.hex()})
        elif isinstance(event, SentBytes):
            self._write({**common, "tx": event.data.hex()})
        else:
            self._write({**common, **_change_fields(event)})

    def finish(self, at: float, reason: str) -> None:
        """Write the last line and close the file."""
        self._write({"t": round(at, 6), "end": reason})
        with contextlib.suppress(OSError):  # a pipe or a device cannot be synchronised
            os.fsync(self._file)
        os.close(self._file)

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self.failure is not None:
            return
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        rest = line
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self.failure = f"{self.path}: {error.strerror}; the recording is valid up to here"
            with contextlib.suppress(OSError):  # remove the incomplete line
                os.ftruncate(self._file, self._size)
            return
        self._size += len(line)


def _change_fields(event: LineChange) -> dict[str, Any]:
    fields: dict[str, Any] = {"event": event.event}
    if event.params is not None:
        fields["line"] = dataclasses.asdict(event.params)
    optional = {"link": event.link, "silence": event.idle_timeout, "text": event.text}
    fields.update({name: value for name, value in optional.items() if value is not None})
    if event.state is not None:
        fields["state"] = event.state.value
    return fields


# Reading


def read_recording(path: Path) -> Recording:
    """Read a whole file. Raises ConfigError with the number of the faulty line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    whole, newline, rest = raw.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    if not lines:
        raise ConfigError(f"{path} is not a recording: it has no complete line")
    header = _parse_line(path, 1, lambda: _parse_header(_parse_object(lines[0])))
    events: list[RecordedEvent] = []
    length, end = 0.0, None
    for number, line in enumerate(lines[1:], 2):
        if end is not None:
            raise ConfigError(
                f"{path}:{number}: text after the end; replay one recording at a time"
            )
        entry = _parse_line(path, number, partial(_parse_entry, line, header))
        if isinstance(entry, tuple):
            length, end = max(length, entry[0]), entry[1]
        else:
            length = max(length, entry.at)
            events.append(entry)
    return Recording(
        header=header, events=tuple(events), length=length, end=end, is_truncated=bool(rest.strip())
    )


def _parse_line(path: Path, number: int, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        what = "is not a recording" if number == 1 else "cannot be read"
        raise ConfigError(f"{path}:{number}: {what}: {reason}") from None


def _parse_entry(line: bytes, header: Header) -> RecordedEvent | tuple[float, str]:
    return _event_from(_parse_object(line), header)


def _parse_object(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        raise ValueError("the line is not JSON") from None
    if not isinstance(entry, dict):
        raise ValueError("must be an object")
    return entry


def _parse_header(entry: Mapping[str, Any]) -> Header:
    if FORMAT not in entry:
        raise ValueError("create one with `kamstrup-mqtt capture`")
    if entry[FORMAT] != VERSION:
        raise ValueError(f"version {entry[FORMAT]} of the format is unknown; upgrade kamstrup-mqtt")
    meters = entry["meters"]
    if not isinstance(meters, list) or not all(isinstance(m, dict) and "id" in m for m in meters):
        raise ValueError("meters must be a list of objects with an id")
    if len({str(meter["id"]) for meter in meters}) < len(meters):
        raise ValueError("two meters have the same id")
    started = entry.get("started")
    return Header(
        version=str(entry.get("version")),
        started=None if started is None else parse_rfc3339(started),
        meters=tuple(meters),
    )


def _event_from(entry: Mapping[str, Any], header: Header) -> RecordedEvent | tuple[float, str]:
    if FORMAT in entry:
        raise ValueError("another recording begins here; replay one recording at a time")
    at = entry["t"]
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 1e9:
        raise ValueError("t must be a number of seconds")
    if "end" in entry:
        return float(at), str(entry["end"])
    meter = entry["meter"]
    if meter not in {known["id"] for known in header.meters}:
        raise ValueError(f"no meter {meter} in the first line")
    if "rx" in entry:
        return ReceivedBytes(at=float(at), meter=meter, data=_hex_field(entry, "rx"))
    if "tx" in entry:
        return SentBytes(at=float(at), meter=meter, data=_hex_field(entry, "tx"))
    return _change_from(float(at), meter, entry)


def _hex_field(entry: Mapping[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(entry[name])
    except (ValueError, TypeError):  # the messages depend on the version of Python
        raise ValueError(f"{name} must be hexadecimal digits, two per byte") from None


def _change_from(at: float, meter: str, entry: Mapping[str, Any]) -> LineChange:
    event = next((known for known in _CHANGE_KINDS if known == entry.get("event")), None)
    if event is None:
        raise ValueError(f"must have rx, tx or one of the events {', '.join(_CHANGE_KINDS)}")
    params, state = entry.get("line"), entry.get("state")
    silence = entry.get("silence")
    if silence is not None and not 0 < silence < 3600:
        raise ValueError("silence must be a number of seconds")
    return LineChange(
        at=at,
        meter=meter,
        event=event,
        params=None if params is None else SerialParams(**params),
        link=entry.get("link"),
        idle_timeout=None if silence is None else float(silence),
        state=None if state is None else LinkState(state),
        text=entry.get("text"),
    )
