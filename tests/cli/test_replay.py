"""`kamstrup-mqtt replay` of recordings typed by hand: the frames are seed 003's, the values those
that its poster's meter showed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import running, watching
from tests.support.commandline import Result, command, environment, kamstrup_mqtt
from tests.support.han_recordings import LIVE_1, LIVE_2, LIVE_3
from tests.support.kmp_recordings import (
    CLOCK_REQUEST,
    CLOCK_RESPONSE,
    SERIAL_REQUEST,
    SERIAL_RESPONSE,
    TYPE_REQUEST,
    TYPE_RESPONSE,
)

MAIN = {"id": "main", "name": "Main", "protocol": "han", "port": "/dev/ttyUSB0", "energy_scale": 10}
HEAT = {
    "id": "heat",
    "name": "Heat",
    "protocol": "kmp",
    "model": "kmp_meter",
    "serial": "1",
    "port": "tcp://host-1:2002",
    "interval": 3600.0,
    "custom": [{"name": "Clock", "source": "0x03EA"}],
}
# in pieces, as a line has them; the second list with a damaged byte
PUSHED = [
    (0.5, LIVE_1[:100]),
    (0.9, LIVE_1[100:]),
    (10.5, LIVE_2[:50] + b"\x55" + LIVE_2[51:]),
    (20.5, LIVE_3),
]
# seconds after the start -> power_import, 1.7.0 of the lists
POWERS = {"2019-01-15T10:00:00.900Z": 2824, "2019-01-15T10:00:20.500Z": 5424}


def line(at: float, meter: str, **fields: Any) -> dict[str, Any]:
    return {"t": at, "meter": meter, **fields}


def write(
    path: Path, meters: Iterable[Mapping[str, Any]], entries: Iterable[Mapping[str, Any]]
) -> None:
    head = {
        "kamstrup_mqtt_recording": 1,
        "version": "0.1.0",
        "started": "2019-01-15T10:00:00.000Z",
        "meters": list(meters),
    }
    path.write_text("".join(json.dumps(entry) + "\n" for entry in (head, *entries)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "line.jsonl"
    pushed = [line(at, "main", rx=data.hex()) for at, data in PUSHED]
    polled = [
        line(0.1, "heat", tx=SERIAL_REQUEST.hex()),
        line(0.15, "heat", rx=SERIAL_RESPONSE.hex()),
        line(0.2, "heat", tx=CLOCK_REQUEST.hex()),
        line(0.4, "heat", rx=CLOCK_RESPONSE.hex()),
        line(0.42, "heat", tx=TYPE_REQUEST.hex()),
        line(0.45, "heat", rx=TYPE_RESPONSE.hex()),
    ]
    entries = sorted([*pushed, *polled], key=lambda entry: entry["t"])
    write(path, [MAIN, HEAT], [*entries, {"t": 30.0, "end": "stopped"}])
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"mqtt": {"client_id": "the-daemon"}, "meters": [MAIN, HEAT]}))
    return path


def at_broker(config: Path, port: int) -> None:
    content = json.loads(config.read_text())
    content["mqtt"] |= {"host": "127.0.0.1", "port": port}
    config.write_text(json.dumps(content))


def replay(file: Path, *more: str) -> Result:
    state = file.parent / "state"
    return kamstrup_mqtt("replay", str(file), *more, env={"STATE_DIRECTORY": str(state)})


def of(done: Result, topic: str) -> list[dict[str, Any]]:
    return [entry["payload"] for entry in done.lines if entry["topic"] == topic]


def test_the_recorded_values_at_the_recorded_times(file: Path, config: Path) -> None:
    done = replay(file, "-c", str(config), "--print", "--speed", "max")
    assert done.code == 0, done.err
    live = of(done, "kamstrup/replay/main/state/live")
    assert {state["time"]: state["power_import"] for state in live} == POWERS
    assert [state["voltage_l1"] for state in live] == [220, 214]
    values = of(done, "kamstrup/replay/heat/state/values")
    assert values == [{"time": "2019-01-15T10:00:00.450Z", "meter_clock": "20:02:43"}]
    records = of(done, "kamstrup/replay/main/history")
    assert [record["time"] for record in records] == list(POWERS)
    assert "main: 684 of 684 bytes, 2 frames, 1 dropped, 2 readings" in done.err
    assert "heat: 3 requests answered, 0 not, 36 of 36 bytes, 3 frames, 0 dropped, 1 readings" in (
        done.err
    )
    # nothing of the daemon's: its topics, its memory, Home Assistant
    topics = {entry["topic"] for entry in done.lines}
    assert all(topic.startswith("kamstrup/replay/") for topic in topics)
    assert not (file.parent / "state").exists()
    assert all(str(entry["time"]).startswith("2019-01-15T10:00:") for entry in done.lines)


def test_two_replays_print_the_same(file: Path, config: Path) -> None:
    first, second = (
        replay(file, "-c", str(config), "--print", "--speed", "max", "--discovery")
        for _ in range(2)
    )
    assert first.code == 0
    assert first.out == second.out
    other = file.with_name("other.jsonl")
    other.write_text(file.read_text().replace("10:00:00.000Z", "10:00:01.000Z", 1))
    third = replay(other, "-c", str(config), "--print", "--speed", "max")
    boots = [of(done, "kamstrup/replay/main/history")[0]["boot"] for done in (first, third)]
    assert boots[0] != boots[1]  # whoever drops what came twice must not drop this
    assert any(entry["topic"].startswith("homeassistant/device/") for entry in first.lines)


def test_without_a_configuration(file: Path) -> None:
    done = replay(file, "--print", "--speed", "1000")
    assert done.code == 0, done.err
    live = of(done, "kamstrup/replay/main/state/live")
    assert [state["power_import"] for state in live] == list(POWERS.values())


def test_keys_are_not_in_a_recording(file: Path) -> None:
    hidden = {"encryption_key": "********", "authentication_key": "********"}
    write(file, [{**MAIN, **hidden}], [line(at, "main", rx=data.hex()) for at, data in PUSHED])
    done = replay(file, "--print", "--speed", "max")
    assert done.code == 0, done.err
    assert len(of(done, "kamstrup/replay/main/state/live")) == 2


def test_a_request_that_was_not_recorded_gets_no_response(file: Path, config: Path) -> None:
    other = {**HEAT, "custom": [{"name": "Clock", "source": "0x03EB"}]}
    config.write_text(json.dumps({"meters": [other]}))
    done = replay(file, "-c", str(config), "--print", "--speed", "max")
    assert done.code == 0
    assert done.err.count("a request is not in the recording and gets no response") == 1
    assert "main was recorded, but is not configured: left out" in done.err
    assert "heat: 1 requests answered, " in done.err
    assert of(done, "kamstrup/replay/heat/diagnostics")[-1]["link_state"] == "no_bytes"


def test_recording_without_a_start_time(file: Path, config: Path) -> None:
    file.write_text(file.read_text().replace('"2019-01-15T10:00:00.000Z"', "null", 1))
    done = replay(file, "-c", str(config), "--print", "--speed", "max")
    live = of(done, "kamstrup/replay/main/state/live")
    assert [(state["time"], state["power_import"]) for state in live] == [
        (None, power) for power in POWERS.values()
    ]


def test_cut_off(file: Path, config: Path) -> None:
    file.write_text(file.read_text()[:-30])
    done = replay(file, "-c", str(config), "--print", "--speed", "max")
    assert done.code == 0
    assert "the recording has no end: it was killed, or the disk was full" in done.err


@pytest.mark.parametrize("speed", ["max", "100"])
async def test_to_a_real_broker(file: Path, config: Path, tmp_path: Path, speed: str) -> None:
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker:
        at_broker(config, broker.port)
        async with watching(broker.port) as watcher:
            done = await asyncio.to_thread(replay, file, "-c", str(config), "--speed", speed)
            assert done.code == 0, done.err
            await watcher.until("kamstrup/replay/bridge/status", "offline")
            records = [json.loads(p) for t, p in watcher.seen if t.endswith("main/history")]
            assert {r["time"]: r["readings"]["power_import"] for r in records} == POWERS
            assert not [topic for topic, _ in watcher.seen if topic.startswith("homeassistant/")]
            assert "main: 684 of 684 bytes, 2 frames, 1 dropped, 2 readings" in done.out
            assert "kamstrup-mqtt remove -c ... --instance replay clears them" in done.out
            # not the daemon's: it would lose its connection
            log = broker.log.read_text()
            assert "the-daemon" not in log
            assert "kamstrup-mqtt-kamstrup-replay" in log
            done = await asyncio.to_thread(
                kamstrup_mqtt, "remove", "-c", str(config), "--instance", "replay"
            )
            assert done.code == 0, done.err
            assert "cleared kamstrup/replay/main/state/live" in done.out


async def test_ctrl_c(file: Path, config: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command("replay", str(file), "-c", str(config), "--print"),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert "main: " in err.decode()
    assert "Traceback" not in err.decode()


def test_no_broker(file: Path, config: Path) -> None:
    at_broker(config, 1)
    done = replay(file, "-c", str(config), "--speed", "max")
    assert done.code == 1
    assert "connection refused; is the broker running" in done.err


def test_a_closed_pipe_ends_the_replay(file: Path) -> None:
    line = " ".join(command("replay", str(file), "--print", "--speed", "max"))
    done = subprocess.run(
        ["sh", "-c", f"{line} | head -1"],
        capture_output=True,
        text=True,
        env=environment(PYTHONUNBUFFERED="1"),
        check=False,
    )
    assert json.loads(done.stdout)["topic"].startswith("kamstrup/replay/")
    assert "Traceback" not in done.stderr


def test_the_output_is_full(file: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("replay", str(file), "--print", "--speed", "max"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.endswith("kamstrup-mqtt: standard output: No space left on device\n")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["FILE"], "-c is missing: it names the broker; or give --print"),
        (["FILE", "-c", "/no/config.yaml"], "/no/config.yaml: no such file; start with a copy"),
        (["/no/recording", "--print"], "/no/recording cannot be read: No such file"),
        (["CONFIG", "--print"], "is not a recording: create one with `kamstrup-mqtt capture`"),
        (["FILE", "-c", "CONFIG", "--instance", "main"], "that is the daemon's own; its topics"),
        (
            ["FILE", "-c", "CONFIG", "--instance", "a/b"],
            "--instance: must have 1 to 32 characters of A-Z",
        ),
        (["FILE", "--print", "--speed", "0"], "'0': give max, or how many times as fast"),
        (["FILE", "--print", "--speed", "fast"], "'fast': give max, or how many times as fast"),
        (["FILE", "-c", "OTHER", "--print"], "none of the recorded meters (main, heat) is config"),
        (["FILE", "FILE", "--print"], "unrecognized arguments"),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_mistakes(file: Path, config: Path, words: list[str], fault: str) -> None:
    config.write_text(config.read_text() + "\n")
    other = file.parent / "other.yaml"
    other.write_text(json.dumps({"meters": [{**MAIN, "id": "attic"}]}))
    places = {"FILE": str(file), "CONFIG": str(config), "OTHER": str(other)}
    done = kamstrup_mqtt("replay", *(places.get(word, word) for word in words))
    assert (done.code, done.out) == (2, "")
    assert fault in done.err
    assert "Traceback" not in done.err


def test_recorded_meters_that_this_version_cannot_have(tmp_path: Path) -> None:
    path = tmp_path / "line.jsonl"
    write(path, [{"id": "x", "protocol": "future"}], [])
    done = replay(path, "--print")
    assert done.code == 2
    assert "its meters cannot be configured by this version; give -c" in done.err
