"""`kamstrup-mqtt clock` on emulated meters."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kamstrup_mqtt.cli import clock
from kamstrup_mqtt.core.errors import ConfigError, MeterError
from tests.support.commandline import emulated, kamstrup_mqtt

METER = datetime(2026, 1, 20, 20, 2, 43, tzinfo=UTC)
"""Time of the clock of an emulated meter."""


def run_clock(address: str, *args: str, now: datetime) -> int:
    parser = argparse.ArgumentParser()
    clock.add_parser(parser.add_subparsers())
    found = parser.parse_args(["clock", "--port", address, *args])
    return clock.run(found, now=lambda: now)


def test_setting_the_clock_keeps_its_offset_and_corrects_its_drift(
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


def test_the_clock_is_not_set_without_yes_or_in_an_unknown_zone(tmp_path: Path) -> None:
    path = str(tmp_path / "meter")
    with emulated("multical_403", "--pty", path):
        with pytest.raises(ConfigError, match="add --yes"):
            run_clock(path, "--set", now=METER)
        with pytest.raises(ConfigError, match="works only together with --set"):
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
def test_a_zone_has_the_offset_of_its_standard_time(text: str, hours: float) -> None:
    assert clock.zone_offset(text, datetime(2026, 7, 1, tzinfo=UTC)) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["+1", "Europe/Nowhere", "../etc"])
def test_an_unknown_zone(text: str) -> None:
    with pytest.raises(ConfigError, match="--zone"):
        clock.zone_offset(text, METER)


def test_a_large_drift_is_corrected_only_with_a_zone(
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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "--port is missing"),
        (("--port", "COM1"), "is not a port"),
        (("--port", "/dev/x", "--model", "x"), "no meter that speaks kmp"),
        (("--port", "/dev/x", "--address", "x"), "is one byte"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt("clock", *args)
    assert result.code == 2
    assert message in result.err
