"""The file format of recordings, by lines typed by hand from docs/recordings.md."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamstrup_mqtt.core.errors import ConfigError, KamstrupMqttError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.links.recording import file_format
from kamstrup_mqtt.links.recording.file_format import (
    Header,
    LineChange,
    ReceivedBytes,
    RecordingFile,
    SentBytes,
)

HEAD = (
    '{"kamstrup_mqtt_recording": 1, "version": "0.2.0", "started": "2026-11-21T03:30:00.000Z",'
    ' "meters": [{"id": "heat", "name": "Heat", "protocol": "kmp"}, {"id": "main"}]}'
)
OPENED = (
    '{"t": 0.003, "meter": "heat", "event": "opened", "line": {"baudrate": 1200, "bytesize": 8,'
    ' "parity": "N", "stopbits": 2, "dtr": null, "rts": null}, "link": "tcp", "silence": 2.5}'
)
TYPED = [
    HEAD,
    OPENED,
    '{"t": 0.004, "meter": "heat", "tx": "803f1001"}',
    '{"t": 0.31, "meter": "heat", "rx": "403F 1001"}',
    '{"t": 1, "meter": "main", "event": "failed", "state": "port_missing", "text": "gone"}',
    '{"t": 60.5, "end": "interrupted"}',
]
EVENTS = (
    LineChange(
        at=0.003,
        meter="heat",
        event="opened",
        params=SerialParams(1200, stopbits=2),
        link="tcp",
        idle_timeout=2.5,
    ),
    SentBytes(at=0.004, meter="heat", data=b"\x80\x3f\x10\x01"),
    ReceivedBytes(at=0.31, meter="heat", data=b"\x40\x3f\x10\x01"),
    LineChange(at=1.0, meter="main", event="failed", state=LinkState.PORT_MISSING, text="gone"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "line.jsonl"


def test_reading(path: Path) -> None:
    path.write_text("\n".join(TYPED) + "\n")
    found = file_format.read_recording(path)
    assert found.header.version == "0.2.0"
    assert found.header.started == datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
    assert found.meters == ("heat", "main")
    assert found.events == EVENTS
    assert found.events_of("main") == EVENTS[3:]
    assert (found.length, found.end, found.is_truncated) == (60.5, "interrupted", False)


def test_writing(path: Path) -> None:
    file = RecordingFile(path)
    started = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
    meters = ({"id": "heat", "name": "Heat", "protocol": "kmp"}, {"id": "main"})
    file.write_header(Header(version="0.2.0", started=started, meters=meters))
    for event in EVENTS:
        file.append(event)
    # each line is written at once, so that a killed process loses nothing
    assert len(path.read_text().splitlines()) == 5
    file.finish(60.5, "interrupted")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        json.loads(line.replace("403F 1001", "403f1001")) for line in TYPED
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_recording_made_without_a_valid_clock(path: Path) -> None:
    file = RecordingFile(path)
    file.write_header(Header(version="1", started=None, meters=()))
    file.finish(0.0, "stopped")
    assert file_format.read_recording(path).header.started is None


@pytest.mark.parametrize("whole", [1, 2, 5])
def test_a_truncated_file_is_read_up_to_its_last_complete_line(path: Path, whole: int) -> None:
    path.write_text("\n".join(TYPED[:whole]) + "\n" + TYPED[3][:20])
    found = file_format.read_recording(path)
    assert found.events == EVENTS[: whole - 1]
    assert (found.end, found.is_truncated) == (None, True)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "4: cannot be read: the line is not JSON"),
        ("[]", "4: cannot be read: must be an object"),
        ('{"meter": "heat", "rx": ""}', "4: cannot be read: t is missing"),
        ('{"t": -1, "meter": "heat", "rx": ""}', "4: cannot be read: t must be a number"),
        ('{"t": NaN, "meter": "heat", "rx": ""}', "4: cannot be read: t must be a number"),
        ('{"t": true, "meter": "heat", "rx": ""}', "4: cannot be read: t must be a number"),
        ('{"t": 1, "rx": ""}', "4: cannot be read: meter is missing"),
        ('{"t": 1, "meter": "attic", "rx": ""}', "4: cannot be read: no meter attic in the"),
        ('{"t": 1, "meter": "heat", "rx": "8"}', "4: cannot be read: rx must be hexadecimal"),
        ('{"t": 1, "meter": "heat", "rx": 8}', "4: cannot be read: rx must be hexadecimal"),
        ('{"t": 1, "meter": "heat"}', "4: cannot be read: must have rx, tx or one of the"),
        ('{"t": 1, "meter": "heat", "event": "failed", "state": "sad"}', "4: cannot be read"),
        ('{"t": 1, "meter": "heat", "event": "changed", "line": {"x": 1}}', "4: cannot be read: "),
        ('{"t": 1, "meter": "heat", "event": "opened", "silence": NaN}', "silence must be"),
        ('{"t": 1, "meter": ["heat"], "rx": ""}', "4: cannot be read: "),
        (HEAD, "4: cannot be read: another recording begins here"),
    ],
)  # fmt: skip
def test_an_invalid_line_is_reported_with_its_number(path: Path, line: str, fault: str) -> None:
    path.write_text("\n".join([*TYPED[:3], line, *TYPED[4:]]) + "\n")
    with pytest.raises(ConfigError, match=re.escape(f"{fault}")) as caught:
        file_format.read_recording(path)
    assert caught.value.faults[0].startswith(f"{path}:4: ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it has no complete line"),
        ("no newline", "it has no complete line"),
        ("mqtt:\n  host: x\n", ":1: is not a recording: the line is not JSON"),
        ("{}\n", ":1: is not a recording: create one with `kamstrup-mqtt capture`"),
        ('{"kamstrup_mqtt_recording": 2}\n', ":1: is not a recording: version 2 of the format"),
        ('{"kamstrup_mqtt_recording": 1}\n', ":1: is not a recording: meters is missing"),
        ('{"kamstrup_mqtt_recording": 1, "meters": [3]}\n', "meters must be a list of objects"),
        (
            HEAD.replace("main", "heat") + "\n",
            ":1: is not a recording: two meters have the same id",
        ),
        (
            HEAD.replace("2026-11-21T03:30:00.000Z", "0001-01-01T00:00:00+23:00") + "\n",
            ":1: is not",
        ),
        (HEAD.replace("2026-11", "2026-99") + "\n", ":1: is not a recording: "),
        ("\n".join([*TYPED, TYPED[2]]) + "\n", ":7: text after the end"),
        ("[" * 100_000 + "\n", ":1: is not a recording: "),
    ],
)
def test_a_file_that_is_no_recording_is_rejected(path: Path, text: str, fault: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(fault)):
        file_format.read_recording(path)


def test_a_file_that_cannot_be_read_or_created(tmp_path: Path, path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        file_format.read_recording(path)
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        RecordingFile(tmp_path, replace=True)
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        RecordingFile(tmp_path / "no" / "file")
    path.write_text("somebody's")
    with pytest.raises(ConfigError, match="already exists; name another file or add --force"):
        RecordingFile(path)
    assert path.read_text() == "somebody's"
    path.chmod(0o644)
    RecordingFile(path, replace=True)
    assert path.read_text() == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_when_the_header_is_written() -> None:
    file = RecordingFile(Path("/dev/full"), replace=True)
    with pytest.raises(KamstrupMqttError, match="/dev/full: No space left on device"):
        file.write_header(Header(version="1", started=None, meters=()))
    file.append(EVENTS[1])
    file.finish(1.0, "stopped")


def test_an_incomplete_line_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RecordingFile(path)
    file.write_header(Header(version="1", started=None, meters=({"id": "heat"},)))
    before = path.read_bytes()
    write, free = os.write, [10]

    def write_until_full(number: int, data: bytes) -> int:
        if not free:
            raise OSError(28, "No space left on device")
        return write(number, data[: free.pop()])

    monkeypatch.setattr(os, "write", write_until_full)
    file.append(EVENTS[1])
    file.append(EVENTS[2])
    file.finish(1.0, "stopped")
    assert file.failure == f"{path}: No space left on device; the recording is valid up to here"
    assert path.read_bytes() == before
    assert file_format.read_recording(path).end is None


keys = st.sampled_from(
    ["t", "meter", "rx", "tx", "event", "line", "silence", "state", "end", file_format.FORMAT]
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["heat", "80", "lost"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(keys, inside, max_size=3),
    max_leaves=6,
)


@given(lines=st.lists(st.dictionaries(keys, anything) | anything, max_size=4), raw=st.binary())
def test_any_file_is_read_or_raises_a_config_error(lines: list[object], raw: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        for content in (HEAD.encode() + b"\n" + text, text, raw, HEAD.encode() + b"\n" + raw):
            path.write_bytes(content)
            with contextlib.suppress(ConfigError):
                assert file_format.read_recording(path).meters
