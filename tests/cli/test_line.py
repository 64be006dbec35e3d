"""The commands that talk to one meter: clock, history, scan, align."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from kamstrup_mqtt.cli import clock, scan
from kamstrup_mqtt.cli.align import Try, View
from kamstrup_mqtt.core.errors import ConfigError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.meters.clock_zone import nearest_offset
from kamstrup_mqtt.protocols.kmp import SPEC
from tests.support.commandline import emulated, kamstrup_mqtt

LOOPBACK = ("--listen", "127.0.0.1:0")
# the emulated meters' clocks stand at this
METER = datetime(2026, 1, 20, 20, 2, 43, tzinfo=UTC)


def run_clock(address: str, *args: str, now: datetime) -> int:
    parser = argparse.ArgumentParser()
    clock.add_parser(parser.add_subparsers())
    found = parser.parse_args(["clock", "--port", address, *args])
    return clock.run(found, now=lambda: now)


def test_the_clock_keeps_its_hour_and_loses_its_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "meter")
    with emulated("multical_403", "--pty", path):
        now = METER - timedelta(hours=1, seconds=125)
        assert run_clock(path, now=now) == 0
        shown = capsys.readouterr().out
        assert "drift          +125 s" in shown
        assert "(UTC+01:00)" in shown
        assert run_clock(path, "--set", "--yes", now=now) == 0
        assert "meter          2026-01-20T20:00:38" in capsys.readouterr().out
        assert run_clock(path, now=now) == 0
        assert "drift          +0 s" in capsys.readouterr().out


def test_the_clock_is_not_set_without_yes_nor_to_an_unknown_zone(tmp_path: Path) -> None:
    path = str(tmp_path / "meter")
    with emulated("multical_403", "--pty", path):
        with pytest.raises(ConfigError, match="add --yes"):
            run_clock(path, "--set", now=METER)
        with pytest.raises(ConfigError, match="means nothing without --set"):
            run_clock(path, "--yes", now=METER)
        wrong = kamstrup_mqtt("clock", "--port", path, "--set", "--yes")
        assert wrong.code == 1
        assert "wrong by more than 10 min" in wrong.err
        right = kamstrup_mqtt("clock", "--port", path, "--set", "--yes", "--zone", "+01:00")
        assert right.code == 0
        drift = next(line for line in right.out.splitlines()[::-1] if line.startswith("drift"))
        assert abs(int(drift.split()[1])) <= 2


@pytest.mark.parametrize(
    ("text", "hours"), [("+01:00", 1.0), ("-03:30", -3.5), ("Europe/Oslo", 1.0), ("UTC", 0.0)]
)
def test_zones_are_their_standard_time(text: str, hours: float) -> None:
    assert clock.zone_offset(text, datetime(2026, 7, 1, tzinfo=UTC)) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["+1", "Europe/Nowhere", "../etc"])
def test_zones_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--zone"):
        clock.zone_offset(text, METER)


@pytest.mark.parametrize(
    ("ahead", "kept", "wrong"),
    [
        # Nepal, India, Newfoundland in summer, Chatham: quarter hours that zones have
        ("5:46:10", "5:45:00", "0:01:10"),
        ("5:29:30", "5:30:00", "-0:00:30"),
        ("-2:30:05", "-2:30:00", "-0:00:05"),
        ("12:44:00", "12:45:00", "-0:01:00"),
        ("1:09:00", "1:00:00", "0:09:00"),
        # a quarter hour that no zone has is not what a clock keeps: too wrong to be set
        ("1:15:20", "1:00:00", "0:15:20"),
        ("0:12:00", "0:00:00", "0:12:00"),
    ],
)
def test_the_distance_that_a_clock_keeps(ahead: str, kept: str, wrong: str) -> None:
    def seconds(text: str) -> timedelta:
        hours, minutes, rest = text.lstrip("-").split(":")
        size = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(rest))
        return -size if text.startswith("-") else size

    found = nearest_offset(seconds(ahead), METER)
    assert (found, seconds(ahead) - found) == (seconds(kept), seconds(wrong))


def test_a_clock_with_a_wrong_date_keeps_no_distance() -> None:
    here = METER.astimezone().utcoffset()
    assert (
        nearest_offset(timedelta(days=300), METER)
        == nearest_offset(timedelta(hours=-16), METER)
        == here
    )


def test_a_clock_keeps_its_quarter_hour_and_beyond_ten_minutes_it_is_not_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "meter")
    with emulated("multical_403", "--pty", path):
        now = METER - timedelta(hours=5, minutes=45, seconds=30)
        assert run_clock(path, "--set", "--yes", now=now) == 0
        assert "(UTC+05:45)" in capsys.readouterr().out
        with pytest.raises(MeterError, match="wrong by more than 10 min"):
            run_clock(path, "--set", "--yes", now=METER - timedelta(minutes=10, seconds=31))
        set_ = run_clock(
            path, "--set", "--yes", "--zone", "+01:15", now=METER - timedelta(hours=1, minutes=20)
        )
        assert set_ == 0


def test_the_log_of_a_403() -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        port = ("--port", f"tcp://{address}")
        found = kamstrup_mqtt(
            "history", *port, "--from", "2026-01-01", "--to", "2026-01-02", "--json"
        )
        assert found.code == 0
        # 0.303 GJ on 20 January, 0.005 less a day
        assert json.loads(found.out, parse_float=Decimal) == [
            {
                "record": 42,
                "time": "2026-01-02T00:00:00",
                "values": {
                    "348": {"value": "2026-01-02T00:00:00", "unit": None},
                    "60": {"value": Decimal("0.213"), "unit": "GJ"},
                    "68": {"value": Decimal("8.130"), "unit": "m³"},
                },
            },
            {
                "record": 41,
                "time": "2026-01-01T00:00:00",
                "values": {
                    "348": {"value": "2026-01-01T00:00:00", "unit": None},
                    "60": {"value": Decimal("0.208"), "unit": "GJ"},
                    "68": {"value": Decimal("7.949"), "unit": "m³"},
                },
            },
        ]
        nothing = kamstrup_mqtt("history", *port, "--from", "2027-01-01")
        assert (nothing.code, "no records" in nothing.err) == (1, True)
        missing = kamstrup_mqtt("history", *port, "--register", "86")
        assert (missing.code, "does not hold it; it holds 60, 68" in missing.err) == (2, True)
        absent = kamstrup_mqtt("history", *port, "--logger", "year", limit=60)
        assert (absent.code, "it does not have this logger" in absent.err) == (1, True)


def test_the_numbered_log_of_a_602() -> None:
    with emulated("multical_602", *LOOPBACK) as (_, address):
        found = kamstrup_mqtt(
            *("history", "--port", f"tcp://{address}", "--log-id", "1", "--csv"),
            *("--from", "2026-01-05", "--to", "2026-01-06", "--register", "68"),
        )
    assert found.code == 0
    assert found.out.splitlines() == [
        "time,record,volume [m³]",
        "2026-01-06T00:00:00,46,8.854",
        "2026-01-05T00:00:00,45,8.673",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("history", "--from", "yesterday"), "write a date as 2026-01-31"),
        (
            ("history", "--port", "/dev/x", "--from", "2026-02-01", "--to", "2026-01-31"),
            "--from 2026-02-01 is after --to 2026-01-31",
        ),
        (("scan", "--port", "/dev/x", "--listen", "x"), "give a number of minutes"),
        (("scan", "--port", "/dev/x", "--awake", "0"), "give more than 0 minutes"),
        (("scan", "--port", "/dev/x", "--resume", "x"), "means nothing without --all"),
        (("history", "--log-id", "256", "--port", "/dev/x"), "0 to 255"),
        (("history", "--register", "x", "--port", "/dev/x"), "is no register"),
        (("history", "--register", "serial_no", "--port", "/dev/x"), "up to 6 numbers"),
        (("clock",), "--port is missing"),
        (("clock", "--port", "COM1"), "is not a port"),
        (("clock", "--port", "/dev/x", "--model", "x"), "no meter that speaks kmp"),
        (("clock", "--port", "/dev/x", "--address", "x"), "is one byte"),
        (("align", "--port", "/dev/x", "--protocol", "han"), "sends by itself"),
        (("align", "--port", "/dev/x", "--tries", "x"), "give a number of tries"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt(*args)
    assert result.code == 2
    assert message in result.err


def test_scan_names_the_meter_and_all_it_answers() -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        result = kamstrup_mqtt(
            "scan",
            "--listen",
            "0",
            "--port",
            f"tcp://{address}",
            "--pause",
            "0",
            "--json",
            "--timeout",
            "1",
        )
    assert result.code == 0
    found = json.loads(result.out)
    assert (found["protocol"], found["model"], found["serial"]) == (
        "kmp",
        "multical_403",
        "123456",
    )
    ids = {entry["id"] for entry in found["objects"]}
    assert {60, 266, 369, 1004, 404, 675} <= ids
    assert 155 not in ids


def test_scan_prints_a_configuration(tmp_path: Path) -> None:
    path = str(tmp_path / "meter")
    with emulated("e685_382", "--protocol", "iec62056-21", "--pty", path):
        result = kamstrup_mqtt(
            "scan", "--listen", "0", "--port", path, "--timeout", "0.1", limit=60
        )
    assert result.code == 0
    block = result.out[result.out.index("meters:") :]
    file = tmp_path / "config.yaml"
    file.write_text(block, "utf-8")
    assert "model: e685_382" in block
    assert kamstrup_mqtt("check", "-c", str(file)).code == 0


def test_scan_of_everything_stops_in_time_and_goes_on(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    with emulated("kamstrup_382", *LOOPBACK) as (_, address):
        args = (
            "scan",
            "--listen",
            "0",
            "--port",
            f"tcp://{address}",
            "--pause",
            "0",
            "--all",
            "--json",
        )
        args += ("--awake", "0.01", "--resume", str(record))
        first = kamstrup_mqtt(*args)
        assert first.code == 0
        assert "about 1.5 hours" in first.err
        assert "to spare the meter's battery" in first.err
        done = json.loads(record.read_text())["done"]
        assert 0 < done < 65536
        second = kamstrup_mqtt(*args)
        assert f"{65536 - done} registers are left" in second.err
        assert json.loads(record.read_text())["done"] > done
        record.write_text("[]")
        assert kamstrup_mqtt(*args).code == 2


def test_scan_of_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "meter")
    with emulated("multical_403", "--fault", "asleep", "--pty", path):
        result = kamstrup_mqtt(
            "scan", "--listen", "0", "--port", path, "--timeout", "0.05", limit=60
        )
    assert result.code == 1
    assert "no meter answered" in result.err


def test_how_long_everything_takes() -> None:
    # 8192 requests of 25 and answers of 10 bytes, 11 bits each at 1200 baud, 0.35 s and the pause
    assert scan.hours_for(65536, SPEC.serial, 0.5) == pytest.approx(2.664, abs=0.001)
    assert scan.hours_for(65536, SerialParams(9600), 0.5) == pytest.approx(2.017, abs=0.001)


def test_align(tmp_path: Path) -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        good = kamstrup_mqtt("align", "--port", f"tcp://{address}", "--tries", "2", "--pause", "0")
    assert good.code == 0
    assert "[####################] 100%, answer in" in good.err
    assert "the head sits well" in good.out
    with emulated("multical_403", "--echo", *LOOPBACK) as (_, address):
        echo = kamstrup_mqtt("align", "--port", f"tcp://{address}", "--tries", "3", "--pause", "0")
    assert echo.err.count("sends back what we send") == 1
    assert echo.err.count("echo seen") == 3
    with emulated("multical_403", "--echo", "--fault", "asleep", *LOOPBACK) as (_, address):
        dark = kamstrup_mqtt(
            *("align", "--port", f"tcp://{address}", "--tries", "1", "--timeout", "0.1")
        )
    assert dark.code == 1
    assert "echo only: the meter sleeps or the head is turned; try 180°" in dark.out
    path = str(tmp_path / "meter")
    with emulated("e685_382", "--protocol", "iec62056-21", "--pty", path):
        iec = kamstrup_mqtt("align", "--port", path, "--protocol", "iec62056-21", "--tries", "1")
    assert iec.code == 0


def test_the_view_of_a_head() -> None:
    view = View()
    assert view.verdict() == "nothing was tried"
    view.add(Try(LinkState.OK, 0.31, False, 0))
    view.add(Try(LinkState.CHECKSUM, 0.5, True, 3))
    assert view.line() == (
        "[##########..........]  50%, echo seen, 3 parity errors,"
        " damaged answers: move the head by a millimetre or two, shade it"
    )
    assert view.verdict() == "the head sits nearly right: 50% of the last tries were answered"
    for _ in range(3):
        view.add(Try(LinkState.NO_BYTES, 2.0, False, 0))
    assert "no light reaches the head" in view.verdict()


def test_an_emulated_meter_with_faults() -> None:
    assert kamstrup_mqtt(
        "emulate", "kamstrup_han_3phase", *LOOPBACK, "--fault", "noisy"
    ).err.startswith("--fault: a meter that sends by itself")
