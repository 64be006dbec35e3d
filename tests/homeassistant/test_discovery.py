"""Discovery messages: their content, that Home Assistant accepts them, and their removal."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.model import Measurement
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.devices.device import Device
from kamstrup_mqtt.homeassistant.discovery import meter_discovery
from kamstrup_mqtt.homeassistant.gateway_device import bridge_discovery
from kamstrup_mqtt.homeassistant.messages import Discovery, DiscoveryConfig, PublishedDiscovery
from kamstrup_mqtt.homeassistant.removal import parse_announced, parse_meter_id, publish_sequence
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import Quantity
from tests.snapshots import HERE, discovery_config, model_device, snapshots
from tests.support.factories import diagnosis, identity, make_device, make_plan, reading

D = Decimal

# home_assistant.md 4, typed from the table: class -> (units of 2024.11, units since, state classes)
TOTAL = "total total_increasing"
CLASSES: dict[str, tuple[str, str, str]] = {
    "energy": ("J kJ MJ GJ Wh kWh MWh GWh TWh cal kcal Mcal Gcal", "mWh thm", TOTAL),
    "power": ("W kW MW GW TW", "mW", "measurement"),
    "apparent_power": ("VA", "mVA kVA", "measurement"),
    "reactive_power": ("var", "mvar kvar", "measurement"),
    "reactive_energy": ("", "varh kvarh", TOTAL),
    "current": ("mA A", "μA", "measurement"),
    "voltage": ("mV V", "μV kV MV", "measurement"),
    "temperature": ("°C °F K", "", "measurement"),
    "temperature_delta": ("", "°C °F K", "measurement"),
    "volume": ("mL L m³ ft³ CCF gal", "MCF", TOTAL),
    "water": ("L m³ ft³ CCF gal", "MCF", TOTAL),
    "volume_flow_rate": ("L/min m³/h", "L/h L/s mL/s m³/min m³/s", "measurement"),
    "duration": ("d h min s ms", "μs", f"measurement {TOTAL}"),
    "pressure": ("Pa hPa kPa bar cbar mbar mmHg inHg psi", "mPa inH₂O atm", "measurement"),
    "power_factor": ("none %", "", "measurement"),
    "timestamp": ("none", "", ""),
    "date": ("none", "", ""),
    "enum": ("none", "", ""),
}
ROOT = {"device", "origin", "components", "availability", "availability_mode"}
DEVICE = {"identifiers", "name", "manufacturer", "model", "model_id", "serial_number"}
DEVICE |= {"sw_version", "hw_version", "via_device"}
COMMON = {"platform", "name", "unique_id", "availability", "icon", "entity_category"}
COMMON |= {"enabled_by_default"}
KEYS = {
    "sensor": {"state_topic", "value_template", "device_class", "state_class", "options"}
    | {"unit_of_measurement", "suggested_display_precision"},
    "binary_sensor": {"state_topic", "device_class", "payload_on", "payload_off"}
    | {"value_template", "json_attributes_topic", "json_attributes_template"},
    "button": {"command_topic", "payload_press", "qos"},
}
NUMERIC = {"unit_of_measurement", "state_class", "suggested_display_precision"}


def message(discovery: Discovery | None) -> dict[str, Any]:
    assert discovery is not None
    found: dict[str, Any] = json.loads(discovery.payload)
    return found


def assert_taken(discovery: Discovery | None, *, modern: bool) -> dict[str, Any]:
    """Every mistake that home_assistant.md 8 lists is absent."""
    whole = message(discovery)
    assert discovery is not None
    assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", discovery.topic)
    assert set(whole) <= ROOT
    assert {"device", "origin", "components"} <= set(whole)
    assert whole["origin"]["name"] == "kamstrup-mqtt"
    assert set(whole["device"]) <= DEVICE
    assert whole["device"]["identifiers"]
    assert all(isinstance(value, str) for k, value in whole["device"].items() if k != "identifiers")
    assert isinstance(whole["components"], dict)
    ids = [component["unique_id"] for component in whole["components"].values()]
    assert len(set(ids)) == len(ids)
    names = [component["name"] for component in whole["components"].values()]
    assert len(set(names)) == len(names)
    for component in whole["components"].values():
        assert_component_taken(component, whole["device"]["name"], modern=modern)
    return whole


def assert_component_taken(component: dict[str, Any], info: str, *, modern: bool) -> None:
    platform = component["platform"]
    assert set(component) <= COMMON | KEYS[platform], component
    assert re.fullmatch(r"kamstrup_[A-Za-z0-9_-]+", component["unique_id"])
    name = component["name"]
    assert name[0] == name[0].upper()
    assert not name.lower().startswith(info.lower())
    assert component.get("entity_category", "diagnostic") == "diagnostic"
    assert component.get("enabled_by_default", False) is False
    if platform == "button":
        assert component["command_topic"]
        return
    assert component["state_topic"]
    if platform == "sensor":
        assert_sensor_taken(component, modern=modern)


def assert_sensor_taken(sensor: dict[str, Any], *, modern: bool) -> None:
    device_class = sensor.get("device_class")
    unit, state_class = sensor.get("unit_of_measurement"), sensor.get("state_class")
    assert state_class in (None, "measurement", "total", "total_increasing")
    assert isinstance(sensor.get("suggested_display_precision", 0), int)
    assert ("options" in sensor) == (device_class == "enum")
    if device_class in ("enum", "date", "timestamp"):
        assert not NUMERIC & set(sensor)
    if device_class is not None:
        old, since, states = CLASSES[device_class]
        units = f"{old} {since}" if modern else old
        assert (unit or "none") in units.split(), sensor
        assert state_class is None or state_class in states.split(), sensor
    assert re.match(r"\{\{ (none if )?value_json\.[A-Za-z][A-Za-z0-9_]* ", sensor["value_template"])


def key_of(sensor: dict[str, Any]) -> str:
    found = re.search(r"value_json\.(\w+)", sensor["value_template"])
    assert found is not None
    return found[1]


DIALECTS = [(m, p) for m, model in registry.all_models().items() for p in model.profiles]


@pytest.mark.parametrize("modern", [True, False], ids=["2025.12", "2024.11"])
@pytest.mark.parametrize(("model_id", "protocol"), DIALECTS)
def test_home_assistant_accepts_every_model(model_id: str, protocol: str, *, modern: bool) -> None:
    device = model_device(model_id, protocol, everything=True)
    whole = assert_taken(meter_discovery(discovery_config(modern=modern), device), modern=modern)
    planned = {value.quantity.key for value in device.config.plan.values}
    assert planned <= set(whole["components"])
    topics = discovery_config().topics
    payloads = {topics.state("meter", g): json.loads(s) for g, s in device.states().items()}
    payloads[topics.diagnostics("meter")] = json.loads(device.diagnostics_json())
    for component in whole["components"].values():
        if component["platform"] == "sensor":
            payload = payloads[component["state_topic"]]
            assert key_of(component) in payload
            if isinstance(payload[key_of(component)], str):
                assert not NUMERIC & set(component)


def test_every_model_has_its_snapshot() -> None:
    assert {path.name for path in HERE.glob("*.json")} == set(snapshots())


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.json")))
def test_snapshot(name: str) -> None:
    assert snapshots()[name] == (HERE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("instance", ["main", "garage"])
def test_home_assistant_accepts_the_bridge(instance: str) -> None:
    how = DiscoveryConfig(topics=Topics(instance=instance), version="1.2.3")
    whole = assert_taken(bridge_discovery(how), modern=False)
    assert whole["device"]["identifiers"] == [f"kamstrup_mqtt_{instance}"]
    assert whole["device"]["name"] == (
        "Kamstrup MQTT" if instance == "main" else "Kamstrup MQTT garage"
    )


def test_the_bridge_has_a_connection_sensor() -> None:
    connection = message(bridge_discovery(discovery_config()))["components"]["connection"]
    assert connection["device_class"] == "connectivity"
    assert connection["enabled_by_default"] is False
    assert "availability" not in connection


def test_the_bridge_has_the_problem_sensor_of_an_unknown_meter() -> None:
    found = bridge_discovery(discovery_config(), [make_device(id="attic", name="Attic")])
    problem = assert_taken(found, modern=False)["components"]["attic_problem"]
    assert problem["name"] == "Attic problem"
    assert problem["unique_id"] == "kamstrup_mqtt_main_attic_problem"
    assert problem["state_topic"] == "kamstrup/main/attic/diagnostics"


NAMED = {
    "q": Quantity(key="q", name="Heat energy"),
    "r": Quantity(key="r", name="Heat flow rate"),
    "s": Quantity(key="s", name="Heater hours"),
    "t": Quantity(key="t", name="Heat"),
    "u": Quantity(key="u", name="Flow rate"),
}


@pytest.mark.parametrize(
    ("info", "names"),
    [
        ("Heat", ["Energy", "Heat flow rate", "Heater hours", "Heat", "Flow rate"]),
        ("HEAT  energy", ["Heat energy", "Heat flow rate", "Heater hours", "Heat", "Flow rate"]),
        ("heat flow", ["Heat energy", "Rate", "Heater hours", "Heat", "Flow rate"]),
        ("flow", ["Heat energy", "Heat flow rate", "Heater hours", "Heat", "Rate"]),
        ("Last", [quantity.name for quantity in NAMED.values()]),
    ],
)
def test_a_name_does_not_repeat_the_device(info: str, names: list[str]) -> None:
    plan = make_plan({"values": tuple(NAMED)}, quantities=NAMED)
    device = make_device(plan, name=info)
    device.apply(identity("1"), 1.0)
    device.apply(reading({key: Measurement(D(1)) for key in NAMED}), 1.0)
    components = message(meter_discovery(discovery_config(), device))["components"]
    assert [components[key]["name"] for key in NAMED] == names
    assert components["last_reading"]["name"] == ("Reading" if info == "Last" else "Last reading")


@pytest.mark.parametrize("model_id", registry.all_models())
def test_a_model_does_not_repeat_its_manufacturer(model_id: str) -> None:
    model = registry.all_models()[model_id]
    assert "kamstrup" not in model.name.lower()


def test_one_meter_in_full() -> None:
    device = make_device(make_plan({"values": ("heat_energy", "meter_id")}))
    device.apply(identity("0012", sw_version="C1", unknown="x"), 1.0)
    device.apply(
        reading({"heat_energy": Measurement(D("1.5"), "GJ"), "meter_id": Measurement("0012")}), 1.0
    )
    found = meter_discovery(discovery_config(), device)
    assert found is not None
    assert found.topic == "homeassistant/device/kamstrup_main_heat/config"
    bridge = {"topic": "kamstrup/main/bridge/status"}
    counter = {
        "platform": "sensor",
        "entity_category": "diagnostic",
        "enabled_by_default": False,
        "state_topic": "kamstrup/main/heat/diagnostics",
        "availability": [bridge],
        "state_class": "total_increasing",
    }
    diagnostic = {
        k: v for k, v in counter.items() if k not in ("state_class", "enabled_by_default")
    }
    assert json.loads(found.payload) == {
        "device": {
            "identifiers": ["kamstrup_0012"],
            "name": "District heating",
            "manufacturer": "Kamstrup",
            "model": "MULTICAL 403",
            "serial_number": "0012",
            "sw_version": "C1",
            "via_device": "kamstrup_mqtt_main",
        },
        "origin": {"name": "kamstrup-mqtt", "sw_version": "1.2.3"},
        "availability": [bridge, {"topic": "kamstrup/main/heat/status"}],
        "availability_mode": "all",
        "components": {
            "heat_energy": {
                "platform": "sensor",
                "name": "Heat energy",
                "unique_id": "kamstrup_0012_heat_energy",
                "state_topic": "kamstrup/main/heat/state/values",
                "value_template": "{{ value_json.heat_energy }}",
                "device_class": "energy",
                "state_class": "total_increasing",
                "unit_of_measurement": "GJ",
            },
            "meter_id": {
                "platform": "sensor",
                "name": "Meter id",
                "unique_id": "kamstrup_0012_meter_id",
                "state_topic": "kamstrup/main/heat/state/values",
                "value_template": "{{ value_json.meter_id }}",
                "entity_category": "diagnostic",
            },
            "link_state": {
                **diagnostic,
                "name": "Link state",
                "unique_id": "kamstrup_0012_link_state",
                "value_template": "{{ value_json.link_state }}",
                "device_class": "enum",
                "options": [
                    "ok",
                    "no_bytes",
                    "bytes_no_frames",
                    "echo_only",
                    "checksum",
                    "refused",
                    "busy",
                    "port_missing",
                    "wrong_key",
                ],
            },
            "last_reading": {
                **diagnostic,
                "name": "Last reading",
                "unique_id": "kamstrup_0012_last_reading",
                "value_template": "{{ value_json.last_reading }}",
                "device_class": "timestamp",
            },
            "last_error": {
                **diagnostic,
                "name": "Last error",
                "unique_id": "kamstrup_0012_last_error",
                "value_template": "{{ value_json.last_error }}",
                "enabled_by_default": False,
            },
            "frames": {
                **counter,
                "name": "Frames",
                "unique_id": "kamstrup_0012_frames",
                "value_template": "{{ value_json.frames }}",
            },
            "dropped": {
                **counter,
                "name": "Dropped",
                "unique_id": "kamstrup_0012_dropped",
                "value_template": "{{ value_json.dropped }}",
            },
            "reconnects": {
                **counter,
                "name": "Reconnects",
                "unique_id": "kamstrup_0012_reconnects",
                "value_template": "{{ value_json.reconnects }}",
            },
            "requests_per_day": {
                **counter,
                "name": "Requests per day",
                "unique_id": "kamstrup_0012_requests_per_day",
                "value_template": "{{ value_json.requests_per_day }}",
                "state_class": "measurement",
            },
            "read": {
                "platform": "button",
                "name": "Read now",
                "unique_id": "kamstrup_0012_read",
                "command_topic": "kamstrup/main/heat/read",
                "payload_press": "read",
                "qos": 1,
                "availability": [bridge],
            },
        },
    }
    assert found.announced.serial == "0012"
    assert dict(found.announced.components) == {
        **dict.fromkeys(["heat_energy", "meter_id", "link_state", "last_reading"], "sensor"),
        **dict.fromkeys(["last_error", "frames", "dropped", "reconnects"], "sensor"),
        "requests_per_day": "sensor",
        "read": "button",
    }


def test_no_discovery_before_the_meter_is_known() -> None:
    assert meter_discovery(discovery_config(), make_device()) is None


@pytest.mark.parametrize("changes", [{"interval": None}, {"commands": False}])
def test_no_read_button_without_commands(changes: dict[str, Any]) -> None:
    device = make_device(serial="1", **changes)
    assert "read" not in message(meter_discovery(discovery_config(), device))["components"]


def sensor(
    quantity: Quantity, measured: Measurement, *, modern: bool = True, seen: Device | None = None
) -> dict[str, Any]:
    plan = make_plan({"values": (quantity.key,)}, quantities={quantity.key: quantity})
    device = make_device(plan, serial="1")
    device.apply(reading({quantity.key: measured}), 1.0)
    discovery = meter_discovery(discovery_config(modern=modern), device)
    assert_taken(discovery, modern=modern)
    found: dict[str, Any] = message(discovery)["components"][quantity.key]
    return found


def as_sent(device_class: str, state_class: str = "measurement") -> Quantity:
    return Quantity(
        key="x", name="X", as_sent=True, device_class=device_class, state_class=state_class
    )


@pytest.mark.parametrize(
    ("device_class", "unit", "modern", "taken"),
    [
        ("power", "kW", True, True),
        ("power", None, True, False),
        ("power", "kVA", True, False),
        ("power", "mW", False, False),
        ("power", "MW", False, True),
        ("reactive_power", "kvar", True, True),
        ("reactive_power", "kvar", False, False),
        ("volume_flow_rate", "L/s", False, False),
        ("volume_flow_rate", "m³/h", False, True),
        ("temperature_delta", "K", True, True),
        ("temperature_delta", "K", False, False),
    ],
)
def test_a_device_class_needs_a_unit_that_it_allows(
    device_class: str, unit: str | None, *, modern: bool, taken: bool
) -> None:
    found = sensor(as_sent(device_class), Measurement(D(1), unit), modern=modern)
    assert found.get("device_class") == (device_class if taken else None)
    assert found.get("unit_of_measurement") == unit
    assert found["state_class"] == "measurement"


def test_reactive_energy_of_an_old_home_assistant_keeps_its_statistics() -> None:
    quantity = as_sent("reactive_energy", "total_increasing")
    found = sensor(quantity, Measurement(D(1), "kvarh"), modern=False)
    assert "device_class" not in found
    assert (found["state_class"], found["unit_of_measurement"]) == ("total_increasing", "kvarh")


def test_flow_of_an_old_home_assistant_is_in_cubic_metres() -> None:
    quantity = as_sent("volume_flow_rate")
    found = sensor(quantity, Measurement(D(303), "L/h"), modern=False)
    assert found["unit_of_measurement"] == "m³/h"
    assert found["device_class"] == "volume_flow_rate"
    assert found["suggested_display_precision"] == 3
    assert found["value_template"] == (
        "{{ none if value_json.x is none else value_json.x | float / 1000 }}"
    )
    found = sensor(quantity, Measurement(D(303), "L/h"))
    assert (found["unit_of_measurement"], found["value_template"]) == ("L/h", "{{ value_json.x }}")


def test_a_state_class_that_the_class_cannot_have_is_left_out() -> None:
    found = sensor(as_sent("volume", "measurement"), Measurement(D(1), "m³"))
    assert found["device_class"] == "volume"
    assert "state_class" not in found


def test_configured_options_are_announced() -> None:
    quantity = Quantity(
        key="x", name="Mine", unit="bar", precision=1, icon="mdi:gauge", category="diagnostic"
    )
    found = sensor(quantity, Measurement(D(1), "bar"))
    assert found["icon"] == "mdi:gauge"
    assert found["suggested_display_precision"] == 1
    assert found["entity_category"] == "diagnostic"


# Removal


BEFORE = PublishedDiscovery("1", {"volume": "sensor", "read": "button"})


def discovery_of(*keys: str) -> Discovery:
    device = make_device(serial="1")
    device.apply(reading({key: Measurement(D(1), "m³") for key in keys}), 1.0)
    found = meter_discovery(discovery_config(), device)
    assert found is not None
    return found


def test_nothing_to_remove() -> None:
    now = discovery_of("volume")
    assert publish_sequence(now, None) == (now.payload,)
    assert publish_sequence(now, BEFORE) == (now.payload,)


def test_a_component_that_is_gone_is_reduced_first() -> None:
    now = discovery_of("volume")
    first, second = publish_sequence(
        now, PublishedDiscovery("1", {"volume": "sensor", "old": "sensor"})
    )
    assert second == now.payload
    reduced = json.loads(first)
    assert reduced["components"].pop("old") == {"platform": "sensor"}
    assert reduced == json.loads(now.payload)


def test_a_component_of_another_platform_is_reduced_first() -> None:
    now = discovery_of("volume")
    first, second = publish_sequence(now, PublishedDiscovery("1", {"volume": "binary_sensor"}))
    assert json.loads(first)["components"]["volume"] == {"platform": "binary_sensor"}
    assert second == now.payload


def test_another_device_is_removed_as_a_whole() -> None:
    now = discovery_of("volume")
    assert publish_sequence(now, PublishedDiscovery("2", {"volume": "sensor"})) == ("", now.payload)


# What is ours


def test_our_own_messages_are_recognized() -> None:
    for found in (discovery_of("volume"), bridge_discovery(discovery_config())):
        assert parse_announced(discovery_config(), found.topic, found.payload) == found.announced


def test_meter_of() -> None:
    how = discovery_config()
    assert parse_meter_id(how, "homeassistant/device/kamstrup_main_heat-1/config") == "heat-1"
    assert parse_meter_id(how, "homeassistant/device/kamstrup_main_bridge/config") == "bridge"
    assert parse_meter_id(how, "homeassistant/device/kamstrup_main_/config") is None
    assert parse_meter_id(how, "homeassistant/device/kamstrup_garage_heat/config") is None
    assert parse_meter_id(how, "other/device/kamstrup_main_heat/config") is None
    assert parse_meter_id(how, "homeassistant/device/kamstrup_main_heat/other") is None


@pytest.mark.parametrize(
    ("topic", "change"),
    [
        ("homeassistant/device/zigbee_1/config", {}),
        (None, {"origin": {"name": "zigbee2mqtt"}}),
        (None, {"origin": {}}),
        (None, {"availability": [{"topic": "kamstrup/other/bridge/status"}], "components": {}}),
        (None, {"device": {"identifiers": []}}),
        (None, {"components": []}),
        (None, {"components": {"x": {}}}),
        (None, {"components": {"x": {"platform": ["sensor"]}}}),
        (None, {"components": {"x": {"platform": "\ud800"}}}),
        (None, {"components": {"\ud800": {"platform": "sensor"}}}),
        (None, {"device": {"identifiers": [12]}}),
        (None, {"availability": 5}),
    ],
)
def test_discovery_messages_of_others_are_ignored(
    topic: str | None, change: dict[str, Any]
) -> None:
    own = discovery_of("volume")
    payload = json.dumps({**json.loads(own.payload), **change})
    assert parse_announced(discovery_config(), topic or own.topic, payload) is None


@pytest.mark.parametrize("payload", ["", "online", "[]", "{}", "5", "null", "[" * 100_000])
def test_other_payloads_are_not_discovery_messages(payload: str) -> None:
    assert parse_announced(discovery_config(), discovery_of("volume").topic, payload) is None


def test_a_problem_is_a_binary_sensor() -> None:
    device = make_device(make_plan({"values": ("problem_leak",)}))
    device.apply(identity("0012"), 1.0)
    device.apply(reading({"problem_leak": Measurement("OFF")}), 1.0)
    found = meter_discovery(discovery_config(), device)
    assert found is not None
    assert json.loads(found.payload)["components"]["problem_leak"] == {
        "platform": "binary_sensor",
        "name": "Leak",
        "unique_id": "kamstrup_0012_problem_leak",
        "state_topic": "kamstrup/main/heat/state/values",
        "value_template": "{{ value_json.problem_leak }}",
        "device_class": "problem",
    }


@pytest.mark.parametrize(
    ("learned", "manufacturer", "model"),
    [
        ({}, None, "Meter recognised by what it tells"),
        (
            {"recognised": "kamstrup_han_3phase", "manufacturer": "Kamstrup"},
            "Kamstrup",
            "HAN meter, three phases",
        ),
        ({"recognised": "aidon_se", "manufacturer": "Aidon"}, "Aidon", "Aidon, Sweden"),
        (
            {"recognised": "aidon_3phase", "manufacturer": "Landis+Gyr"},
            "Landis+Gyr",
            "HAN meter, three phases",
        ),
        ({"recognised": "gone_with_an_update"}, None, "Meter recognised by what it tells"),
    ],
)
def test_a_recognised_meter_announces_its_model(
    learned: dict[str, str], manufacturer: str | None, model: str
) -> None:
    device = model_device("auto", "han")
    values = dict.fromkeys(("power_import",), Measurement(D(5), "W"))
    assert not device.apply(reading(values, group="live"), 2.0).discovery
    found = device.apply(diagnosis(learned=learned), 3.0).discovery
    info = message(meter_discovery(discovery_config(), device))["device"]
    assert (info.get("manufacturer"), info["model"]) == (manufacturer, model)
    assert found is (manufacturer is not None)
    # what the configuration says stays
    named = model_device("kamstrup_han_3phase", "han")
    named.apply(diagnosis(learned={"recognised": "kaifa_1phase", "manufacturer": "Kaifa"}), 2.0)
    info = message(meter_discovery(discovery_config(), named))["device"]
    assert (info["manufacturer"], info["model"]) == ("Kamstrup", "HAN meter, three phases")
