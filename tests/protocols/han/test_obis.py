"""OBIS codes: spelled, named, measured."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.meters.quantities import QUANTITIES, generic_quantity
from kamstrup_mqtt.protocols.han import SPEC, obis


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        ("0101010700FF", "1-1:1.7.0.255"),
        ("01011F0700FF", "1-1:31.7.0.255"),
        ("0001010000FF", "0-1:1.0.0.255"),
        ("0101600101FF", "1-1:96.1.1.255"),
    ],
)
def test_a_code_both_ways(octets: str, code: str) -> None:
    assert obis.write(bytes.fromhex(octets)) == code
    assert obis.read(code) == bytes.fromhex(octets)


@pytest.mark.parametrize("text", ["1.7.0", "1-1:1.7.0", "list_id", ""])
def test_only_a_full_code_has_bytes(text: str) -> None:
    with pytest.raises(ValueError, match="not an OBIS code in full"):
        obis.read(text)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("1-1:1.7.0.255", "1-1:1.7.0.255"),
        ("1-1:1.7.0", "1-1:1.7.0.255"),
        ("1.7.0", "1-1:1.7.0.255"),
        (" 1.7.0 ", "1-1:1.7.0.255"),
        ("1.7.0.255", "1-1:1.7.0.255"),
        ("1-0:1.7.0", "1-0:1.7.0.255"),
        ("1.0.0", "0-1:1.0.0.255"),
        ("99.9.9.1", "1-1:99.9.9.1"),
        ("list_id", "list_id"),
    ],
)
def test_spellings_of_sources(text: str, source: str) -> None:
    assert SPEC.parse_source(text) == source


@pytest.mark.parametrize("text", ["", "60", "0x3C", "1.7", "1.7.256", "1-1:1.7.0.255.1", "a.b.c"])
def test_invalid_sources(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an OBIS code: write 1\.7\.0, 1-1:1\.7\.0 or"):
        SPEC.parse_source(text)


@pytest.mark.parametrize(
    ("code", "key"),
    [  # docs/quantities.md
        ("1-1:1.7.0.255", "power_import"),
        ("1-1:2.7.0.255", "power_export"),
        ("1-1:3.7.0.255", "reactive_power_import"),
        ("1-1:4.7.0.255", "reactive_power_export"),
        ("1-1:21.7.0.255", "power_import_l1"),
        ("1-1:41.7.0.255", "power_import_l2"),
        ("1-1:61.7.0.255", "power_import_l3"),
        ("1-1:22.7.0.255", "power_export_l1"),
        ("1-1:62.7.0.255", "power_export_l3"),
        ("1-1:31.7.0.255", "current_l1"),
        ("1-1:51.7.0.255", "current_l2"),
        ("1-1:71.7.0.255", "current_l3"),
        ("1-1:32.7.0.255", "voltage_l1"),
        ("1-1:52.7.0.255", "voltage_l2"),
        ("1-1:72.7.0.255", "voltage_l3"),
        ("1-1:13.7.0.255", "power_factor"),
        ("1-1:33.7.0.255", "power_factor_l1"),
        ("1-1:73.7.0.255", "power_factor_l3"),
        ("1-1:1.8.0.255", "energy_import"),
        ("1-1:2.8.0.255", "energy_export"),
        ("1-1:3.8.0.255", "reactive_energy_import"),
        ("1-1:4.8.0.255", "reactive_energy_export"),
        ("1-1:21.8.0.255", "energy_import_l1"),
        ("1-1:62.8.0.255", "energy_export_l3"),
        ("1-1:0.0.1.255", "meter_id"),
        ("1-1:0.0.5.255", "meter_id"),
        ("1-1:96.1.1.255", "meter_type"),
        ("0-1:1.0.0.255", "meter_time"),
        ("list_id", "list_id"),
        ("1-0:1.7.0.255", "power_import"),
        ("1-0:72.7.0.255", "voltage_l3"),
        ("0-0:96.1.0.255", "meter_id"),
        ("1-1:99.9.9.255", None),
        (60, None),
    ],
)
def test_keys(code: str | int, key: str | None) -> None:
    assert SPEC.key_of(code) == key


def test_every_key_is_a_quantity_in_the_unit_of_its_measure() -> None:
    for code, key in obis.KEYS.items():
        measure = obis.MEASURES.get(code.replace("live-", "1-1:") + ".255" * ("live" in code))
        if code == obis.DRIFT:
            continue
        assert QUANTITIES[key].unit == (measure.unit if measure else None)
        assert QUANTITIES[key].is_text == (measure is None)


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("1-1:99.9.9.255", "obis_1_1_99_9_9_255"),
        ("0-1:24.2.1.255", "obis_0_1_24_2_1_255"),
        ("element_7", "obis_element_7"),
    ],
)
def test_the_key_of_a_code_without_a_name(code: str, key: str) -> None:
    assert SPEC.fallback_key(code) == key
    assert generic_quantity(key).enabled is False


def test_the_protocol() -> None:
    assert (SPEC.name, SPEC.line_settings, SPEC.is_pushed, SPEC.checksum) == (
        "han",
        "2400 8N1",
        True,
        "crc16",
    )
    assert str(SPEC.serial) == "2400 8N1"
