"""Fixtures and rules for all tests: an unexpected WARNING in the log fails a test."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

# no deadline: on a loaded machine an example may take long; each test has a time limit
settings.register_profile("steady", settings.default, deadline=None)
settings.load_profile("steady")

# a background job inherits that SIGINT is ignored; tests send one
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def expected_logs() -> list[str]:
    """Fragments of WARNING and ERROR messages that are expected; tests append to it."""
    return []


@pytest.fixture(autouse=True)
def _no_unexpected_warnings(
    caplog: pytest.LogCaptureFixture, expected_logs: list[str]
) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, logger="kamstrup_mqtt")
    yield
    unexpected = [
        f"{record.levelname} {record.name}: {record.getMessage()}"
        for when in ("setup", "call")
        for record in caplog.get_records(when)  # type: ignore[arg-type]
        if record.levelno >= logging.WARNING
        and record.name.split(".")[0] == "kamstrup_mqtt"
        and not any(fragment in record.getMessage() for fragment in expected_logs)
    ]
    if unexpected:
        pytest.fail("unexpected log messages:\n" + "\n".join(unexpected))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[str]]:
    """Return the messages of this program at `level` and above."""

    def messages(level: int = logging.INFO) -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.levelno >= level and record.name.split(".")[0] == "kamstrup_mqtt"
        ]

    return messages


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Prints a result of the test in the summary."""
    return lambda text: record_property("figures", text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shared_vector: a recorded frame in ../shared/vectors")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the results given to `figures` and the number of shared vectors."""
    passed = terminalreporter.stats.get("passed", [])
    for report in passed:
        for name, text in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {text}")
    ran = sum("shared_vector" in report.keywords for report in passed)
    skipped = sum(
        "shared_vector" in report.keywords for report in terminalreporter.stats.get("skipped", [])
    )
    terminalreporter.write_line(f"shared vectors: {ran} ran, {skipped} tests skipped")
