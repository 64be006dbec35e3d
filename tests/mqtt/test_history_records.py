"""Records of the history (docs/topics.md, History)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.model import Identity, LoggedReading, Measurement, Reading
from kamstrup_mqtt.devices.device import Device, DeviceConfig
from kamstrup_mqtt.mqtt.history_records import RecordEncoder, estimate_measured_at
from kamstrup_mqtt.storage.state_schema import DeviceState

TIME = datetime(2026, 11, 21, 4, 0, 5, 123000, tzinfo=UTC)
HAN = {"name": "Main", "protocol": "han", "port": "tcp://h:1", "energy_scale": 10}
HEAT = {"name": "Heat", "protocol": "kmp", "model": "multical_403", "port": "tcp://h:2"}


def make_device(meter: dict[str, Any]) -> Device:
    found = Config.model_validate({"meters": [meter]}).meters[0]
    facts = DeviceConfig(
        id=found.id,
        name=found.name,
        model_id=found.model,
        model=found.meter_model,
        plan=found.plan(),
        interval=found.interval_seconds,
    )
    return Device(facts, DeviceState(), 0.0)


def reading(meter: str, group: str, time: datetime | None, **values: str | None) -> Reading:
    return Reading(
        meter=meter,
        group=group,
        time=time,
        values={
            key: Measurement(None if text is None else Decimal(text), "kWh")
            for key, text in values.items()
        },
    )


def test_the_record_of_a_reading() -> None:
    heat = make_device(HEAT)
    heat.apply(Identity(meter="heat", serial="6654321", source="serial_no"), 0.0)
    report = reading("heat", "values", TIME, heat_energy="12345.670", volume=None)
    heat.apply(report, 1.0)
    assert RecordEncoder("0123456789abcdef").encode_reading(report, heat) == (
        '{"meter": "heat", "serial": "6654321", "boot": "0123456789abcdef", "seq": 1,'
        ' "kind": "values", "time": "2026-11-21T04:00:05.123Z",'
        ' "at": "2026-11-21T04:00:05.123Z", "readings": {"heat_energy": 12345.670, "volume": null}}'
    )


def test_records_are_numbered_for_each_meter() -> None:
    encoder = RecordEncoder("b")
    numbers = []
    for meter in (HAN, HEAT, HAN, HAN):
        device = make_device(meter)
        group = "live" if meter is HAN else "values"
        report = reading(device.config.id, group, None)
        device.apply(report, 1.0)
        record = json.loads(encoder.encode_reading(report, device))
        numbers.append((record["meter"], record["seq"], record["time"], record["serial"]))
    assert numbers == [
        ("main", 1, None, None),
        ("heat", 1, None, None),
        ("main", 2, None, None),
        ("main", 3, None, None),
    ]


def test_an_hourly_list_is_measured_at_the_full_hour() -> None:
    main = make_device(HAN)
    encoder = RecordEncoder("b")
    kinds = []
    for group, key in (("live", "power_import"), ("hourly", "energy_import")):
        report = reading("main", group, TIME, **{key: "1"})
        main.apply(report, 1.0)
        record = json.loads(encoder.encode_reading(report, main))
        kinds.append((record["kind"], record["at"], list(record["readings"])))
    assert kinds[0][0::2] == ("live", ["power_import"])
    assert kinds[0][1] == "2026-11-21T04:00:05.123Z"
    assert kinds[1] == ("hourly", "2026-11-21T04:00:00.000Z", ["energy_import"])


def test_values_without_a_known_time_of_measurement() -> None:
    assert estimate_measured_at("hourly", TIME + timedelta(minutes=20)) is None
    assert estimate_measured_at("hourly", None) is None
    assert estimate_measured_at("values", None) is None


def test_the_record_of_a_log_entry() -> None:
    heat = make_device(HEAT)
    heat.apply(Identity(meter="heat", serial="6654321", source="serial_no"), 0.0)
    report = reading("heat", "values", TIME, heat_energy="12345.670")
    heat.apply(report, 1.0)
    encoder = RecordEncoder("0123456789abcdef")
    encoder.encode_reading(report, heat)
    state = heat.state_json("values")
    values = {
        # converted; another unit of the family; another family; no number; no value
        "heat_energy": Measurement(Decimal("12.3456"), "MWh"),
        "volume": Measurement(Decimal("1.5"), "m³"),
        "flow": Measurement("fast", "L/h"),
        "power": Measurement(None, "kW"),
        "info_text": Measurement("ok\x07"),
    }
    entry = LoggedReading(
        meter="heat", time=TIME, measured_at=TIME - timedelta(hours=2), values=values
    )
    assert encoder.encode_logged(entry, heat) == (
        '{"meter": "heat", "serial": "6654321", "boot": "0123456789abcdef", "seq": 2,'
        ' "kind": "backfill", "time": "2026-11-21T04:00:05.123Z",'
        ' "at": "2026-11-21T02:00:05.123Z",'
        ' "readings": {"heat_energy": 12345.6, "volume": 1.5, "info_text": "ok\\\\x07"}}'
    )
    assert heat.state_json("values") == state
    assert "volume" not in heat.meter_state.units  # only readings freeze a unit
