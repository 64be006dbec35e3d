"""The log: one line per record, control characters escaped, secrets masked."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from kamstrup_mqtt.core import log as logs


@pytest.fixture(autouse=True)
def _restored_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = (root.level, ours.level, list(root.handlers))
    yield
    root.setLevel(before[0])
    ours.setLevel(before[1])
    root.handlers[:] = before[2]
    for meter in ("a", "b"):
        logs.meter_logger(meter).setLevel(logging.NOTSET)


def test_the_format_of_a_line() -> None:
    out = io.StringIO()
    logs.set_up(stream=out)
    logs.meter_logger("a").info("read %s", "x\x1b[31m\ny")
    line = out.getvalue()
    assert line.endswith(" INFO    kamstrup_mqtt.meter.a: read x\\x1b[31m\\x0ay\n")
    assert line[:2] == "20"


def test_priority_for_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    out = io.StringIO()
    logs.set_up("debug", stream=out)
    log = logs.meter_logger("a")
    log.debug("1")
    log.info("2")
    out_lines = out.getvalue().splitlines()
    assert out_lines == ["<7>DEBUG kamstrup_mqtt.meter.a: 1", "<6>INFO kamstrup_mqtt.meter.a: 2"]


def test_every_line_of_a_traceback_has_the_priority(
    monkeypatch: pytest.MonkeyPatch, expected_logs: list[str]
) -> None:
    expected_logs.append("broken")
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    out = io.StringIO()
    logs.set_up(stream=out)
    try:
        raise ValueError("x")
    except ValueError:
        logs.meter_logger("a").exception("broken")
    lines = out.getvalue().splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)


def test_secrets_are_masked() -> None:
    out = io.StringIO()
    logs.set_up(stream=out, secrets=("hunter2", "hunter22", ""))
    logs.meter_logger("a").info("user u, password hunter22, %s", "hunter2")
    assert "hunter2" not in out.getvalue()
    assert "password ********, ********" in out.getvalue()


@pytest.mark.parametrize(
    ("verbose", "levels"),
    [
        (0, (logging.WARNING, logging.INFO, logging.DEBUG, logging.INFO)),
        (1, (logging.WARNING, logging.DEBUG, logging.DEBUG, logging.DEBUG)),
        (2, (logging.DEBUG, logging.DEBUG, logging.DEBUG, logging.DEBUG)),
    ],
)
def test_levels(verbose: int, levels: tuple[int, ...]) -> None:
    logs.set_up("info", verbose=verbose, meters={"a": "debug", "b": None}, stream=io.StringIO())
    loggers = (
        logging.getLogger("aiomqtt"),
        logging.getLogger("kamstrup_mqtt.mqtt"),
        logs.meter_logger("a"),
        logs.meter_logger("b"),
    )
    assert tuple(logger.getEffectiveLevel() for logger in loggers) == levels


def test_a_second_set_up_replaces_the_first() -> None:
    out = io.StringIO()
    logs.set_up(stream=out)
    logs.set_up(stream=out)
    logs.meter_logger("a").info("once")
    assert out.getvalue().count("once") == 1


def test_control_characters_in_a_traceback_are_escaped(expected_logs: list[str]) -> None:
    expected_logs.append("bad")
    out = io.StringIO()
    logs.set_up(stream=out)
    try:
        raise ValueError("x\x1b[2J\x85y")
    except ValueError:
        logging.getLogger(logs.ROOT).exception("bad")
    assert "\nTraceback (most recent call last):\n" in out.getvalue()
    assert out.getvalue().endswith("\nValueError: x\\x1b[2J\\x85y\n")
