"""The state file: round trip, lock, damage, times of writing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from kamstrup_mqtt.core.clock import Clock, rfc3339
from kamstrup_mqtt.core.errors import ConfigError, KamstrupMqttError
from kamstrup_mqtt.core.files import write_atomically
from kamstrup_mqtt.storage import state_file as module
from kamstrup_mqtt.storage.state_file import StateFile, state_directory
from kamstrup_mqtt.storage.state_schema import (
    DeviceState,
    LastReading,
    LastTotal,
    Learned,
    MeterState,
    ReaderState,
    adopt_model,
)

MOMENT = datetime(2026, 11, 21, 3, 30, 0, 250000, tzinfo=UTC)
LONG = Decimal("123456789012345678901234567890.123456789")


def filled() -> MeterState:
    return MeterState(
        ReaderState(
            serial="0012345678",
            serial_source=1001,
            model="multical_403",
            seen_keys=("heat_energy", "info_code"),
            last_read={"values": MOMENT},
            totals={"heat_energy": LastTotal(LONG, None, "MWh")},
            last_poll=MOMENT,
            unsupported={97: MOMENT, "1-1:1.7.0.255": MOMENT},
            learned=Learned(bcc="sum"),
        ),
        DeviceState(
            serial="0012345678",
            serial_source=1001,
            model="multical_403",
            details={"sw_version": "C1"},
            units={"heat_energy": "MWh", "info_code": None},
            readings={"values": LastReading(MOMENT, {"heat_energy": Decimal("0.3030"), "x": None})},
            announced={"heat_energy": "sensor"},
            announced_as="0012345678",
        ),
    )


def fill(state: MeterState) -> None:
    for part, filled_part in zip(state, filled(), strict=True):
        for name in part.__slots__:
            setattr(part, name, getattr(filled_part, name))


def opened(path: Path | None, **limits: float) -> StateFile:
    state_file = StateFile(path, Clock(), **limits)  # type: ignore[arg-type]
    state_file.open()
    return state_file


def test_the_state_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "memory.json"
    state_file = opened(path)
    fill(state_file.meter("heat"))
    state_file.mark_changed()
    state_file.close()
    again = opened(path)
    assert dict(again.meters) == {"heat": filled()}
    again.close()


def test_the_file_as_it_is_on_disk(tmp_path: Path) -> None:
    """The format is kept compatible: this is version 2, written out by hand."""
    path = tmp_path / "memory.json"
    who = '"serial": "0012345678", "serial_source": 1001, "model": "multical_403"'
    path.write_text(
        '{"version": 2, "meters": {"heat": {"reader": {' + who + ', "seen_keys": ["heat_energy",'
        ' "info_code"], "last_read": {"values": "2026-11-21T03:30:00.250Z"},'
        ' "totals": {"heat_energy": {"value": "123456789012345678901234567890.123456789",'
        ' "unit": "MWh", "time": null}}, "last_poll": "2026-11-21T03:30:00.250Z",'
        ' "unsupported": [[97, "2026-11-21T03:30:00.250Z"],'
        ' ["1-1:1.7.0.255", "2026-11-21T03:30:00.250Z"]], "learned": {"bcc": "sum"}},'
        ' "device": {' + who + ', "details": {"sw_version": "C1"},'
        ' "units": {"heat_energy": "MWh", "info_code": null},'
        ' "readings": {"values": {"time": "2026-11-21T03:30:00.250Z",'
        ' "values": {"heat_energy": 0.3030, "x": null}}},'
        ' "announced": {"heat_energy": "sensor"}, "announced_as": "0012345678"}}}}'
    )
    state_file = opened(path)
    assert state_file.meter("heat") == filled()
    assert [file.name for file in tmp_path.glob("*.json")] == ["memory.json"]
    state_file.mark_changed()
    state_file.close()
    assert json.loads(path.read_text())["version"] == 2


VERSION_1 = Path(__file__).with_name("memory.v1.json")
"""Written by the last release with version 1, which read four emulated meters for 20 seconds."""


def test_version_1_is_migrated_and_kept(tmp_path: Path, logged: Callable[..., list[str]]) -> None:
    path = tmp_path / "memory.json"
    path.write_bytes(VERSION_1.read_bytes())
    old = json.loads(VERSION_1.read_text(), parse_float=Decimal)["meters"]
    for _ in range(2):  # as migrated, and as stored in version 2
        state_file = opened(path)
        assert list(state_file.meters) == list(old) == ["heating", "old_heating", "readout", "main"]
        for id_, before in old.items():
            reader, device = state_file.meter(id_)
            assert device.units == before["units"]
            assert device.details == before.get("details", {})
            assert (device.announced, device.announced_as) == (
                before["announced"],
                before["announced_as"],
            )
            for group, reading in before["readings"].items():
                assert device.readings[group].values == reading["values"]
                assert rfc3339(device.readings[group].time) == reading["time"]
                assert rfc3339(reader.last_read[group]) == reading["time"]
            for part in (reader, device):
                assert part.serial == before.get("serial")
                assert part.serial_source == before.get("serial_source")
                assert part.model == before["model"]
            assert {key: total.value for key, total in reader.totals.items()} == {
                key: total["value"] for key, total in before["totals"].items()
            }
            assert reader.seen_keys == tuple(before["units"])
            assert reader.learned.as_mapping() == before.get("learned", {})
            assert rfc3339(reader.last_poll) == before.get("last_poll")
            assert [[source, rfc3339(time)] for source, time in reader.unsupported.items()] == (
                before.get("unsupported", [])
            )
        heating, main = state_file.meter("heating").reader, state_file.meter("main").reader
        assert heating.totals["heat_energy"].unit == "GJ"
        assert heating.unsupported.keys() == {333}
        assert main.totals["energy_import_live"].unit == "kWh"
        assert main.learned.clock_offset == "+00:00"
        assert state_file.meter("old_heating").reader.learned.energy_offset_wh == "-41.4"
        state_file.close()
        assert json.loads(path.read_text())["version"] == 2
    # for a downgrade
    assert (tmp_path / "memory.v1.json").read_bytes() == VERSION_1.read_bytes()
    messages = [m for m in logged() if "memory.v1.json keeps the old version" in m]
    assert len(messages) == 1


def test_version_1_is_migrated_although_no_copy_can_be_written(
    tmp_path: Path, expected_logs: list[str]
) -> None:
    def fail(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    expected_logs += ["the copy memory.v1.json could not be written", "cannot be written"]
    path = tmp_path / "memory.json"
    path.write_bytes(VERSION_1.read_bytes())
    state_file = StateFile(path, Clock(), write=fail)
    state_file.open()
    assert state_file.meter("heating").device.serial == "123456"
    state_file.close()
    assert path.read_bytes() == VERSION_1.read_bytes()


def test_names_that_a_later_version_learned_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    learned = '{"learned": {"bcc": "sum", "colour": "grey"}}'
    path.write_text('{"version": 2, "meters": {"a": {"reader": ' + learned + "}}}")
    state_file = opened(path)
    assert state_file.meter("a").reader.learned == Learned(bcc="sum")
    state_file.close()


def test_learned_facts_are_merged_by_name() -> None:
    learned = Learned(bcc="sum")
    assert learned.merge({"bcc": "sum"}) is learned
    assert learned.merge({"bcc": "xor", "parity": "E"}) == Learned(bcc="xor", parity="E")
    with pytest.raises(TypeError):
        learned.merge({"colour": "grey"})


def test_another_kind_of_meter_starts_without_state() -> None:
    for identity, is_kept in (((1001,), True), (("0.0.1",), False)):
        reader, device = filled()
        for part in (reader, device):
            adopt_model(part, "multical_602", identity)
            assert part.model == "multical_602"
            assert (part.serial is not None) is is_kept
        assert bool(reader.totals) is bool(device.readings) is is_kept
        assert (reader.last_poll is not None) is is_kept
        assert device.announced_as == "0012345678"  # that device is still to be removed


def test_a_detected_model_keeps_the_state() -> None:
    reader = ReaderState(model="auto", learned=Learned(model="multical_602"))
    adopt_model(reader, "multical_602", ("serial_no",))
    assert reader.learned.model == "multical_602"


def test_equal_parts_of_meters_are_shared(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    state_file = opened(path)
    for id_ in ("heat", "heat-2"):
        fill(state_file.meter(id_))
    state_file.meter("water").device.units = {
        "info_code": None,
        "heat_energy": "MWh",
    }  # another order
    state_file.mark_changed()
    state_file.close()
    again = opened(path)
    one, two, other = (again.meter(id_).device for id_ in ("heat", "heat-2", "water"))
    assert one.units is two.units
    assert one.announced is two.announced
    assert list(other.units) == ["info_code", "heat_energy"]
    assert list(one.units) == ["heat_energy", "info_code"]
    again.close()


def test_whole_numbers_are_values_too(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    path.write_text(
        '{"version": 1, "meters": {"a": {"readings":'
        ' {"values": {"time": null, "values": {"power": 12, "meter_id": "0012"}}}}}}'
    )
    state_file = opened(path)
    values = state_file.meter("a").device.readings["values"].values
    assert values == {"power": Decimal(12), "meter_id": "0012"}
    assert isinstance(values["power"], Decimal)
    state_file.close()


def test_the_host_clock_must_not_be_before_a_stored_time(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    path.write_text('{"version": 1, "meters": {"a": {"last_poll": "2030-01-01T00:00:00.000Z"}}}')
    clock = Clock(wall=lambda: datetime(2029, 12, 31, tzinfo=UTC).timestamp())
    assert clock.now() is not None
    state_file = StateFile(path, clock)
    state_file.open()
    assert clock.now() is None
    state_file.close()


def test_forgotten_meters_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    state_file = opened(path)
    state_file.meter("a").device.serial = "1"
    state_file.forget("a")
    state_file.forget("a")
    state_file.close()
    assert json.loads(path.read_text()) == {"version": 2, "meters": {}}


def test_nothing_is_stored_without_a_path() -> None:
    state_file = opened(None)
    state_file.meter("a").device.serial = "1"
    state_file.mark_changed(urgent=True)
    state_file.close()
    assert state_file.meter("a").device.serial == "1"


def test_nothing_is_written_while_nothing_changed(tmp_path: Path) -> None:
    state_file = opened(tmp_path / "memory.json")
    state_file.close()
    assert not (tmp_path / "memory.json").exists()


def test_a_second_daemon_is_refused_with_the_pid(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    state_file = opened(path)
    with pytest.raises(ConfigError, match=rf"process {os.getpid()}\) uses this state file"):
        opened(path)
    state_file.close()
    opened(path).close()


def test_a_clean_shutdown_leaves_the_lock_empty(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    lock = path.with_suffix(".lock")
    for _ in range(2):
        state_file = opened(path)
        assert state_file.clean_shutdown
        assert lock.read_text() == f"{os.getpid()}\n"
        state_file.close()
        assert lock.read_bytes() == b""
    lock.write_text("4711\n")  # as a killed one leaves it
    state_file = opened(path)
    assert not state_file.clean_shutdown
    state_file.close()
    assert opened(None).clean_shutdown


def test_a_shutdown_that_could_not_write_is_not_clean(
    tmp_path: Path, expected_logs: list[str]
) -> None:
    def fail(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    expected_logs.append("cannot be written")
    path = tmp_path / "memory.json"
    state_file = StateFile(path, Clock(), write=fail)
    state_file.open()
    state_file.mark_changed(urgent=True)
    state_file.close()
    state_file = opened(path)
    assert not state_file.clean_shutdown
    state_file.close()


def test_the_lock_ends_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    code = (
        "import os, sys, pathlib\n"
        "from kamstrup_mqtt.storage.state_file import StateFile\n"
        "from kamstrup_mqtt.core.clock import Clock\n"
        "StateFile(pathlib.Path(sys.argv[1]), Clock()).open()\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.with_suffix(".lock").exists()
    opened(path).close()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"version": 1}',
        b'{"version": 1, "meters": []}',
        b'{"version": 1, "meters": {"a": {"serial": 5}}}',
        b'{"version": 1, "meters": {"a": {"serial_source": true}}}',
        b'{"version": 1, "meters": {"a": {"details": []}}}',
        b'{"version": 1, "meters": {"a": {"last_poll": "yesterday"}}}',
        b'{"version": 1, "meters": {"a": {"last_poll": 5}}}',
        b'{"version": 1, "meters": {"a": {"totals": {"x": {"value": "y", "time": null}}}}}',
        b'{"version": 2, "meters": {"a": []}}',
        b'{"version": 2, "meters": {"a": {"reader": {"serial": 5}}}}',
        b'{"version": 2, "meters": {"a": {"reader": {"seen_keys": [5]}}}}',
        b'{"version": 2, "meters": {"a": {"reader": {"last_read": {"v": null}}}}}',
        b'{"version": 2, "meters": {"a": {"device": {"details": []}}}}',
        b'{"version": 1, "meters": {"a": {"readings": {"v": {"time": null, "values":'
        b' {"x": true}}}}}}',
    ],
)
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, damage: bytes, expected_logs: list[str]
) -> None:
    expected_logs.append("set aside as memory.json.corrupt-1, the daemon starts without it")
    path = tmp_path / "memory.json"
    path.write_bytes(damage)
    state_file = opened(path)
    assert dict(state_file.meters) == {}
    assert (tmp_path / "memory.json.corrupt-1").read_bytes() == damage
    state_file.close()


@pytest.mark.parametrize(
    "value", ['"NaN"', '"Infinity"', "NaN", "1e999999", '"1e999999"', '"\\ud800"', "true", "[]"]
)
@pytest.mark.parametrize("place", ["totals", "readings"])
def test_a_value_that_no_meter_sends_is_damage(
    tmp_path: Path, expected_logs: list[str], value: str, place: str
) -> None:
    if place == "readings" and value in ('"NaN"', '"Infinity"', '"1e999999"'):
        return  # a text like any other
    expected_logs.append("is corrupt")
    inside = (
        f'{{"values": {{"time": null, "values": {{"volume": {value}}}}}}}'
        if place == "readings"
        else f'{{"volume": {{"value": {value}, "time": null}}}}'
    )
    path = tmp_path / "memory.json"
    path.write_text(f'{{"version": 1, "meters": {{"heat": {{"{place}": {inside}}}}}}}')
    state_file = opened(path)
    assert state_file.meters == {}
    state_file.mark_changed(urgent=True)
    state_file.close()
    assert json.loads(path.read_text()) == {"version": 2, "meters": {}}


def test_each_damaged_file_is_kept(tmp_path: Path, expected_logs: list[str]) -> None:
    expected_logs.append("is corrupt")
    for number in (1, 2, 3):
        (tmp_path / "memory.json").write_text(str(number))
        opened(tmp_path / "memory.json").close()
        assert (tmp_path / f"memory.json.corrupt-{number}").read_text() == str(number)


def test_a_newer_file_is_set_aside(tmp_path: Path, expected_logs: list[str]) -> None:
    expected_logs.append("newer version (version 3); set aside as memory.json.newer-1")
    path = tmp_path / "memory.json"
    path.write_text('{"version": 3, "meters": "else"}')
    opened(path).close()
    assert (tmp_path / "memory.json.newer-1").exists()


def test_a_file_that_cannot_be_set_aside(
    tmp_path: Path, expected_logs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    expected_logs.append("the daemon starts without it (Permission denied)")
    (tmp_path / "memory.json").write_text("{")
    monkeypatch.setattr(Path, "replace", refuse)
    opened(tmp_path / "memory.json").close()


def test_a_directory_instead_of_the_file(tmp_path: Path, expected_logs: list[str]) -> None:
    expected_logs.append("cannot be read (Is a directory): the daemon starts without it")
    (tmp_path / "memory.json").mkdir()
    opened(tmp_path / "memory.json").close()


def test_a_file_that_cannot_be_written_is_logged_once(
    tmp_path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    expected_logs.append("cannot be written (File exists)")
    (tmp_path / "file").write_text("")
    state_file = opened(tmp_path / "file" / "memory.json")
    state_file.mark_changed()
    state_file.close()
    assert len([m for m in logged() if "cannot be written" in m]) == 1


def test_a_disk_that_fails_and_recovers(
    tmp_path: Path, expected_logs: list[str], logged: Callable[..., list[str]]
) -> None:
    failing = [True]

    def write(path: Path, text: str) -> None:
        if failing[0]:
            raise OSError(28, "No space left on device")
        write_atomically(path, text)

    expected_logs.append("cannot be written (No space left on device)")
    state_file = StateFile(tmp_path / "memory.json", Clock(), write=write)
    state_file.open()
    for _ in range(2):
        state_file.mark_changed()
        state_file.close()
    failing[0] = False
    state_file.mark_changed()
    state_file.close()
    assert len([m for m in logged() if "No space left" in m]) == 1
    assert any("can be written again" in m for m in logged())
    assert (tmp_path / "memory.json").exists()


async def _start(state_file: StateFile) -> asyncio.Task[None]:
    return asyncio.create_task(state_file.run())


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Recorder:
    """Stands for the disk: records what is written, with events for each call."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.called = asyncio.Event()
        self.wrote = asyncio.Event()
        self.blocked = threading.Event()
        self.blocked.set()

    def __call__(self, path: Path, text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the test is over
            self.loop.call_soon_threadsafe(self.called.set)
        self.blocked.wait(20)
        self.texts.append(text)
        with contextlib.suppress(RuntimeError):  # the test is over
            self.loop.call_soon_threadsafe(self.wrote.set)


async def test_urgent_changes_are_written_together_and_soon(tmp_path: Path) -> None:
    disk = Recorder()
    state_file = StateFile(tmp_path / "m.json", Clock(), urgent_within=0.05, write=disk)
    task = await _start(state_file)
    state_file.meter("a").device.serial = "1"
    state_file.mark_changed(urgent=True)
    await asyncio.sleep(0)
    state_file.meter("a").device.serial = "2"
    state_file.mark_changed(urgent=True)
    await asyncio.wait_for(disk.wrote.wait(), 5)
    assert disk.texts == [
        '{"version": 2, "meters": {"a": {"reader": {}, "device": {"serial": "2"}}}}'
    ]
    await _stop(task)
    assert len(disk.texts) == 1


async def test_other_changes_wait_for_their_time(tmp_path: Path) -> None:
    disk = Recorder()
    state_file = StateFile(tmp_path / "m.json", Clock(), otherwise_every=0.1, write=disk)
    task = await _start(state_file)
    state_file.mark_changed()
    await asyncio.wait_for(disk.wrote.wait(), 5)
    await _stop(task)
    assert len(disk.texts) == 1


async def test_the_shutdown_writes_what_is_not_yet_due(tmp_path: Path) -> None:
    disk = Recorder()
    state_file = StateFile(tmp_path / "m.json", Clock(), write=disk)
    task = await _start(state_file)
    await asyncio.sleep(0)
    state_file.mark_changed()
    await asyncio.sleep(0)
    await _stop(task)
    assert len(disk.texts) == 1
    state_file.close()
    assert len(disk.texts) == 1


async def test_writing_ends_when_it_is_cancelled_at_any_moment(tmp_path: Path) -> None:
    """asyncio.wait_for before Python 3.12 swallows a cancellation that comes with the result: the
    change that is told in the same moment as the end must not keep the task alive."""
    for n in range(200):
        state_file = StateFile(tmp_path / "m.json", Clock(), urgent_within=0.0, write=Recorder())
        task = await _start(state_file)
        state_file.mark_changed()
        for _ in range(n % 9):
            await asyncio.sleep(0)
        state_file.mark_changed(urgent=True)
        for _ in range(n // 9 % 4):
            await asyncio.sleep(0)
        task.cancel()
        _, running = await asyncio.wait([task], timeout=5)
        assert not running
        state_file.close()


async def test_a_stuck_disk_blocks_neither_loop_nor_exit(tmp_path: Path) -> None:
    disk = Recorder()
    disk.blocked.clear()
    state_file = StateFile(
        tmp_path / "m.json", Clock(), urgent_within=0.0, last_write_limit=0.05, write=disk
    )
    task = await _start(state_file)
    state_file.mark_changed(urgent=True)
    await asyncio.wait_for(disk.called.wait(), 5)  # the loop is not blocked
    state_file.mark_changed()
    await asyncio.wait_for(_stop(task), 5)
    state_file.close()
    disk.blocked.set()
    await asyncio.wait_for(disk.wrote.wait(), 5)


def test_state_directory() -> None:
    assert state_directory({"STATE_DIRECTORY": "/data"}) == Path("/data")
    assert state_directory({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    assert state_directory({"HOME": "/home/u"}) == Path("/home/u/.local/state/kamstrup-mqtt")
    assert state_directory({}) == Path.home() / ".local/state/kamstrup-mqtt"


def test_defaults() -> None:
    assert module.URGENT_DELAY == 2.0
    assert module.WRITE_INTERVAL == 900.0
    assert module.LAST_WRITE_TIMEOUT == 2.0


def test_reading_only_takes_no_lock_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    assert module.read_only(path) == {}
    path.write_text("{")
    assert module.read_only(path) == {}
    path.write_text('{"version": 3}')
    assert module.read_only(path) == {}
    path.write_text('{"version": 1, "meters": {"a": {"serial": "1"}}}')
    state = module.read_only(path)["a"]
    assert state == (ReaderState(serial="1"), DeviceState(serial="1"))
    assert [p.name for p in tmp_path.iterdir()] == ["memory.json"]


def test_reading_only_a_file_without_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_path: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(KamstrupMqttError, match=r"memory\.json: permission denied"):
        module.read_only(tmp_path / "memory.json")
