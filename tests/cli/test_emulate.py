"""`kamstrup-mqtt emulate`: ports, signals and wrong command lines."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from kamstrup_mqtt.cli.emulate import host_and_port
from kamstrup_mqtt.core.errors import ConfigError
from tests.support.commandline import LIMIT, emulated, kamstrup_mqtt

# Seed 002: the request for register 1002 and the response 20:02:43.
REQUEST = bytes.fromhex("803F100103EA4CB70D")
ANSWER = bytes.fromhex("403F1003EA2F040000030E33B2320D")


def ask(address: str, request: bytes, length: int) -> bytes:
    """Send to a TCP port and receive `length` bytes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT) as line:
        line.settimeout(LIMIT)
        line.sendall(request)
        answer = b""
        while len(answer) < length:
            answer += line.recv(length - len(answer))
        return answer


def test_tcp_until_sigterm() -> None:
    with emulated(
        *("multical_403", "--listen", "127.0.0.1:0", "--set", "meter_clock=20:02:43")
    ) as (process, address):
        assert ask(address, REQUEST, len(ANSWER)) == ANSWER
        process.terminate()
        assert process.wait(LIMIT) == 0


def test_the_echo_precedes_the_response() -> None:
    with emulated(
        *("multical_403", "--listen", "127.0.0.1:0", "--set", "meter_clock=20:02:43", "--echo")
    ) as (_, address):
        both = REQUEST + ANSWER
        assert ask(address, REQUEST, len(both)) == both


def test_pty_until_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "meter.tty"
    with emulated(*("multical_403", "--pty", str(path), "--set", "meter_clock=20:02:43")) as (
        process,
        address,
    ):
        assert address == str(path)
        line = os.open(path, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(line, REQUEST)
            answer = b""
            while len(answer) < len(ANSWER):
                answer += os.read(line, len(ANSWER) - len(answer))
        finally:
            os.close(line)
        assert answer == ANSWER
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    assert not path.is_symlink()


def test_a_pushing_meter_pushes() -> None:
    with emulated(*("kamstrup_han_3phase", "--listen", "127.0.0.1:0", "--interval", "0.2")) as (
        _,
        address,
    ):
        # seed 003: both lists begin with the flag, then A0 or A1 and the length
        first = ask(address, b"", 2)
    assert first[0] == 0x7E
    assert first[1] >> 4 == 0xA


def test_a_model_with_two_protocols() -> None:
    with emulated(*("e685_382", "--listen", "127.0.0.1:0", "--protocol", "iec62056-21")) as (
        _,
        address,
    ):
        # kmp.md 3.3: mode A, a space where others have the baud character; 7E1 or bare
        answer = bytes(byte & 0x7F for byte in ask(address, b"/?!\r\n", 5))
    assert answer == b"/KAM "


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("multical_999", "--listen", "127.0.0.1:0"), "choose from"),
        (("multical_403", "--protocol", "han", "--listen", "127.0.0.1:0"), "it speaks kmp"),
        (("multical_403", "--listen", "nowhere"), "HOST:PORT"),
        (("multical_403", "--listen", "127.0.0.1:70000"), "HOST:PORT"),
        (("multical_403",), "--listen"),
        (("multical_403", "--listen", "127.0.0.1:0", "--pty", "/dev/x"), "not allowed with"),
        (("multical_403", "--listen", "127.0.0.1:0", "--set", "heat_energy"), "key=value"),
        (("multical_403", "--listen", "127.0.0.1:0", "--set", "nonsense=1"), "nonsense"),
        (("multical_403", "--listen", "127.0.0.1:0", "--baud", "0"), "a speed in baud"),
        (("multical_403", "--listen", "127.0.0.1:0", "--delay", "soon"), "a number of seconds"),
        (("multical_403", "--listen", "127.0.0.1:0", "--interval", "0"), "more than 0"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt("emulate", *args)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = kamstrup_mqtt("emulate", "multical_403", "--listen", address)
    assert result.code == 1
    assert address in result.err
    assert "in use" in result.err
    path = tmp_path / "there" / "meter.tty"
    result = kamstrup_mqtt("emulate", "multical_403", "--pty", str(path))
    assert result.code == 1
    assert str(path) in result.err
    assert "Traceback" not in result.err


def test_host_and_port() -> None:
    assert host_and_port("[::1]:4001") == ("::1", 4001)
    assert host_and_port(":4001") == ("127.0.0.1", 4001)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        host_and_port("localhost:²")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("multical_403", "--fault", "fcs"), "(HAN) has the fault fcs"),
        (("aidon_3phase", "--fault", "asleep"), "it can have fcs, tag, replay"),
        (("aidon_3phase", "--fault", "fcs", "--fault", "noise"), "one fault at a time"),
        (("aidon_3phase", "--fault", "fire"), "invalid choice: 'fire'"),
        (
            ("kamstrup_han_3phase", "--set", f"authentication_key={'0' * 32}"),
            "authentication_key needs encryption_key, too",
        ),
    ],
)
def test_invalid_faults(arguments: tuple[str, ...], words: str) -> None:
    found = kamstrup_mqtt("emulate", *arguments, "--listen", "127.0.0.1:0")
    assert found.code == 2
    assert words in " ".join(found.err.split())


def test_a_pushing_meter_with_a_fault() -> None:
    arguments = ("--listen", "127.0.0.1:0", "--fault", "fcs", "--interval", "0.3")
    with emulated("aidon_3phase", *arguments) as (_, address):
        out = kamstrup_mqtt("listen", "--port", f"tcp://{address}", "--duration", "2").out
        assert "dropped, checksum: 7e a1 " in out or "dropped, checksum: 7e a0 " in out
