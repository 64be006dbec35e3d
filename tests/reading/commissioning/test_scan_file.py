"""The file that lets a scan of all registers continue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.reading.commissioning.scan_file import ScanFile


def test_without_a_file_a_scan_starts_from_nothing(tmp_path: Path) -> None:
    assert ScanFile(tmp_path / "scan.json").load() == (0, [])


def test_progress_is_stored_without_unknown_registers(tmp_path: Path) -> None:
    file = ScanFile(tmp_path / "new" / "scan.json")
    file.save(1024, ["serial_no", 1004, 60])
    assert file.load() == (1024, [60, 1004])
    assert json.loads(file.path.read_text()) == {"done": 1024, "registers": [60, 1004]}


@pytest.mark.parametrize(("done", "expected"), [(-1, 0), (70000, 65536)])
def test_an_impossible_count_is_limited(tmp_path: Path, done: int, expected: int) -> None:
    path = tmp_path / "scan.json"
    path.write_text(json.dumps({"done": done, "registers": []}))
    assert ScanFile(path).load() == (expected, [])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"done": 1, "registers": ["x"]}'])
def test_an_invalid_progress_file_is_rejected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scan.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"scan\.json: cannot be continued .* --resume"):
        ScanFile(path).load()


def test_a_directory_that_is_not_writable_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/scan\.json: .*; name another file with --resume"):
        ScanFile(tmp_path / "file" / "scan.json").save(1, [])
