"""The HAN models: groups, identity, line."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile
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
    profile = model.profiles["han"]
    keys = {group: [SPEC.key_of(s) for s in sources] for group, sources in profile.groups.items()}
    assert keys == {"live": [*LIVE, *POWERS, *phases, *COUNTED], "hourly": HOURLY}
    assert profile.periods == {"live": 10, "hourly": 3600}
    assert {SPEC.key_of(source) for source in profile.more} <= set(QUANTITIES)


@pytest.mark.parametrize("model", [kamstrup_han_1phase.MODEL, kamstrup_han_3phase.MODEL])
def test_identity_and_line(model: MeterModel) -> None:
    assert (model.manufacturer, model.medium, model.has_battery) == (
        "Kamstrup",
        "electricity",
        False,
    )
    profile = model.profiles["han"]
    assert profile.identity == ("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255")
    assert profile.serial is None


AIDON_LIVE = (
    *("1-1:0.2.129.255", "0-0:96.1.0.255", "0-0:96.1.7.255"),
    *("1-0:1.7.0.255", "1-0:2.7.0.255", "1-0:3.7.0.255", "1-0:4.7.0.255"),
    *("1-0:31.7.0.255", "1-0:51.7.0.255", "1-0:71.7.0.255"),
    *("1-0:32.7.0.255", "1-0:52.7.0.255", "1-0:72.7.0.255"),
    *("live-1.8.0", "live-2.8.0", "live-3.8.0", "live-4.8.0"),
)
AIDON_HOURLY = (
    *("0-0:1.0.0.255", "clock_drift"),
    *("1-0:1.8.0.255", "1-0:2.8.0.255", "1-0:3.8.0.255", "1-0:4.8.0.255"),
)
OTHER_PHASES = ("1-0:51.7.0.255", "1-0:71.7.0.255", "1-0:52.7.0.255", "1-0:72.7.0.255")


def profile_of(model_id: str) -> ProtocolProfile:
    return registry.all_models()[model_id].profiles["han"]


def test_lists_of_aidon_and_kaifa() -> None:
    """han.md 2.5 and 2.6: the two makers send the same codes but for the list identifier."""
    single = tuple(source for source in AIDON_LIVE if source not in OTHER_PHASES)
    assert profile_of("aidon_3phase").groups == {"live": AIDON_LIVE, "hourly": AIDON_HOURLY}
    assert profile_of("aidon_1phase").groups == {"live": single, "hourly": AIDON_HOURLY}
    for phases, live in ((1, single), (3, AIDON_LIVE)):
        kaifa = profile_of(f"kaifa_{phases}phase")
        assert kaifa.groups["live"] == ("1-0:0.2.129.255", *live[1:])
        assert kaifa.groups["hourly"] == AIDON_HOURLY
        assert (kaifa.identity, kaifa.more) == (("0-0:96.1.0.255",), ())
        assert kaifa.serial == SerialParams(2400, 8, "E", 1)


def test_list_of_aidon_in_sweden() -> None:
    """han.md 2.5: neither identifier nor number, powers by phase, registers every 10 s."""
    profile = profile_of("aidon_se")
    powers = tuple(f"1-0:{code}.7.0.255" for code in (21, 41, 61, 22, 42, 62))
    assert profile.groups == {
        "live": (*AIDON_LIVE[3:13], *powers, *AIDON_LIVE[13:]),
        "hourly": AIDON_HOURLY,
    }
    assert profile.periods == {"live": 10, "hourly": 10}
    assert (profile.identity, profile.serial) == ((), SerialParams(2400, 8, "E", 1))


def test_auto_accepts_the_lists_of_all_makers() -> None:
    auto = profile_of("auto")
    for model_id, model in registry.models_of("han").items():
        missing = set(model.profiles["han"].sources) - set(auto.sources)
        assert not missing, model_id
        assert set(model.profiles["han"].identity) <= set(auto.identity)
