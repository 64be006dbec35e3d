"""What passed on the lines of meters, with times: `capture` writes it, `replay` reads it.

One JSON object a line, each written in one piece, so that what was written stays good whatever
happens next (docs/recordings.md has the fields):

    {"kamstrup_mqtt_recording": 1, "version": "0.1.0", "started": "2026-...Z", "meters": [{...}]}
    {"t": 0.003121, "meter": "heat", "event": "opened", "line": {...}, "link": "tcp", ...}
    {"t": 0.004410, "meter": "heat", "tx": "803f1001003c..."}
    {"t": 0.310775, "meter": "heat", "rx": "403f1001003c..."}
    {"t": 60.0, "end": "the time is over"}

`t`: seconds since the start by a clock that is never set. The last line is missing where the
recording was killed; a last line without its end is left out.
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

LinkEvent: TypeAlias = Literal["opened", "reopened", "failed", "lost", "closed", "changed"]
_EVENTS: tuple[LinkEvent, ...] = get_args(LinkEvent)
LinkKind: TypeAlias = Literal["serial", "tcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """`started`: None where the host's clock was not right. `meters`: their configuration without
    its secrets, as the file would have it."""

    version: str
    started: datetime | None
    meters: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Bytes that came from the line of a meter; `at` in seconds since the start."""

    at: float
    meter: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Bytes that were handed to the line."""

    at: float
    meter: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What happened to the line.

    opened, reopened  with `params`, `link` and `silence` (Link.idle_timeout)
    failed, lost      with `state` and `text`: it could not be opened, or broke
    closed            by us
    changed           set to `params`
    """

    at: float
    meter: str
    event: LinkEvent
    params: SerialParams | None = None
    link: LinkKind | None = None
    silence: float | None = None
    state: LinkState | None = None
    text: str | None = None


Event: TypeAlias = Received | Sent | Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A file that was read. `end`: why it ended, None where it was cut off. `length` in seconds.
    `cut`: its last line was not whole."""

    header: Header
    events: tuple[Event, ...]
    length: float
    end: str | None
    cut: bool

    def of(self, meter: str) -> tuple[Event, ...]:
        """What passed on the line of one meter, in order."""
        return tuple(event for event in self.events if event.meter == meter)

    @property
    def meters(self) -> tuple[str, ...]:
        """The ids of the recorded meters."""
        return tuple(str(meter["id"]) for meter in self.header.meters)


# Writing


class RecordingFile:
    """A file that is being written. `failure`: why nothing more can be written; from then on
    events are left out."""

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        """Raises ConfigError where the file is there already or cannot be made."""
        self.path = path
        self.failure: str | None = None
        self._size = 0
        # it tells serial numbers, and when somebody was at home
        self._file = create_private(path, replace=replace)

    def begin(self, header: Header) -> None:
        """Write the first line. Raises KamstrupMqttError when that fails."""
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

    def put(self, event: Event) -> None:
        """Append one event; never raises."""
        common = {"t": round(event.at, 6), "meter": event.meter}
        if isinstance(event, Received):
            self._write({**common, "rx": event.data.hex()})
        elif isinstance(event, Sent):
            self._write({**common, "tx": event.data.hex()})
        else:
            self._write({**common, **_line_fields(event)})

    def finish(self, at: float, why: str) -> None:
        """Write the last line and close."""
        self._write({"t": round(at, 6), "end": why})
        with contextlib.suppress(OSError):  # a pipe or a device has no disk
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
            self.failure = f"{self.path}: {error.strerror}; what was recorded before is good"
            with contextlib.suppress(OSError):  # the half of a line
                os.ftruncate(self._file, self._size)
            return
        self._size += len(line)


def _line_fields(event: Line) -> dict[str, Any]:
    fields: dict[str, Any] = {"event": event.event}
    if event.params is not None:
        fields["line"] = dataclasses.asdict(event.params)
    for name in ("link", "silence", "text"):
        if getattr(event, name) is not None:
            fields[name] = getattr(event, name)
    if event.state is not None:
        fields["state"] = event.state.value
    return fields


# Reading


def read(path: Path) -> Recording:
    """A whole file. Raises ConfigError, with the line that is at fault."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    whole, newline, rest = raw.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    if not lines:
        raise ConfigError(f"{path} is not a recording: it has no whole line")
    header = _at(path, 1, lambda: _header(_object(lines[0])))
    events: list[Event] = []
    length, end = 0.0, None
    for number, line in enumerate(lines[1:], 2):
        if end is not None:
            raise ConfigError(f"{path}:{number}: goes on behind its end; replay one at a time")
        entry = _at(path, number, partial(_parse_entry, line, header))
        if isinstance(entry, tuple):
            length, end = max(length, entry[0]), entry[1]
        else:
            length = max(length, entry.at)
            events.append(entry)
    return Recording(
        header=header, events=tuple(events), length=length, end=end, cut=bool(rest.strip())
    )


def _at(path: Path, number: int, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        words = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        what = "is not a recording" if number == 1 else "cannot be read"
        raise ConfigError(f"{path}:{number}: {what}: {words}") from None


def _parse_entry(line: bytes, header: Header) -> Event | tuple[float, str]:
    return _entry(_object(line), header)


def _object(line: bytes) -> dict[str, Any]:
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("must be an object")
    return entry


def _header(entry: Mapping[str, Any]) -> Header:
    if FORMAT not in entry:
        raise ValueError("`kamstrup-mqtt capture` makes one")
    if entry[FORMAT] != VERSION:
        raise ValueError(f"version {entry[FORMAT]} of the format is not known; a newer program?")
    meters = entry["meters"]
    if not isinstance(meters, list) or not all(isinstance(m, dict) and "id" in m for m in meters):
        raise ValueError("meters must be a list of meters with their ids")
    if len({str(meter["id"]) for meter in meters}) < len(meters):
        raise ValueError("two meters have the same id")
    started = entry.get("started")
    return Header(
        version=str(entry.get("version")),
        started=None if started is None else parse_rfc3339(started),
        meters=tuple(meters),
    )


def _entry(entry: Mapping[str, Any], header: Header) -> Event | tuple[float, str]:
    if FORMAT in entry:
        raise ValueError("another recording begins here; replay one at a time")
    at = entry["t"]
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 1e9:
        raise ValueError("t must be a number of seconds")
    if "end" in entry:
        return float(at), str(entry["end"])
    meter = entry["meter"]
    if meter not in {known["id"] for known in header.meters}:
        raise ValueError(f"no meter {meter} in the first line")
    if "rx" in entry:
        return Received(at=float(at), meter=meter, data=_octets(entry, "rx"))
    if "tx" in entry:
        return Sent(at=float(at), meter=meter, data=_octets(entry, "tx"))
    return _line(float(at), meter, entry)


def _octets(entry: Mapping[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(entry[name])
    except (ValueError, TypeError):  # their words differ from one Python to the next
        raise ValueError(f"{name} must be a text of hexadecimal digits, two a byte") from None


def _line(at: float, meter: str, entry: Mapping[str, Any]) -> Line:
    event = next((known for known in _EVENTS if known == entry.get("event")), None)
    if event is None:
        raise ValueError(f"must hold rx, tx or an event of {', '.join(_EVENTS)}")
    params, state = entry.get("line"), entry.get("state")
    silence = entry.get("silence")
    if silence is not None and not 0 < silence < 3600:
        raise ValueError("silence must be a number of seconds")
    return Line(
        at=at,
        meter=meter,
        event=event,
        params=None if params is None else SerialParams(**params),
        link=entry.get("link"),
        silence=None if silence is None else float(silence),
        state=None if state is None else LinkState(state),
        text=entry.get("text"),
    )
