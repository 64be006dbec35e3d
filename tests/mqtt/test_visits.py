"""Certificates, and the short visits of `check --connect` and `remove`, at a real Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.mqtt import BrokerError, clear, probe
from kamstrup_mqtt.mqtt.connection import Trouble
from tests.mqtt.test_publisher import DISCOVERY, ROOT, Bench, make_config, password_file
from tests.support.broker import Mosquitto, eventually, free_port, running, watching
from tests.support.certificates import Authority


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


def _fault(config: Config) -> str:
    """What `probe` complains of, asked in a process of its own: paho leaves the socket of a failed
    TLS handshake to the garbage collector, which warns of it."""
    program = (
        "import asyncio, sys; from kamstrup_mqtt.config import MqttConfig;"
        " from kamstrup_mqtt.mqtt import BrokerError, probe\n"
        "try: asyncio.run(probe(MqttConfig.model_validate_json(sys.argv[1]), connect_timeout=5))\n"
        "except BrokerError as error: print(error, error.trouble.name)"
    )
    arguments = [sys.executable, "-c", program, config.mqtt.model_dump_json()]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


async def test_tls_with_a_client_certificate(tls_broker: Mosquitto, certificates: Path) -> None:
    config = make_config(tls_broker.port, tls=_tls(certificates))
    assert await probe(config.mqtt) == [
        f"connected to 127.0.0.1:{tls_broker.port} (TLS)",
        f"published to {ROOT}/bridge/check and read it back",
    ]


def test_a_certificate_that_is_not_trusted(tls_broker: Mosquitto, certificates: Path) -> None:
    config = make_config(tls_broker.port, tls=_tls(certificates, "other"))
    message = _fault(config)
    assert "its certificate is not trusted" in message
    assert "set mqtt.tls.ca_file" in message
    assert message.endswith(" TLS\n")


def test_tls_to_a_port_without_it(tmp_path: Path, certificates: Path) -> None:
    with running(tmp_path) as broker:
        config = make_config(broker.port, tls=_tls(certificates))
        message = _fault(config)
    assert "no TLS connection" in message
    assert "is mqtt.port the TLS port" in message


async def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    rubbish = tmp_path / "ca.pem"
    rubbish.write_text("no certificate")
    config = make_config(1, tls={"ca_file": str(rubbish)})
    with pytest.raises(BrokerError, match="the certificates cannot be used") as caught:
        await probe(config.mqtt)
    assert caught.value.trouble is Trouble.TLS


async def test_an_access_list_that_swallows_is_noticed(
    tmp_path: Path, expected_logs: list[str]
) -> None:
    expected_logs.append("does not let us subscribe")
    acl = tmp_path / "acl"
    acl.write_text("user km\ntopic read homeassistant/#\n")
    settings = [
        "allow_anonymous false",
        f"password_file {password_file(tmp_path)}",
        f"acl_file {acl}",
    ]
    with running(tmp_path, settings) as broker:
        config = make_config(broker.port, username="km", password="right")
        with pytest.raises(BrokerError, match=rf"did not come back.*{ROOT}/#"):
            await probe(config.mqtt, ack_timeout=0.3)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("nowhere.invalid", "the name is not known"),
        ("a" * 70 + ".example", "cannot be reached|the name is not known"),
    ],
)
async def test_a_name_that_is_not_known(host: str, message: str) -> None:
    mqtt = make_config(1883).mqtt.model_copy(update={"host": host})
    with pytest.raises(BrokerError, match=message):
        await probe(mqtt)


async def test_a_broker_that_accepts_and_says_nothing() -> None:
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BrokerError, match=r"did not answer within 0\.3 s"):
            await probe(make_config(port).mqtt, connect_timeout=0.3)
        await asyncio.wait_for(left.wait(), 5)  # the socket of the failed attempt is closed


async def test_an_attempt_that_was_given_up_does_not_connect_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolved, left = threading.Event(), asyncio.Event()
    resolve = socket.getaddrinfo

    def stuck(*arguments: Any) -> Any:
        resolved.wait()
        return resolve(*arguments)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", stuck)
        with pytest.raises(BrokerError, match=r"did not answer within 0\.1 s"):
            await probe(make_config(port).mqtt, connect_timeout=0.1)
        resolved.set()
        await asyncio.wait_for(left.wait(), 5)


async def test_nobody_there() -> None:
    with pytest.raises(BrokerError, match="connection refused; is the broker running"):
        await probe(make_config(free_port()).mqtt)


async def test_remove_clears_what_is_ours_and_nothing_else(
    tmp_path: Path, logged: Callable[[int], list[str]]
) -> None:
    with running(tmp_path) as broker:
        config: Config = make_config(broker.port)
        bench = Bench(config)
        bench.identify("heat")
        bench.read("heat", "1")
        async with watching(broker.port) as watcher:
            await watcher.publish("kamstrup/attic/heat/status", "online", retain=True)
            stranger = "homeassistant/device/kamstrup_main_x/config"
            await watcher.publish(stranger, '{"origin": {"name": "zigbee"}}', retain=True)
            async with bench.run():
                await watcher.until(f"{ROOT}/bridge/status", "online")
                with pytest.raises(KamstrupMqttError, match="stop it first"):
                    await clear(config, "1.2.3", settle=0.2)
            await watcher.until(f"{ROOT}/bridge/status", "offline")
            cleared = await clear(config, "1.2.3", settle=0.2)
            assert {
                DISCOVERY.format("heat"),
                DISCOVERY.format("bridge"),
                f"{ROOT}/heat/state/values",
                f"{ROOT}/heat/status",
                f"{ROOT}/power/status",
                f"{ROOT}/heat/diagnostics",
                f"{ROOT}/power/diagnostics",
                f"{ROOT}/bridge/status",
                f"{ROOT}/bridge/info",
            } == set(cleared)
            assert cleared[0].startswith("homeassistant/")
            assert await clear(config, "1.2.3", settle=0.2) == []
            await eventually(
                # a record of the history is not retained, but the watcher has seen one
                lambda: (
                    set(watcher.last) - {f"{ROOT}/heat/history"}
                    == {"kamstrup/attic/heat/status", stranger}
                ),
                "cleared",
            )


def test_a_broker_with_an_old_tls_only(certificates: Path) -> None:
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
        message = _fault(make_config(port, tls={"ca_file": str(certificates / "ca.crt")}))
        thread.join(10)
    if versions[:1] != ["TLSv1.1"]:
        pytest.skip("this OpenSSL has no TLS 1.1 at all")
    assert len(versions) == 1
    assert "no TLS connection" in message
    assert message.endswith(" TLS\n")
