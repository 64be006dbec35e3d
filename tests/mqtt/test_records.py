"""Records of the history: docs/topics.md, History."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.config import Config, SpoolConfig
from kamstrup_mqtt.core.model import Identity, LoggedReading, Measurement, Reading
from kamstrup_mqtt.devices.device import Device, DeviceConfig
from kamstrup_mqtt.mqtt.history_records import Records, belongs_to
from kamstrup_mqtt.storage.state_schema import MeterState

TIME = datetime(2026, 11, 21, 4, 0, 5, 123000, tzinfo=UTC)
HAN = {"name": "Main", "protocol": "han", "port": "tcp://h:1", "energy_scale": 10}
HEAT = {"name": "Heat", "protocol": "kmp", "model": "multical_403", "port": "tcp://h:2"}


def picture(meter: dict[str, Any]) -> Device:
    found = Config.model_validate({"meters": [meter]}).meters[0]
    facts = DeviceConfig(
        id=found.id,
        name=found.name,
        model_id=found.model,
        model=found.meter_model,
        plan=found.plan(),
        interval=found.interval_seconds,
    )
    return Device(facts, MeterState(), 0.0)


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


def test_a_record_to_the_letter() -> None:
    heat = picture(HEAT)
    heat.apply(Identity(meter="heat", serial="6654321", source="serial_no"), 0.0)
    told = reading("heat", "values", TIME, heat_energy="12345.670", volume=None)
    heat.apply(told, 1.0)
    assert Records("0123456789abcdef").of(told, heat) == (
        '{"meter": "heat", "serial": "6654321", "boot": "0123456789abcdef", "seq": 1,'
        ' "kind": "values", "time": "2026-11-21T04:00:05.123Z",'
        ' "at": "2026-11-21T04:00:05.123Z", "readings": {"heat_energy": 12345.670, "volume": null}}'
    )


def test_numbers_ascend_for_each_meter() -> None:
    records = Records("b")
    made = []
    for meter in (HAN, HEAT, HAN, HAN):
        shown = picture(meter)
        group = "live" if meter is HAN else "values"
        told = reading(shown.config.id, group, None)
        shown.apply(told, 1.0)
        record = json.loads(records.of(told, shown))
        made.append((record["meter"], record["seq"], record["time"], record["serial"]))
    assert made == [
        ("main", 1, None, None),
        ("heat", 1, None, None),
        ("main", 2, None, None),
        ("main", 3, None, None),
    ]


def test_an_hourly_list_gives_two_records() -> None:
    main = picture(HAN)
    records = Records("b")
    kinds = []
    for group, key in (("live", "power_import"), ("hourly", "energy_import")):
        told = reading("main", group, TIME, **{key: "1"})
        main.apply(told, 1.0)
        record = json.loads(records.of(told, main))
        kinds.append((record["kind"], record["at"], list(record["readings"])))
    assert kinds[0][0::2] == ("live", ["power_import"])
    assert kinds[0][1] == "2026-11-21T04:00:05.123Z"
    # the registers of the full hour
    assert kinds[1] == ("hourly", "2026-11-21T04:00:00.000Z", ["energy_import"])


def test_when_it_is_not_known_to_which_moment_values_belong() -> None:
    assert belongs_to("hourly", TIME + timedelta(minutes=20)) is None
    assert belongs_to("hourly", None) is None
    assert belongs_to("values", None) is None


@pytest.mark.parametrize("mode", ["offline", "always", "memory"])
def test_the_mode_alone_is_enough(mode: str) -> None:
    config = Config.model_validate({"meters": [HEAT], "spool": mode})
    assert config.spool == SpoolConfig.model_validate({"mode": mode})
    assert (config.spool.rows, config.spool.megabytes, config.spool.resend) == (100_000, 64, 60.0)


def test_the_default_mode() -> None:
    assert Config.model_validate({"meters": [HEAT]}).spool.mode == "offline"


@pytest.mark.parametrize("spool", ["sometimes", {"rows": 5}, {"resend": -1}, {"size": 3}])
def test_what_a_spool_cannot_be(spool: Any) -> None:
    with pytest.raises(ValueError, match="spool"):
        Config.model_validate({"meters": [HEAT], "spool": spool})


def test_switched_off_is_told_what_there_is() -> None:
    with pytest.raises(ValueError, match="memory is the mode that never uses the disk"):
        Config.model_validate({"meters": [HEAT], "spool": False})


def test_a_record_of_the_meters_own_log_to_the_letter() -> None:
    heat = picture(HEAT)
    heat.apply(Identity(meter="heat", serial="6654321", source="serial_no"), 0.0)
    told = reading("heat", "values", TIME, heat_energy="12345.670")
    heat.apply(told, 1.0)
    records = Records("0123456789abcdef")
    records.of(told, heat)
    state = heat.state_json("values")
    values = {
        # in the unit of the contract, of a family; another family; no number; no value
        "heat_energy": Measurement(Decimal("12.3456"), "MWh"),
        "volume": Measurement(Decimal("1.5"), "m³"),
        "flow": Measurement("fast", "L/h"),
        "power": Measurement(None, "kW"),
        "info_text": Measurement("ok\x07"),
    }
    logged = LoggedReading(
        meter="heat", time=TIME, measured_at=TIME - timedelta(hours=2), values=values
    )
    assert records.logged(logged, heat) == (
        '{"meter": "heat", "serial": "6654321", "boot": "0123456789abcdef", "seq": 2,'
        ' "kind": "backfill", "time": "2026-11-21T04:00:05.123Z",'
        ' "at": "2026-11-21T02:00:05.123Z",'
        ' "readings": {"heat_energy": 12345.6, "volume": 1.5, "info_text": "ok\\\\x07"}}'
    )
    assert heat.state_json("values") == state
    assert "volume" not in heat.meter_state.units  # frozen by what is read, not by what was logged
