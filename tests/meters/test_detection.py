"""Detection of a model by answers and lists."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from kamstrup_mqtt.core.model import DecodedValue, Scalar, SourceId
from kamstrup_mqtt.meters import detection, registry
from kamstrup_mqtt.meters.auto import AUTO, auto_model
from kamstrup_mqtt.meters.detection import detect_list_model, detect_model, detection_registers
from kamstrup_mqtt.meters.model import Detection, ListDetection
from kamstrup_mqtt.protocols.base import Timestamp
from kamstrup_mqtt.protocols.han import HanCodec
from tests.meters.vectors import Vector, objects_of, readings
from tests.support.framing import frames_of
from tests.support.han_session import process


def answered(type_: str, *ids: SourceId) -> list[DecodedValue]:
    """A number for each register, and the answer to GetType."""
    return [DecodedValue("type", type_, type_), *(DecodedValue(id_, 1, Decimal(1)) for id_ in ids)]


def named(name: Scalar, *ids: SourceId) -> list[DecodedValue]:
    """The same from a meter whose type number says nothing, and register 404."""
    raw = None if name is None else str(name)
    return [*answered("0006", *ids), DecodedValue(404, raw, name)]


@pytest.mark.parametrize(
    ("objects", "model"),
    [
        # kmp.md 1.4: GetType of the 601, also through a 67-05 module
        (answered("0001", 60, 68, 155), "multical_601"),
        (answered("1504", 60, 68), "multical_601"),
        (answered("0006", 60, 68, 155), "multical_602"),
        (answered("0006", 60, 68, 171), "multical_801"),
        (answered("0006", 60, 68, 155, 171), "multical_801"),
        (answered("0001", 60, 68, 171), "multical_801"),
        (answered("0006", 60, 68), "multical_402"),
        (answered("0006", 60, 68, 266, 369), "multical_403"),
        (answered("0001", 60, 68, 266, 369), "multical_403"),
        (answered("0006", 60, 68, 155, 171, 266, 369), "multical_403"),
        (answered("0006", 60, 68, 266, 239), "multical_302"),
        (answered("0006", 60, 155, 266), "multical_302"),
        # kmp.md 2.1, column W: registers 243 and 292 are the 21's and the flowIQ's alone
        (answered("0006", 68, 74, 243, 292), "multical_21"),
        (answered("0006", 68, 292), "multical_21"),
        (answered("0006", 68, 74), "kmp_meter"),
        (answered("0006", 404), "kmp_meter"),
        ([], "kmp_meter"),
        # AIMIR: the first byte, in decimal, of electricity meters
        (answered("3500", 1, 1023), "kamstrup_382"),
        (answered("3801", 1, 1023), "kamstrup_162"),
        (answered("4700", 1), "kamstrup_162"),
        (answered("3A00", 1), "kamstrup_282"),
        (answered("4900", 1023), "kamstrup_282"),
        (answered("4B00", 1), "kamstrup_351"),
        (answered("5A00", 1, 1023), "kamstrup_omnia"),
        (answered("FF00", 1, 1023), "kamstrup_382"),
        ([DecodedValue(1, 1, Decimal(1))], "kamstrup_382"),
    ],
)
def test_registers_and_type_number(objects: list[DecodedValue], model: str) -> None:
    assert detect_model(objects) == model


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("MULTICAL 603", "multical_603"),
        ("MC303", "multical_303"),
        ("Multical® 403-W", "multical_403"),
        (Decimal(603), "multical_603"),
        (Decimal(6030012), "multical_603"),
        ("302", "multical_302"),
        # a number that is no name: the registers decide
        (Decimal(7), "multical_403"),
        (Decimal(1302001), "multical_403"),
        (None, "multical_403"),
        # a name that is no model's: a meter that is not known
        ("MULTICAL 62", "kmp_meter"),
        ("MULTICAL 8031", "kmp_meter"),
        ("XYZ", "kmp_meter"),
    ],
)
def test_name_in_register_404(name: Scalar, model: str) -> None:
    assert detect_model(named(name, 60, 266, 369)) == model


def test_a_number_is_a_name_only_on_heat_meters() -> None:
    assert detect_model(named(Decimal(403), 74)) == "kmp_meter"


def test_a_water_meter_with_an_unknown_name_is_not_a_21() -> None:
    assert detect_model(named("MULTICAL 62", 68, 74, 243)) == "kmp_meter"
    assert detect_model(named("MULTICAL 21", 68, 74)) == "multical_21"
    assert detect_model(named("flowIQ 2200", 68, 74)) == "multical_21"


def test_a_new_file_is_detected_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """C1: a model whose file is added is found without another change."""
    twin = registry.all_models()["multical_603"]
    profile = replace(twin.profiles["kmp"], detection=Detection(names=("999",)))
    known = {**registry.models_of("kmp"), "multical_999": replace(twin, profiles={"kmp": profile})}
    monkeypatch.setattr(registry, "models_of", lambda protocol: known)
    assert detect_model(named("MULTICAL 999", 60, 266, 369)) == "multical_999"
    assert detect_model(named(Decimal(7), 60, 266, 369)) == "multical_403"


def test_registers_of_a_new_file_are_read_for_detection() -> None:
    models = {id_: model for id_, model in registry.all_models().items() if id_ != AUTO}
    twin = models["multical_603"]
    profile = replace(twin.profiles["kmp"], detection=Detection(sources=(60, 4711)))
    found = auto_model({**models, "multical_999": replace(twin, profiles={"kmp": profile})})
    assert 4711 in found.profiles["kmp"].groups["values"]


def test_the_registers_that_tell_models_apart() -> None:
    """Two requests of eight: the first tells heat, water and electricity meters apart."""
    assert detection_registers() == (
        *(60, 68, 74, 86, 1, 1023, 404, 1058),
        *(266, 369, 239, 155, 171, 243, 292, 1126),
    )


@pytest.mark.parametrize(
    ("sources", "baudrate", "model"),
    [
        # iec62056_21.md 7
        (("0.0", "6.8", "6.26", "6.31"), 300, "multical_401"),
        (("0.0", "1.20", "1.20.1"), 300, "e685_382"),
        (("0.0.0", "1.8.0", "96.8.0"), 300, "kamstrup_382c"),
        (("0.0.0", "1.8.0", "96.8.0"), 9600, "kamstrup_382l"),
        (("0.0.0", "1.8.0"), 9600, "iec_meter"),
        ((), 300, "iec_meter"),
    ],
)
def test_readouts(sources: tuple[str, ...], baudrate: int, model: str) -> None:
    objects = [DecodedValue(source, "1", Decimal(1)) for source in sources]
    assert detect_model(objects, "iec62056-21", baudrate) == model


@pytest.mark.parametrize(
    ("maker", "phases", "list_id", "model"),
    [
        ("kamstrup", 3, "Kamstrup_V0001", "kamstrup_han_3phase"),
        ("kamstrup", 1, "Kamstrup_V0001", "kamstrup_han_1phase"),
        ("kamstrup", 3, None, "kamstrup_han_3phase"),
        ("aidon", 3, "AIDON_V0001", "aidon_3phase"),
        ("aidon", 3, "EMBRIQ_V1_1", "aidon_3phase"),
        ("aidon", 3, "an unknown one", "aidon_3phase"),
        ("aidon", 3, None, "aidon_se"),
        ("aidon", 1, "AIDON_V0001", "aidon_1phase"),
        ("kaifa", 3, "KFM_001", "kaifa_3phase"),
        ("kaifa", 1, "KFM_001", "kaifa_1phase"),
        ("another", 3, "ANOTHER_1", None),
    ],
)
def test_lists(maker: str, phases: int, list_id: str | None, model: str | None) -> None:
    assert detect_list_model(maker, phases, list_id) == model


def test_longest_prefix_of_the_list_identifier_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for a new list needs no change of the others."""
    twin = registry.all_models()["aidon_3phase"]
    rule = ListDetection(maker="aidon", phases=3, list_ids=("AIDON_V0002",))
    profile = replace(twin.profiles["han"], detection=rule)
    known = {**registry.models_of("han"), "aidon_new": replace(twin, profiles={"han": profile})}
    monkeypatch.setattr(registry, "models_of", lambda protocol: known)
    detection._list_rules.cache_clear()
    try:
        assert detect_list_model("aidon", 3, "AIDON_V0002") == "aidon_new"
        assert detect_list_model("aidon", 3, "AIDON_V0001") == "aidon_3phase"
        assert detect_list_model("aidon", 3, "unknown") == "aidon_3phase"
        assert detect_list_model("aidon", 3, None) == "aidon_se"
    finally:
        detection._list_rules.cache_clear()


def test_every_distinguishable_model_can_be_detected() -> None:
    """Without a rule: `auto` itself, and meters whose answers are those of another model."""
    without = {
        (model_id, protocol)
        for model_id, model in registry.all_models().items()
        for protocol, profile in model.profiles.items()
        if profile.detection is None
    }
    assert without == {
        (AUTO, "han"),
        (AUTO, "kmp"),
        ("e685_382", "kmp-ascii"),
        ("multical_66", "iec62056-21"),
        ("multical_66", "multical-66"),
    }


def test_rules_fit_their_protocol() -> None:
    for model in registry.all_models().values():
        for protocol, profile in model.profiles.items():
            kind = ListDetection if protocol == "han" else Detection
            assert profile.detection is None or isinstance(profile.detection, kind)


def detect_recorded_list(vector: Vector) -> str | None:
    """The model that a HAN codec learns from the lists."""
    codec = HanCodec(detect_model=detect_list_model, **vector.options)
    learned: dict[str, str] = {}
    for frame in frames_of(codec.framer(), vector.wires):
        update = process(codec, codec.decode(frame), Timestamp(None, 0.0))
        learned.update(update.update.learned)
    return learned.get("recognised")


@pytest.mark.parametrize("vector", readings(lambda vector: vector.detected is not None))
def test_recorded_bytes_show_their_model(vector: Vector) -> None:
    if vector.protocol == "han":
        assert detect_recorded_list(vector) == vector.detected
    else:
        assert detect_model(objects_of(vector), vector.protocol) == vector.detected
