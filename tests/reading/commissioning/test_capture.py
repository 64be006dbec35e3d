"""What a capture writes and counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from kamstrup_mqtt.config.loader import load
from kamstrup_mqtt.config.redaction import Redaction
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.links.recording import file_format
from kamstrup_mqtt.links.recording.file_format import (
    LineChange,
    ReceivedBytes,
    RecordingFile,
    SentBytes,
)
from kamstrup_mqtt.reading.commissioning.capture import CaptureWriter

CONFIG = """
mqtt: {host: broker.attic.lan, password: hunter2-7f3a}
meters:
  - {name: Heat, protocol: kmp, model: multical_403, port: "tcp://bridge.attic.lan:2002"}
"""


def make_writer(
    folder: Path, file: Path, failures: list[str]
) -> tuple[CaptureWriter, RecordingFile]:
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    recording = RecordingFile(file, replace=True)
    redaction = Redaction(load(str(config)))
    return CaptureWriter(recording, redaction, lambda: failures.append("failed")), recording


def test_events_are_counted_by_meter_and_host_names_masked(tmp_path: Path) -> None:
    file = tmp_path / "line.jsonl"
    writer, recording = make_writer(tmp_path, file, [])
    writer.begin(datetime(2026, 1, 20, tzinfo=UTC))
    lost = LineChange(
        at=0.4,
        meter="heat",
        event="lost",
        state=LinkState.PORT_MISSING,
        text="tcp://bridge.attic.lan:2002: the bridge closed the connection",
    )
    for event in (
        SentBytes(at=0.1, meter="heat", data=b"?"),
        ReceivedBytes(at=0.2, meter="heat", data=b"12"),
        ReceivedBytes(at=0.3, meter="heat", data=b"345"),
        lost,
    ):
        writer.put(event)
    recording.finish(0.5, "stopped")
    assert (writer.requests_sent, writer.bytes_received) == ({"heat": 1}, {"heat": 5})
    assert "attic" not in file.read_text()
    assert "hunter2" not in file.read_text()
    found = file_format.read_recording(file)
    assert found.meters == ("heat",)
    assert [type(event) for event in found.events] == [
        SentBytes,
        ReceivedBytes,
        ReceivedBytes,
        LineChange,
    ]
    assert str(found.events[-1]).count("the bridge closed the connection") == 1


def test_a_full_disk_is_reported_once_the_first_event_is_lost(tmp_path: Path) -> None:
    failures: list[str] = []
    writer, recording = make_writer(tmp_path, Path("/dev/full"), failures)
    writer.put(ReceivedBytes(at=0.2, meter="heat", data=b"12"))
    recording.finish(0.5, "stopped")
    assert failures == ["failed"]
    assert recording.failure is not None
    assert recording.failure.startswith("/dev/full: No space left on device")
