"""Heartbeats and the watchdog, with a simulated clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kamstrup_mqtt.core import heartbeat
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.daemon import watchdog
from kamstrup_mqtt.daemon.watchdog import Watchdog, late_names


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_defaults() -> None:
    assert heartbeat.GRACE == 30.0
    assert watchdog.KICK_INTERVAL == 20.0
    assert watchdog.EXIT_AFTER == 90.0
    assert watchdog.HEALTHY_WITHIN == 60.0


def test_a_heartbeat_is_late_after_thirty_seconds() -> None:
    time = Time()
    heartbeat = Heartbeat("publisher", time)
    heartbeat.expect_within(10)
    time.now = 1040.0
    assert not heartbeat.is_late()
    time.now = 1040.1
    assert heartbeat.is_late()
    assert late_names([heartbeat, Heartbeat("other", time)]) == ["publisher"]


def test_the_watchdog_is_kicked_while_no_task_is_stuck(
    expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    expected_logs.append("stuck: publisher")
    time = Time()
    kicks: list[str] = []
    heartbeat = Heartbeat("publisher", time)
    watchdog = Watchdog(
        [heartbeat],
        lambda: kicks.append("systemd"),
        time,
        exit_timer=lambda: kicks.append("timer"),
    )
    watchdog.check()
    assert kicks == ["systemd", "timer"]
    time.now += 31
    watchdog.check()
    watchdog.check()
    assert kicks == ["systemd", "timer"]
    assert caplog.text.count("stuck: publisher") == 1
    assert watchdog.is_healthy
    time.now += 30
    assert not watchdog.is_healthy
    assert watchdog.seconds_since_kick == 61
    heartbeat.expect_within(5)
    watchdog.check()
    assert kicks == ["systemd", "timer"] * 2
    assert watchdog.is_healthy


async def test_it_kicks_at_intervals() -> None:
    import asyncio

    third = asyncio.Event()
    kicks: list[int] = []

    def kick() -> None:
        kicks.append(1)
        if len(kicks) == 3:
            third.set()

    watchdog = Watchdog([], kick, Time(), exit_timer=lambda: None, interval=0.001)
    task = asyncio.create_task(watchdog.run())
    await asyncio.wait_for(third.wait(), 5)
    task.cancel()


def test_the_exit_timer_ends_the_process_with_a_traceback() -> None:
    program = (
        "import time; from kamstrup_mqtt.daemon.watchdog import start_exit_timer;"
        " start_exit_timer(0.2); time.sleep(30)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20)
    assert done.returncode == 1
    assert b"Timeout" in done.stderr
    assert b"most recent call first" in done.stderr
