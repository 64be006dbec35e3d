"""sd_notify to a real datagram socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kamstrup_mqtt.daemon.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_lines_reach_the_service_manager(tmp_path: Path, abstract: bool) -> None:
    name = f"@kamstrup-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": name}).send(READY="1", STATUS="3 of 4 meters online")
        assert manager.recv(1000) == b"READY=1\nSTATUS=3 of 4 meters online"


def test_without_a_service_manager_nothing_is_sent() -> None:
    Notifier({}).send(READY="1")


def test_repeated_failures_are_logged_once(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    expected_logs.append("notifications to systemd fail")
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.send(WATCHDOG="1")
    notifier.send(WATCHDOG="1")
    assert caplog.text.count("notifications to systemd fail") == 1


def test_a_failure_after_a_success_is_logged_again(
    tmp_path: Path, expected_logs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    expected_logs.append("notifications to systemd fail")
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    notifier.send(WATCHDOG="1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        notifier.send(WATCHDOG="1")
    path.unlink()
    notifier.send(WATCHDOG="1")
    assert caplog.text.count("notifications to systemd fail") == 2
