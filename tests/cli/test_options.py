"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kamstrup_mqtt.cli.options import energy_options, find_protocol, key_options, parse_port
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.links.address import TcpBridge

HAN = find_protocol("han")
KMP = find_protocol("kmp")


def test_the_energy_scale_is_an_option_of_han_only() -> None:
    assert energy_options(HAN, None) == {"energy_scale": 10}
    assert energy_options(HAN, 1) == {"energy_scale": 1}
    assert energy_options(KMP, None) == {}
    with pytest.raises(ConfigError, match="--energy-scale is for --protocol han"):
        energy_options(KMP, 10)


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"--protocol x: unknown; choose from .*kmp-ascii"):
        find_protocol("x")


def test_keys_are_read_from_files_or_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("00" * 16 + "\n")
    args = argparse.Namespace(encryption_key_file=str(file), authentication_key_file=None)
    environment = {"KAMSTRUP_MQTT_AUTHENTICATION_KEY": "11" * 16}
    keys = {"encryption_key": bytes(16), "authentication_key": b"\x11" * 16}
    assert key_options(HAN, args, environment) == keys
    assert key_options(HAN, args, {}) == {**keys, "authentication_key": None}
    assert key_options(KMP, args, environment) == {}


@pytest.mark.parametrize("text", ["no hex", "ä"])
def test_a_wrong_key_is_named_by_its_place(text: str) -> None:
    args = argparse.Namespace(encryption_key_file=None, authentication_key_file=None)
    with pytest.raises(ConfigError, match="KAMSTRUP_MQTT_ENCRYPTION_KEY: must contain 32 hex"):
        key_options(HAN, args, {"KAMSTRUP_MQTT_ENCRYPTION_KEY": text})


def test_the_port() -> None:
    assert parse_port(argparse.Namespace(port="tcp://bridge:2002")) == TcpBridge("bridge", 2002)
    with pytest.raises(ConfigError, match="--port is missing"):
        parse_port(argparse.Namespace(port=None))
    with pytest.raises(ConfigError, match="--port: 'COM1' is not a port"):
        parse_port(argparse.Namespace(port="COM1"))
