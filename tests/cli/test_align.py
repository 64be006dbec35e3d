"""`kamstrup-mqtt align`: the live view of an optical head."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.cli.align import status_line
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.reading.commissioning.align import Sample, SampleWindow
from tests.support.commandline import emulated, kamstrup_mqtt
from tests.support.terminal import Terminal

LOOPBACK = ("--listen", "127.0.0.1:0")


def test_a_head_in_place() -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        result = kamstrup_mqtt(
            "align", "--port", f"tcp://{address}", "--tries", "2", "--pause", "0"
        )
    assert result.code == 0
    assert result.err.count("[####################] 100%, response in 0.") == 2
    assert "the head sits well" in result.out


def test_a_misplaced_head() -> None:
    with emulated("multical_403", "--echo", "--fault", "asleep", *LOOPBACK) as (_, address):
        result = kamstrup_mqtt(
            *("align", "--port", f"tcp://{address}", "--tries", "1", "--timeout", "0.1")
        )
    assert result.code == 1
    assert "[....................]   0%, echo received, echo only: " in result.err
    assert "echo only: the meter sleeps or the head is turned; try 180°" in result.out


@pytest.mark.parametrize(("options", "code"), [((), 130), (("--tries", "10000"), 0)])
def test_ctrl_c_ends_with_the_verdict(options: tuple[str, ...], code: int) -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        terminal = Terminal("align", "--port", f"tcp://{address}", *options)
        terminal.wait_for("100%")
        assert terminal.interrupt() == code
    assert "the head sits well" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_the_status_line() -> None:
    window = SampleWindow()
    for sample in (
        Sample(LinkState.OK, 0.31, has_echo=False, parity_errors=0),
        Sample(LinkState.CHECKSUM, 0.5, has_echo=True, parity_errors=3),
    ):
        window.add(sample)
    assert status_line(window, sample) == (
        "[##########..........]  50%, echo received, 3 parity errors,"
        " damaged responses: move the head by a millimetre or two, shade it"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--port", "/dev/x", "--protocol", "han"), "the meter sends by itself; use `listen`"),
        (("--port", "/dev/x", "--tries", "x"), "give a number of tries"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt("align", *args)
    assert result.code == 2
    assert message in result.err
