"""Atomic writes, private files, the state lock and files that are set aside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.files import (
    acquire_lock,
    create_private,
    make_private,
    set_aside,
    write_atomically,
)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_an_atomic_write_keeps_the_old_file_if_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory.json"
    write_atomically(path, "old")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_an_atomic_write_leaves_no_partial_file_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(tmp_path / "memory.json", "{}")
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_write_is_private_even_over_a_leftover_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "memory.tmp").touch(mode=0o666)
    write_atomically(tmp_path / "memory.json", "{}")
    assert _mode(tmp_path / "memory.json") == 0o600


def test_create_private_replaces_an_existing_file_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "meters.rec"
    path.write_text("old")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="already exists; name another file or add --force"):
        create_private(path)
    assert path.read_text() == "old"
    os.close(create_private(path, replace=True))
    assert path.read_text() == ""
    assert _mode(path) == 0o600


def test_create_private_names_the_reason_if_the_file_cannot_be_created(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        create_private(tmp_path / "missing" / "meters.rec")


def test_make_private_creates_or_restricts_a_file_and_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    make_private(path)
    assert _mode(path) == 0o600
    path.write_text("content")
    path.chmod(0o644)
    make_private(path)
    assert (_mode(path), path.read_text()) == (0o600, "content")


def test_a_second_lock_is_refused_and_names_the_pid(tmp_path: Path) -> None:
    descriptor, clean_shutdown = acquire_lock(tmp_path / "memory.json")
    assert clean_shutdown
    with pytest.raises(ConfigError, match=rf"\(process {os.getpid()}\) uses this state file"):
        acquire_lock(tmp_path / "memory.json")
    os.close(descriptor)


@pytest.mark.parametrize("clean", [True, False])
def test_the_lock_tells_whether_the_previous_owner_shut_down_cleanly(
    tmp_path: Path, clean: bool
) -> None:
    descriptor, _ = acquire_lock(tmp_path / "memory.json")
    if clean:
        os.truncate(descriptor, 0)
    os.close(descriptor)
    descriptor, clean_shutdown = acquire_lock(tmp_path / "memory.json")
    os.close(descriptor)
    assert clean_shutdown is clean


def test_set_aside_takes_the_first_free_number(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    for number in (1, 2):
        path.write_text(str(number))
        aside = set_aside(path, "corrupt")
        assert aside.name == f"memory.json.corrupt-{number}"
        assert aside.read_text() == str(number)
        assert not path.exists()


def test_set_aside_takes_sidecars_along(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_text("database")
    (tmp_path / "history.db-wal").write_text("journal")
    set_aside(path, "newer", sidecars=("-wal", "-shm"))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "history.db.newer-1": "database",
        "history.db.newer-1-wal": "journal",
    }
