"""Which meter answered, and the configuration that follows."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from kamstrup_mqtt.config.loader import load
from kamstrup_mqtt.core.model import DecodedValue, SerialParams
from kamstrup_mqtt.links.address import PortAddress, SerialDevice, TcpBridge
from kamstrup_mqtt.reading.commissioning.scan_candidates import Candidate, polled_candidates
from kamstrup_mqtt.reading.commissioning.scan_finding import (
    ScanFinding,
    configuration_yaml,
    finding_from_response,
)

DEVICE = SerialDevice("/dev/ttyUSB0")
BRIDGE = TcpBridge("192.168.1.20", 2002)


def objects(*sources: int | str) -> list[DecodedValue]:
    return [DecodedValue(source, None, Decimal(1)) for source in sources]


def test_a_local_port_is_tried_at_every_speed_and_a_bridge_as_it_is_set() -> None:
    # iec62056_21.md 7
    assert [(c.protocol, c.line) for c in polled_candidates(DEVICE)] == [
        ("kmp", "1200 8N2"),
        ("kmp", "9600 8N1"),
        ("kmp-ascii", "1200 8E2"),
        ("iec62056-21", "300 7E1"),
        ("iec62056-21", "9600 7E1"),
        ("multical-66", "300 7E2"),
    ]
    assert [c.protocol for c in polled_candidates(BRIDGE)] == ["kmp", "kmp-ascii", "iec62056-21"]


@pytest.mark.parametrize(
    ("addresses", "baudrate", "model"),
    [
        (("6.8", "6.31"), 300, "multical_401"),
        (("6.26",), 300, "multical_401"),
        (("0.0", "1.20"), 300, "e685_382"),
        (("1.8.0", "96.8.0"), 300, "kamstrup_382c"),
        (("1.8.0", "96.8.0"), 9600, "kamstrup_382l"),
        (("1.8.0",), 9600, "iec_meter"),
    ],
)
def test_a_readout_is_identified_by_its_addresses(
    addresses: tuple[str, ...], baudrate: int, model: str
) -> None:
    candidate = Candidate("iec62056-21", SerialParams(baudrate), "7E1")
    assert finding_from_response(candidate, objects(*addresses)).model == model


def test_the_serial_number_is_the_first_that_has_a_value() -> None:
    candidate = Candidate("kmp", SerialParams(1200, 8, "N", 2), "1200 8N2")
    response = [DecodedValue("serial_no", None, None), DecodedValue(1001, 7, Decimal(7))]
    assert finding_from_response(candidate, response).serial == "7"
    assert finding_from_response(candidate, response[:1]).serial is None


def check(tmp_path: Path, address: PortAddress, finding: ScanFinding) -> str:
    """The configuration; it must load."""
    text = configuration_yaml(address, finding)
    file = tmp_path / "config.yaml"
    file.write_text(text, "utf-8")
    load(str(file))
    return text


def test_the_configuration_of_an_unknown_kmp_meter_lists_its_registers(tmp_path: Path) -> None:
    params = SerialParams(1200, 8, "N", 2)
    found = {obj.id: obj for obj in objects(1004, 60, 371, "serial_no")}
    text = check(tmp_path, BRIDGE, ScanFinding("kmp", params, "", "kmp_meter", "1", found))
    assert text.splitlines()[5:] == [
        "    custom:",
        "      - register: 60",
        "        name: heat_energy",
        "      - register: 371",
        "        name: register_371",
        "      - register: 1004",
        "        name: operating_hours",
    ]


def test_the_configuration_of_a_local_port_has_an_unusual_speed(
    tmp_path: Path,
) -> None:
    finding = ScanFinding("kmp", SerialParams(2400, 8, "N", 2), "", "multical_403", "1")
    assert check(tmp_path, DEVICE, finding).splitlines()[-1] == "    baudrate: 2400"
    assert "baudrate" not in check(tmp_path, BRIDGE, finding)


def test_encrypted_lists_need_two_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPK60", "00" * 16)
    monkeypatch.setenv("GPK61", "11" * 16)
    finding = ScanFinding("han", SerialParams(2400), "", "auto", None, is_encrypted=True)
    assert check(tmp_path, DEVICE, finding).splitlines() == [
        "meters:",
        "  - name: Main meter",
        "    protocol: han",
        "    model: auto",
        "    port: /dev/ttyUSB0",
        '    encryption_key: "${GPK60}"',
        '    authentication_key: "${GPK61}"',
    ]
