"""Connecting: certificates, addresses, brokers that do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.mqtt.broker_errors import BrokerError, Trouble
from kamstrup_mqtt.mqtt.connector import connect
from tests.support.broker import Mosquitto, free_port, running
from tests.support.certificates import Authority
from tests.support.mqtt_server import CONNECT, MqttServer, serving
from tests.support.publisher import make_config


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory, "ca")
    Authority(directory, "other")
    authority.sign("broker", "127.0.0.1")
    authority.sign("client", "client")
    return directory


@pytest.fixture
def tls_broker(tmp_path: Path, certificates: Path) -> Iterator[Mosquitto]:
    settings = [
        "allow_anonymous true",
        f"cafile {certificates}/ca.crt",
        f"certfile {certificates}/broker.crt",
        f"keyfile {certificates}/broker.key",
        "require_certificate true",
    ]
    with running(tmp_path, settings) as broker:
        yield broker


def _tls(certificates: Path, ca: str = "ca") -> dict[str, Any]:
    return {
        "ca_file": str(certificates / f"{ca}.crt"),
        "cert_file": str(certificates / "client.crt"),
        "key_file": str(certificates / "client.key"),
    }


async def _connect(config: Config, timeout: float = 5.0, ack: float = 5.0) -> None:
    async with connect(config.mqtt, None, connect_timeout=timeout, ack_timeout=ack) as connection:
        await connection.publish("a", "1")


def _connect_error(config: Config) -> str:
    """Return the message and the kind of the BrokerError, from another process.

    paho leaves the socket of a failed TLS handshake to the garbage collector, which warns about it.
    """
    program = """
import asyncio, sys
from kamstrup_mqtt.config import MqttConfig
from kamstrup_mqtt.mqtt import BrokerError, connect
async def main():
    async with connect(MqttConfig.model_validate_json(sys.argv[1]), None, connect_timeout=5):
        pass
try:
    asyncio.run(main())
except BrokerError as error:
    print(error, error.trouble.name)
"""
    arguments = [sys.executable, "-c", program, config.mqtt.model_dump_json()]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


@pytest.mark.usefixtures("interface")
async def test_tls_with_a_client_certificate(tls_broker: Mosquitto, certificates: Path) -> None:
    await _connect(make_config(tls_broker.port, tls=_tls(certificates)))


def test_an_untrusted_certificate(tls_broker: Mosquitto, certificates: Path) -> None:
    config = make_config(tls_broker.port, tls=_tls(certificates, "other"))
    message = _connect_error(config)
    assert "its certificate is not trusted" in message
    assert "set mqtt.tls.ca_file" in message
    assert message.endswith(" TLS\n")


def test_tls_to_a_port_without_tls(tmp_path: Path, certificates: Path) -> None:
    with running(tmp_path) as broker:
        config = make_config(broker.port, tls=_tls(certificates))
        message = _connect_error(config)
    assert "no TLS connection" in message
    assert "is mqtt.port the TLS port" in message


async def test_files_without_certificates(tmp_path: Path) -> None:
    rubbish = tmp_path / "ca.pem"
    rubbish.write_text("no certificate")
    config = make_config(1, tls={"ca_file": str(rubbish)})
    with pytest.raises(BrokerError, match="the certificates cannot be used") as caught:
        await _connect(config)
    assert caught.value.trouble is Trouble.TLS


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("nowhere.invalid", "the name is not known"),
        ("a" * 70 + ".example", "cannot be reached|the name is not known"),
    ],
)
async def test_an_unknown_host(host: str, message: str) -> None:
    with pytest.raises(BrokerError, match=message):
        await _connect(make_config(1883, host=host))


def _ignore(kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
    """Answer nothing."""


@pytest.mark.usefixtures("interface")
async def test_an_attempt_without_an_answer_is_closed() -> None:
    async with serving(_ignore) as server:
        with pytest.raises(BrokerError, match=r"did not answer within 0\.3 s"):
            await _connect(make_config(server.port), timeout=0.3, ack=1.0)
        await asyncio.wait_for(server.ended.wait(), 5)


async def _connect_late(monkeypatch: pytest.MonkeyPatch, server: MqttServer) -> None:
    """Give up while the name is being resolved. The name server answers later."""
    answer = threading.Event()
    resolve = socket.getaddrinfo

    def resolve_slowly(*arguments: Any) -> Any:
        answer.wait()
        return resolve(*arguments)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    with pytest.raises(BrokerError, match=r"did not answer within 0\.1 s"):
        await _connect(make_config(server.port), timeout=0.1)
    answer.set()
    await asyncio.wait_for(server.ended.wait(), 5)


async def test_an_abandoned_attempt_does_not_log_in_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take the client id away from its successor."""
    async with serving(_ignore) as server:
        await _connect_late(monkeypatch, server)
        assert not server.received


@pytest.mark.parametrize("interface", ["aiomqtt"], indirect=True)
async def test_an_abandoned_attempt_logs_out_at_once(
    interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without access to paho the login cannot be prevented."""
    async with serving(_ignore) as server:
        await _connect_late(monkeypatch, server)
        assert server.received[0] >> 4 == CONNECT
        assert server.received.endswith(b"\xe0\x00")  # DISCONNECT


@pytest.mark.usefixtures("interface")
async def test_no_broker_listens() -> None:
    with pytest.raises(BrokerError, match="connection refused; is the broker running"):
        await _connect(make_config(free_port()))


def test_a_broker_with_tls_1_1_only(certificates: Path) -> None:
    """TLS 1.1 is refused, by a client that would otherwise be let in."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(certificates / "broker.crt", certificates / "broker.key")
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        lenient = ssl.create_default_context(cafile=certificates / "ca.crt")
        lenient.minimum_version = ssl.TLSVersion.TLSv1
    lenient.set_ciphers("ALL:@SECLEVEL=0")
    versions: list[str | None] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            with (
                connection,
                contextlib.suppress(OSError),
                old.wrap_socket(connection, server_side=True) as secured,
            ):
                versions.append(secured.version())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)) as plain,
            lenient.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            pass
        message = _connect_error(make_config(port, tls={"ca_file": str(certificates / "ca.crt")}))
        thread.join(10)
    if versions[:1] != ["TLSv1.1"]:
        pytest.skip("this OpenSSL has no TLS 1.1 at all")
    assert len(versions) == 1
    assert "no TLS connection" in message
    assert message.endswith(" TLS\n")
