"""The KMP models: the sources of each, typed from the documents of the models."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.core.model import SerialParams, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.dependencies import sources_to_read
from kamstrup_mqtt.meters.model import ProtocolProfile

# kmp.md 2.1, the defaults per model; 2.3, the register of high resolution beside 60
DEFAULTS: dict[str, tuple[int, ...]] = {
    "multical_21": (68, 74, 99, 1004),
    "multical_302": (60, 266, 68, 74, 80, 86, 87, 89, 1004, 239),
    "multical_303": (60, 266, 68, 74, 80, 86, 87, 89, 369, 99, 1004, 175),
    "multical_402": (60, 68, 86, 87, 89, 74, 80, 1004, 99, 113),
    "multical_403": (60, 266, 68, 74, 80, 86, 87, 89, 369, 99, 1004, 175),
    "multical_601": (60, 155, 68, 86, 87, 89, 74, 80, 1004, 99, 113),
    "multical_602": (60, 155, 68, 86, 87, 89, 74, 80, 1004, 99, 113),
    "multical_603": (60, 266, 68, 74, 80, 86, 87, 89, 369, 99, 1004, 175),
    "multical_801": (60, 68, 86, 87, 89, 74, 80, 1004, 99, 113),
    "kmp_meter": (),
}

# kmp.md 2.2: phases
ELECTRICITY: dict[str, int] = {
    "kamstrup_382": 3,
    "kamstrup_162": 1,
    "kamstrup_282": 3,
    "kamstrup_351": 3,
    "kamstrup_omnia": 3,
}
PROBLEMS = {
    *("problem_leak", "problem_burst", "problem_air", "problem_reversed_flow"),
    *("problem_probe", "problem_flow_sensor", "problem_supply"),
}
DERIVED = {
    "multical_21": {"info_text"},
    "multical_302": {"heat_energy_precise"},
    **{
        f"multical_{n}": {"heat_energy_precise", "info_text", "info_bits_text"}
        for n in (303, 403, 603)
    },
    "multical_402": {"info_text"} | PROBLEMS,
    **{f"multical_{n}": {"heat_energy_precise", "info_text"} | PROBLEMS for n in (601, 602)},
    "multical_801": {"info_text"},
}


def profile_of(model_id: str) -> ProtocolProfile:
    return registry.all_models()[model_id].profiles["kmp"]


def listed(model_id: str) -> set[SourceId]:
    profile = profile_of(model_id)
    return {*profile.groups["values"], *profile.more}


def test_models_that_speak_kmp() -> None:
    assert set(registry.models_of("kmp")) >= {*DEFAULTS, *ELECTRICITY, "auto"}


@pytest.mark.parametrize("model_id", DEFAULTS)
def test_sources_of_a_model(model_id: str) -> None:
    model, profile = registry.all_models()[model_id], profile_of(model_id)
    values = profile.groups["values"]
    assert tuple(profile.groups) == ("values",)
    assert tuple(s for s in values if isinstance(s, int)) == DEFAULTS[model_id]
    assert {s for s in values if isinstance(s, str)} == DERIVED.get(model_id, set())
    assert sources_to_read(profile, values) == DEFAULTS[model_id]
    assert profile.identity == ("serial_no", 1001)
    assert profile.serial is None
    assert model.manufacturer == "Kamstrup"
    assert model.has_battery
    mediums = {"multical_21": "water", "kmp_meter": "any"}
    assert model.medium == mediums.get(model_id, "heat")


@pytest.mark.parametrize("model_id", DEFAULTS)
def test_every_register_of_a_model_has_its_own_key(model_id: str) -> None:
    profile = profile_of(model_id)
    keys = [registry.quantity_for("kmp", profile, source).key for source in listed(model_id)]
    assert len(keys) == len(set(keys))


def test_high_resolution_energy_by_model() -> None:
    with_266 = {model_id for model_id in DEFAULTS if 266 in listed(model_id)}
    with_155 = {model_id for model_id in DEFAULTS if 155 in listed(model_id)}
    assert with_266 == {"multical_302", "multical_303", "multical_403", "multical_603"}
    assert with_155 == {"multical_601", "multical_602"}


@pytest.mark.parametrize(
    ("model_id", "register"),
    [
        ("multical_403", 369),
        ("multical_302", 239),
        ("multical_603", 239),
        ("multical_303", 267),
    ],
)
def test_unconfirmed_registers_are_disabled_and_not_totals(model_id: str, register: int) -> None:
    quantity = registry.quantity_for("kmp", profile_of(model_id), register)
    assert quantity.key == f"register_{register}"
    assert quantity.name.endswith("(unconfirmed)")
    assert (quantity.device_class, quantity.state_class, quantity.enabled) == (None, None, False)
    assert quantity.category == "diagnostic"


@pytest.mark.parametrize("model_id", DEFAULTS)
def test_disputed_info_codes_are_disabled(model_id: str) -> None:
    """kmp.md 2.5: a sum on 601, 602, 402; not confirmed or in conflict on the others."""
    info = registry.quantity_for("kmp", profile_of(model_id), 99)
    assert (info.key, info.category, info.state_class) == ("info_code", "diagnostic", None)
    known = model_id in ("multical_601", "multical_602", "multical_402", "kmp_meter")
    assert info.enabled is known
    assert info.name == ("Info code" if known else "Info code (unconfirmed)")


@pytest.mark.parametrize(
    ("model_id", "register"), [("multical_403", 266), ("multical_302", 266), ("multical_602", 155)]
)
def test_high_resolution_registers_are_not_totals(model_id: str, register: int) -> None:
    quantity = registry.quantity_for("kmp", profile_of(model_id), register)
    assert quantity.key == f"register_{register}"
    assert (quantity.device_class, quantity.state_class, quantity.enabled) == (None, None, False)
    assert profile_of(model_id).high_resolution == register


@pytest.mark.parametrize("model_id", DEFAULTS)
def test_texts_of_disputed_info_codes_are_disabled(model_id: str) -> None:
    profile = profile_of(model_id)
    for key in DERIVED.get(model_id, set()) & {"info_text", "info_bits_text"}:
        quantity = registry.quantity_for("kmp", profile, key)
        sure = key == "info_text" and bool(DERIVED[model_id] & PROBLEMS)
        assert quantity.enabled is sure
        assert quantity.name.endswith("(unconfirmed)") is not sure


@pytest.mark.parametrize(("model_id", "phases"), ELECTRICITY.items())
def test_electricity_meters(model_id: str, phases: int) -> None:
    model, profile = registry.all_models()[model_id], profile_of(model_id)
    assert (model.medium, model.has_battery) == ("electricity", False)
    assert profile.serial == SerialParams(9600, 8, "N", 1)
    keys = {registry.quantity_for("kmp", profile, s).key for s in profile.groups["values"]}
    lines = range(1, phases + 1)
    assert keys == {
        *("energy_import", "energy_export", "power_import", "power_export"),
        *("energy_import_tariff_1", "energy_import_tariff_2"),
        *(f"{what}_l{n}" for what in ("voltage", "current") for n in lines),
    }
    # PHK, BIP, CONPOT, AIMIR: the rest of kmp.md 2.2
    assert {13, 14, 3, 15, 31, 34, 1059, 1074, 1025, 1080, 1344, 1170, 1173, 1215, 39, 46} <= set(
        profile.more
    )


def test_interval_of_a_402() -> None:
    """kmp.md 4: its eye sleeps about 30 minutes after the last activity."""
    model = registry.all_models()["multical_402"]
    assert (model.interval, model.sleeps_after) == (28 * 60, 30 * 60)


def test_volume_of_a_water_meter_is_water() -> None:
    volume = registry.quantity_for("kmp", profile_of("multical_21"), 68)
    assert (volume.key, volume.device_class, volume.unit) == ("volume", "water", "m³")
    reverse = registry.quantity_for("kmp", profile_of("multical_21"), 243)
    assert (reverse.key, reverse.device_class) == ("register_243", "water")
    heat = registry.quantity_for("kmp", profile_of("multical_403"), 68)
    assert heat.device_class == "volume"


def test_optional_sources() -> None:
    # S of the table: the 601's year and month; 8: the 801's modules; J: the 303/403/603's dates
    assert {63, 123, 130, 138, 145, 1002, 1003, 153, 157} <= listed("multical_601")
    assert {171, 184, 221} <= listed("multical_801")
    assert {473, 348, 404, 390, 675} <= listed("multical_403")
    assert {243, 292, 299} <= listed("multical_21")
    assert {146, 150, 97} <= listed("multical_402")
