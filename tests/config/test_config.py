"""The sections of the configuration: defaults, invalid options, and the resulting plans."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from kamstrup_mqtt.config import (
    Config,
    HomeAssistantConfig,
    MqttConfig,
    TlsConfig,
    with_models,
)
from kamstrup_mqtt.config.loader import load
from kamstrup_mqtt.config.meters import PROTOCOLS, meter_class
from kamstrup_mqtt.config.protocols.han import HanMeter
from kamstrup_mqtt.config.protocols.iec62056_21 import IecMeter
from kamstrup_mqtt.config.protocols.kmp import KmpMeter
from kamstrup_mqtt.config.protocols.kmp_ascii import KmpAsciiMeter
from kamstrup_mqtt.config.section import parse_duration
from kamstrup_mqtt.config.values import CustomValue, ListedValue
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import SerialDevice, TcpBridge
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.detection import detect_list_model
from kamstrup_mqtt.meters.registry import find_protocol
from kamstrup_mqtt.protocols.base import PollTimings

EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.yaml"


def kmp(**options: Any) -> KmpMeter:
    return KmpMeter.model_validate(
        {
            "name": "Heat",
            "protocol": "kmp",
            "model": "multical_403",
            "port": "tcp://h:1",
            **options,
        }
    )


def iec(**options: Any) -> IecMeter:
    return IecMeter.model_validate(
        {"name": "E", "protocol": "iec62056-21", "port": "/dev/ttyAMA0", **options}
    )


def han(**options: Any) -> HanMeter:
    return HanMeter.model_validate(
        {
            "name": "H",
            "protocol": "han",
            "port": "/dev/x",
            "model": "kamstrup_han_3phase",
            **options,
        }
    )


def wrong(make: Any, **options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        make(**options)
    return "; ".join(error["msg"] for error in caught.value.errors())


# Broker and Home Assistant


def test_broker_defaults() -> None:
    mqtt = MqttConfig()
    assert (mqtt.host, mqtt.port, mqtt.tls, mqtt.username, mqtt.password) == (
        "localhost",
        1883,
        None,
        None,
        None,
    )
    assert (mqtt.base, mqtt.instance, mqtt.version, mqtt.keepalive) == (
        "kamstrup",
        "main",
        "3.1.1",
        60,
    )
    assert mqtt.commands is True
    assert mqtt.client_id is None
    assert mqtt.topics.root == "kamstrup/main"


@pytest.mark.parametrize(
    "host",
    [
        "192.168.1.10:1883",
        "mqtt://broker.lan",
        "mqtt://svensson:hunter2@broker.lan",
        "svensson:hunter2@broker.lan",
        "broker.lan/",
        " broker.lan",
        "the broker",
        "[::1]",
    ],
)
def test_broker_host_is_a_name_or_an_address(host: str) -> None:
    said = wrong(MqttConfig, host=host)
    assert "must be the broker's name or address alone" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "host", ["broker", "broker.lan", "10.0.0.1", "::1", "fe80::1%eth0", "æ.no"]
)
def test_names_and_addresses_of_brokers(host: str) -> None:
    assert MqttConfig(host=host).host == host


@pytest.mark.parametrize("tls", [True, {}])
def test_tls_has_its_own_port(tls: object) -> None:
    mqtt = MqttConfig.model_validate({"tls": tls})
    assert mqtt.port == 8883
    assert mqtt.tls == TlsConfig()
    assert MqttConfig.model_validate({"tls": tls, "port": 1}).port == 1


def test_no_tls() -> None:
    assert MqttConfig.model_validate({"tls": False}).tls is None


def test_key_needs_certificate(tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    assert "needs cert_file" in wrong(TlsConfig, key_file=tmp_path / "k")


@pytest.mark.parametrize("base", ["a/", "/a", "a//b", "a b", "a+", "#", "", "$SYS"])
def test_invalid_topic_bases(base: str) -> None:
    assert "must be a topic" in wrong(MqttConfig, base=base)


@pytest.mark.parametrize("instance", ["", "a b", "a/b", "ä", "x" * 33])
def test_bad_instance(instance: str) -> None:
    assert "must have 1 to 32" in wrong(MqttConfig, instance=instance)


def test_version_as_number() -> None:
    assert MqttConfig.model_validate({"version": 5}).version == "5"


def test_home_assistant_defaults() -> None:
    ha = HomeAssistantConfig()
    assert (ha.enabled, ha.prefix, ha.status_topic, ha.birth_payload) == (
        True,
        "homeassistant",
        "homeassistant/status",
        "online",
    )
    assert ha.minimum == "2025.12"
    assert ha.is_modern


def test_status_topic_follows_the_prefix() -> None:
    assert HomeAssistantConfig(prefix="ha").status_topic == "ha/status"
    assert HomeAssistantConfig(prefix="ha", status_topic="s/t").status_topic == "s/t"


@pytest.mark.parametrize(
    ("minimum", "modern"),
    [("2024.11", False), ("2025.11.3", False), ("2025.12", True), ("2026.1", True)],
)
def test_version_of_home_assistant_is_modern(minimum: str, modern: bool) -> None:
    assert HomeAssistantConfig(minimum=minimum).is_modern is modern


@pytest.mark.parametrize("minimum", ["2024.10", "2025.13", "new", "", None, True])
def test_bad_minimum(minimum: object) -> None:
    assert "must be" in wrong(HomeAssistantConfig, minimum=minimum)


# Meters: identity, interval, line, codec


def test_port() -> None:
    assert kmp().port == TcpBridge("h", 1)
    assert iec().port == SerialDevice("/dev/ttyAMA0")
    assert "must be a device path" in wrong(kmp, port=3)


def test_id_from_name() -> None:
    assert kmp(name="Fjernvarme i kælder").id == "fjernvarme_i_kaelder"
    assert kmp(name="Fjernvarme", id="heat-1").id == "heat-1"
    assert "cannot be made from the name" in wrong(kmp, name="測定")


@pytest.mark.parametrize("id_", ["Heat", "a b", "ä", "x" * 33, "_a"])
def test_bad_id(id_: str) -> None:
    assert "must have 1 to 32" in wrong(kmp, id=id_)


def test_bridge_is_reserved() -> None:
    assert "bridge is reserved for the daemon" in wrong(kmp, id="bridge")
    assert "bridge is reserved for the daemon" in wrong(kmp, name="Bridge")


def test_name_is_one_line() -> None:
    assert "control character" in wrong(kmp, name="a\nb")
    assert "is empty" in wrong(kmp, name=" ")


def test_model_of_another_protocol() -> None:
    assert wrong(kmp, model="multical_401") == (
        "Value error, multical_401 does not speak kmp; it speaks iec62056-21"
    )


def test_default_models() -> None:
    ascii_meter = KmpAsciiMeter.model_validate(
        {"name": "E", "protocol": "kmp-ascii", "port": "/dev/x"}
    )
    han_meter = HanMeter.model_validate({"name": "H", "protocol": "han", "port": "/dev/x"})
    assert (ascii_meter.model, iec().model, han_meter.model) == ("e685_382", "e685_382", "auto")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("5m", 300),
        ("5min", 300),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1d", 86400),
        ("2.5s", 2.5),
        (" 1h 5s ", 3605),
        ("90", 90),
        (90, 90),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert kmp(interval=text).interval_seconds == seconds


@pytest.mark.parametrize("text", ["", "1x", "m5", "30m1h", "-5s", True, None])
def test_bad_durations(text: object) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_duration(text)


@pytest.mark.parametrize("interval", [0, 0.5, "0s", 1e9, float("nan"), float("inf")])
def test_interval_out_of_range(interval: object) -> None:
    assert "must be at least 1 second" in wrong(kmp, interval=interval)


def test_default_intervals() -> None:
    assert kmp().interval_seconds == 3600  # a battery
    assert iec().interval_seconds == 60
    assert han().interval_seconds is None
    assert kmp(update_interval="2m").interval_seconds == 120
    assert kmp(interval=30).plan().periods == {"values": 30}
    assert han().plan().periods["live"] == 10


def test_line_settings() -> None:
    assert kmp().serial_params() == SerialParams(1200, 8, "N", 2)
    assert kmp(baudrate=300, bytesize=7, parity="even", stopbits=1, dtr=True, rts=False) == kmp(
        baudrate=300, bytesize=7, parity="E", stopbits=1, dtr=True, rts=False
    )
    assert kmp(
        baudrate=300, bytesize=7, parity="ODD", stopbits=1, dtr=True, rts=False
    ).serial_params() == SerialParams(300, 7, "O", 1, True, False)
    assert han().serial_params() == SerialParams(2400)


@pytest.mark.parametrize(
    ("options", "bytesize", "parity", "codec"),
    [
        ({}, 8, "N", "software"),
        ({"bytesize": 7, "parity": "E"}, 8, "N", "software"),
        ({"parity_mode": "hardware"}, 7, "E", "hardware"),
        ({"bytesize": 8, "parity": "N"}, 8, "N", "hardware"),
    ],
)
def test_iec_line_settings(options: dict[str, Any], bytesize: int, parity: str, codec: str) -> None:
    meter = iec(**options)
    params = meter.serial_params()
    assert (params.baudrate, params.bytesize, params.parity, params.stopbits) == (
        300,
        bytesize,
        parity,
        1,
    )
    assert (params.dtr, params.rts) == (False, True)
    assert meter.codec_options()["parity"] == codec


def test_backfill_is_off_by_default() -> None:
    assert kmp().backfill is None
    assert kmp(backfill=False).backfill is None
    on = kmp(model="multical_403", backfill=True).backfill
    assert on is not None
    assert on.model_dump() == {"logger": "hour", "log_id": None, "records": 168}
    assert kmp(model="multical_602", backfill={"log_id": 1}).backfill is not None
    with pytest.raises(ValidationError, match=r"a MULTICAL 602 has no known log of hours"):
        kmp(model="multical_602", backfill=True)


def test_codec_options() -> None:
    assert kmp().codec_options() == {
        "address": 0x3F,
        "baudrate": 1200,
        "timings": find_protocol("kmp").timings,
    }
    ascii_meter = KmpAsciiMeter.model_validate(
        {"name": "E", "protocol": "kmp-ascii", "port": "/dev/x"}
    )
    assert ascii_meter.codec_options() == {"timings": find_protocol("kmp-ascii").timings}
    assert iec(baudrate=2400).codec_options() == {
        "address": "",
        "bcc": "auto",
        "parity": "software",
        "baudrate": 2400,
        "timings": find_protocol("iec62056-21").timings,
    }
    timing = {"first_byte": 1, "between": 2, "total": 3, "pause": 4, "tries": 5}
    assert iec(timing=timing, wake="nul").codec_options()["timings"] == PollTimings(
        response_timeout=1,
        inter_byte_timeout=2,
        total_timeout=3,
        pause=4,
        tries=5,
        wake="nul",
    )
    no_keys = {
        "encryption_key": None,
        "authentication_key": None,
        "detect_model": detect_list_model,
    }
    assert han(energy_scale=1).codec_options() == {"energy_scale": 1, **no_keys}
    assert han(energy_scale="10").codec_options() == {"energy_scale": 10, **no_keys}
    assert han().codec_options() == han(energy_scale="auto").codec_options()
    assert han().codec_options() == {"energy_scale": None, **no_keys}


EK, AK = "000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"


def test_keys() -> None:
    meter = han(encryption_key=EK, authentication_key="d0d1 d2d3 d4d5 d6d7 d8d9 dadb dcdd dedf ")
    assert meter.codec_options() == {
        "energy_scale": None,
        "encryption_key": bytes(range(16)),
        "authentication_key": bytes(range(0xD0, 0xE0)),
        "detect_model": detect_list_model,
    }
    assert set(meter.secrets()) == {EK, EK.lower(), AK, AK.lower()}
    assert EK.lower() not in repr(meter)
    assert han().secrets() == kmp().secrets() == ()
    assert han(encryption_key=meter.encryption_key).encryption_key == meter.encryption_key


@pytest.mark.parametrize("key", ["", "0011", "zz" * 16, 12, EK + "00"])
def test_invalid_han_keys(key: object) -> None:
    with pytest.raises(ValidationError, match="32 hex digits"):
        han(encryption_key=key)


def test_meter_is_an_alias_of_model() -> None:
    given = {"name": "H", "protocol": "han", "port": "/dev/x", "meter": "aidon_3phase"}
    assert HanMeter.model_validate(given).model == "aidon_3phase"
    with pytest.raises(ValidationError, match="means the same as model"):
        HanMeter.model_validate({**given, "model": "auto"})


def test_parity() -> None:
    assert not han().detects_parity
    assert not kmp().detects_parity
    assert han(model="auto").detects_parity
    assert not han(model="auto", parity="none").detects_parity
    assert han(parity="AUTO").detects_parity
    assert str(han(parity="auto").serial_params()) == "2400 8N1"
    assert str(han(model="aidon_3phase", parity="auto").serial_params()) == "2400 8E1"
    assert str(han(model="kaifa_1phase", parity="odd").serial_params()) == "2400 8O1"


@pytest.mark.parametrize("meter", [kmp(), iec(), han()])
def test_the_codecs_take_the_options(meter: Any) -> None:
    registry.all_protocols()[meter.protocol].make_codec(**meter.codec_options())


@pytest.mark.parametrize(("address", "number"), [("0x7F", 0x7F), (191, 191), ("63", 63)])
def test_kmp_address(address: object, number: int) -> None:
    assert kmp(address=address).address == number


@pytest.mark.parametrize("address", ["x", 256, -1])
def test_bad_kmp_address(address: object) -> None:
    assert wrong(kmp, address=address)


@pytest.mark.parametrize("limit", [0, -1, 3601, "soon"])
def test_invalid_time_limits(limit: object) -> None:
    assert wrong(kmp, timing={"total": limit})


# What is read


def keys(meter: Any) -> list[str]:
    return [value.quantity.key for value in meter.plan().values]


def test_values_default_to_the_list_of_the_model() -> None:
    profile = registry.all_models()["multical_403"].profiles["kmp"]
    assert kmp().plan().sources == profile.groups["values"]
    assert not kmp().plan().accept_unlisted
    assert iec().plan().accept_unlisted
    assert han().plan().accept_unlisted


@pytest.mark.parametrize(
    "values",
    [
        ["heat_energy", "power"],
        [{"heat_energy": None}, {"power": {}}],
        [{"key": "heat_energy"}, {"key": "power"}],
        {"heat_energy": None, "power": {}},
    ],
)
def test_listed_values_replace_the_default_list(values: object) -> None:
    meter = kmp(values=values)
    assert meter.plan().sources == (60, 80)  # kmp.md 2.1: E1, power
    assert keys(meter) == ["heat_energy", "power"]


def test_a_han_meter_with_listed_values_accepts_no_others() -> None:
    assert not han(values=["power_import"]).plan().accept_unlisted
    assert keys(han(values=["power_import"])) == ["power_import"]


def test_options_of_a_value() -> None:
    options = {
        "name": "Heat power",
        "unit": "W",
        "device_class": "power",
        "state_class": "measurement",
        "precision": 1,
        "icon": "mdi:fire",
        "category": "diagnostic",
        "enabled": False,
    }
    (value,) = kmp(values=[{"power": options}]).plan().values
    quantity = value.quantity
    assert not quantity.as_sent
    assert {name: getattr(quantity, name) for name in options} == options


def test_listed_values_are_enabled() -> None:
    (value,) = han(values=["energy_import"]).plan().values
    assert value.group == "hourly"
    assert value.quantity.enabled


def test_null_removes_a_class() -> None:
    (value,) = kmp(values=[{"power": {"device_class": None, "state_class": ""}}]).plan().values
    assert (value.quantity.device_class, value.quantity.state_class) == (None, None)


def test_custom_register_without_a_known_key() -> None:
    meter = kmp(values=["power"], custom=[{"register": 0x0173, "name": "COP"}])
    custom = meter.plan().values[1]
    assert (custom.source, custom.group) == (371, "values")
    assert custom.quantity.key == "register_371"
    assert custom.quantity.name == "COP"
    assert custom.quantity.enabled
    assert custom.quantity.category is None


@pytest.mark.parametrize("spelling", ["register", "command", "obis", "address"])
def test_custom_register_with_a_known_key(spelling: str) -> None:
    meter = kmp(custom=[{spelling: "0x003C", "name": "Mine"}])
    assert keys(meter) == keys(kmp())
    assert meter.plan().values[0].quantity.name == "Mine"


def test_any_kmp_meter_needs_registers() -> None:
    meter = kmp(model="kmp_meter", custom=[{"register": 60, "name": "E1"}])
    assert "heat_energy" in keys(meter)


def test_nothing_to_read() -> None:
    assert "no value is read from this meter" in wrong(kmp, values=[])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"volume": {"unit": "GJ"}}, "cannot be converted to GJ; allowed: "),
        ({"heat_energy": {"unit": "Gj"}}, "Gj does not go with device class energy"),
        ({"heat_energy": {"state_class": "measurement"}}, "measurement does not go with"),
        ({"heat_energy": {"device_class": "power"}}, "does not go with device class power"),
        ({"power": {"device_class": "enum"}}, "enum is only for texts"),
        ({"power": {"device_class": "pressure", "unit": "kW"}}, "allowed: Pa"),
        ({"volume": {"device_class": "power", "state_class": None}}, "allowed: mW"),
        ({"power": {"precision": 10}}, "less than or equal to 9"),
        ({"power": {"category": "config"}}, "diagnostic"),
        ({"power": {"icon": "mdi:"}}, "is not an icon"),
        ({"power": {"unit": ""}}, "is empty"),
        ({"power": {"key": "x"}}, "is given twice"),
        ({"power": 3}, "must be followed by options"),
        ({"power": {}, "flow": {}}, "must hold one key"),
        (3, "must be the key of a value"),
    ],
)
def test_invalid_values(value: object, words: str) -> None:
    assert words in wrong(kmp, values=[value])


def test_values_are_a_list() -> None:
    assert "must be a list" in wrong(kmp, values="power")
    assert "must be a list" in wrong(kmp, custom={"register": 1})
    assert kmp(values=None, custom=None) == kmp()


@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ([3], "valid dictionary"),
        ([{"register": 60, "name": "a"}, {"command": "0x3C", "name": "b"}], "0x3C is listed twice"),
        ([{"register": 60, "name": "a", "unit": "W"}], "W does not go with device class energy"),
        ([{"register": 60, "name": ""}], "is empty"),
    ],
)
def test_invalid_custom_values(custom: object, words: str) -> None:
    assert words in wrong(kmp, custom=custom)


def test_text_has_no_unit() -> None:
    model = registry.all_models()["e685_382"].profiles["iec62056-21"]
    assert model
    message = wrong(iec, values=[{"customer_number": {"unit": "kWh"}}])
    assert message == "customer_number is text: it has no unit"
    assert keys(iec(values=[{"customer_number": {"name": "Mine"}}])) == ["customer_number"]


# The whole


def test_warnings_default() -> None:
    config = Config.model_validate({"meters": [han()]})
    assert config.warnings == ()
    assert config.log_level == "info"
    assert config.state_directory is None
    assert config.secrets() == ()


def test_polled_meters_may_share_a_port() -> None:
    config = Config.model_validate({"meters": [kmp(), kmp(name="Water", address=0x7F)]})
    assert [meter.id for meter in config.meters] == ["heat", "water"]


def test_duplicate_ids_are_rejected_without_a_file() -> None:
    with pytest.raises(ValidationError, match="the id heat is used by meter 'Heat'"):
        Config.model_validate({"meters": [kmp(), kmp(port="tcp://h:2")]})


# The example


METERS = [meter_class(protocol) for protocol in PROTOCOLS]


def sections() -> list[type[BaseModel]]:
    return [
        Config,
        MqttConfig,
        TlsConfig,
        HomeAssistantConfig,
        *METERS,
        *(m.model_fields["timing"].annotation for m in METERS if "timing" in m.model_fields),
        ListedValue,
        CustomValue,
    ]  # type: ignore[list-item]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_option_is_in_the_example(section: type[BaseModel]) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    # `key` is one of the ways to write `values`; a source is written as register, obis, ...
    names = set(section.model_fields) - {"key", "source"}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}:", text)] == []


def test_the_example_is_valid_and_shows_the_defaults() -> None:
    config = load(EXAMPLE, {})
    assert config.warnings == ()
    assert config.mqtt == MqttConfig()
    assert config.homeassistant == HomeAssistantConfig()
    assert config.log_level == "info"
    assert [meter.protocol for meter in config.meters] == ["kmp", "kmp-ascii", "iec62056-21", "han"]
    heat = config.meters[0]
    assert isinstance(heat, KmpMeter)
    assert heat.timing == kmp().timing
    assert (heat.address, heat.interval_seconds) == (0x3F, kmp().interval_seconds)


def options_switched_off() -> list[int]:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return [n for n, line in enumerate(lines) if re.match(r" *#[a-z_]+:", line)]


@pytest.mark.parametrize("number", options_switched_off())
def test_every_option_of_the_example_can_be_enabled(number: int, tmp_path: Path) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    lines[number] = lines[number].replace("#", "", 1)
    key = lines[number].partition(":")[0]
    if lines[number - 1].startswith(f"{key}:"):
        lines[number - 1] = ""  # the same option's default
    for name in ("ca.pem", "client.pem", "client.key", "mqtt-password"):
        (tmp_path / name).write_text("x")
    for name in ("gpk60", "gpk61"):
        (tmp_path / name).write_text(EK)
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        load(path, {"MQTT_PASSWORD": "p", "KEY_PASSWORD": "k", "GPK60": EK, "GPK61": AK})
    except ConfigError as error:
        pytest.fail(str(error))


# MULTICAL in full


def test_slow_values() -> None:
    meter = kmp(
        interval="1h",
        slow={"interval": "1d", "values": ["operating_hours", {"cooling_energy": {"unit": "GJ"}}]},
        custom=[{"register": 371, "name": "COP"}],
    )
    plan = meter.plan()
    assert dict(plan.periods) == {"values": 3600, "slow": 86400}
    slow = {v.quantity.key: v.source for v in plan.values if v.group == "slow"}
    assert slow == {"operating_hours": 1004, "cooling_energy": 63}
    assert plan.group_of("heat_energy") == "values"
    custom = kmp(
        custom=[{"register": 371, "name": "COP"}],
        slow={"interval": "1d", "values": ["register_371"]},
    )
    assert custom.plan().group_of("register_371") == "slow"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slow": {"interval": "1h", "values": ["volume"]}}, "must be longer than the interval"),
        ({"slow": {"interval": "1d", "values": ["volum"]}}, "did you mean volume?"),
        ({"slow": {"interval": "1d", "values": [{"volume": {"unit": "kWh"}}]}}, "is read in m³"),
        (
            {"values": ["volume"], "slow": {"interval": "1d", "values": ["volume"]}},
            "lists all values",
        ),
        ({"offset": "-60s"}, "has no effect without align"),
        ({"align": True, "offset": "-1h"}, "must be less than the interval"),
        ({"energy_unit": "cal"}, "Input should be"),
        ({"wake": "kick"}, "Input should be"),
    ],
)
def test_invalid_schedules(options: dict[str, Any], words: str) -> None:
    assert words in wrong(kmp, **options)


def test_aligned_polls_with_an_offset() -> None:
    meter = kmp(align=True, offset="-60s")
    assert (meter.align, meter.offset) == (True, -60)
    assert kmp(align=True, offset="+5m").offset == 300
    assert kmp(align=True, offset=7).offset == 7


def test_energies_in_one_unit() -> None:
    units = {v.quantity.key: v.quantity for v in kmp(energy_unit="kWh").plan().values}
    assert (units["heat_energy"].unit, units["heat_energy"].as_sent) == ("kWh", False)
    assert units["heat_energy_precise"].unit == "kWh"
    assert units["volume"].unit == "m³"
    own = kmp(energy_unit="kWh", values=[{"heat_energy": {"unit": "MWh"}}]).plan().values
    assert own[0].quantity.unit == "MWh"


def test_default_interval_keeps_a_402_awake(tmp_path: Path) -> None:
    assert kmp(model="multical_402").interval_seconds == 28 * 60
    file = tmp_path / "c.yaml"
    file.write_text(
        "meters: [{name: a, protocol: kmp, model: multical_402, port: tcp://h:1, interval: 1h}]"
    )
    (warning,) = load(file, {}).warnings
    assert "falls asleep 30 min after the last reading" in warning


def test_detected_model_replaces_auto() -> None:
    meter = kmp(
        model="auto",
        baudrate=9600,
        stopbits=1,
        values=["energy_import", "heat_energy", "volume"],
        slow={"interval": "1d", "values": ["volume"]},
    )
    config = Config(meters=(meter,))
    assert with_models(config, {}) is config
    assert with_models(config, {"heat": "e685_382"}) is config
    (found,) = with_models(config, {"heat": "multical_403"}).meters
    assert found.model == "multical_403"
    assert found.serial_params() == meter.serial_params() == SerialParams(9600, 8, "N", 1)
    keys = {v.quantity.key: v.group for v in found.plan().values}
    assert keys == {"heat_energy": "values", "volume": "slow"}
