"""The two HAN models: groups, names, identity."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.meters.model import MeterModel
from kamstrup_mqtt.meters.models import kamstrup_han_1phase, kamstrup_han_3phase
from kamstrup_mqtt.meters.quantities import QUANTITIES
from kamstrup_mqtt.protocols.han import SPEC

LIVE = ["list_id", "meter_id", "meter_type"]
POWERS = ["power_import", "power_export", "reactive_power_import", "reactive_power_export"]
COUNTED = [
    *("energy_import_live", "energy_export_live"),
    *("reactive_energy_import_live", "reactive_energy_export_live"),
]
HOURLY = [
    *("meter_time", "meter_clock_drift", "energy_import", "energy_export"),
    *("reactive_energy_import", "reactive_energy_export"),
]


@pytest.mark.parametrize(
    ("model", "phases"),
    [
        (
            kamstrup_han_3phase.MODEL,
            [
                *("current_l1", "current_l2", "current_l3"),
                *("voltage_l1", "voltage_l2", "voltage_l3"),
            ],
        ),
        (kamstrup_han_1phase.MODEL, ["current_l1", "voltage_l1"]),
    ],
)
def test_groups(model: MeterModel, phases: list[str]) -> None:
    dialect = model.profiles["han"]
    keys = {group: [SPEC.key_of(s) for s in sources] for group, sources in dialect.groups.items()}
    assert keys == {"live": [*LIVE, *POWERS, *phases, *COUNTED], "hourly": HOURLY}
    assert dialect.periods == {"live": 10, "hourly": 3600}
    assert {SPEC.key_of(source) for source in dialect.more} <= set(QUANTITIES)


@pytest.mark.parametrize("model", [kamstrup_han_1phase.MODEL, kamstrup_han_3phase.MODEL])
def test_what_it_is(model: MeterModel) -> None:
    assert (model.manufacturer, model.medium, model.battery) == ("Kamstrup", "electricity", False)
    dialect = model.profiles["han"]
    assert dialect.identity == ("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255")
    assert dialect.serial is None
