"""Which meter it is: from one list, by maker, phases and type number (han.md 2)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from kamstrup_mqtt.core.model import DecodedValue
from kamstrup_mqtt.emulators.registry import make_emulator
from kamstrup_mqtt.meters.detection import detect_list_model
from kamstrup_mqtt.protocols.base import Frame, Message, Timestamp
from kamstrup_mqtt.protocols.han import HanCodec, HdlcFramer
from kamstrup_mqtt.protocols.han.meter_type import KEYS, identify_model, no_model
from tests.support.framing import frames_of
from tests.support.han_recordings import HOURLY_1, LIVE_1
from tests.support.han_session import process
from tests.support.shared_vectors import shared_vectors

KAMSTRUP = {"recognised": "kamstrup_han_3phase", "manufacturer": "Kamstrup"}
DIRECT, TRANSFORMERS = {"connection": "direct"}, {"connection": "transformers"}


def learned(codec: HanCodec, frame: Frame) -> dict[str, str]:
    processed = process(codec, codec.decode(frame), Timestamp(None, 0.0))
    return {key: value for key, value in processed.update.learned.items() if key in KEYS}


def of_wire(wire: bytes) -> dict[str, str]:
    (frame,) = frames_of(HdlcFramer(), [wire])
    return learned(HanCodec(energy_scale=10, detect_model=detect_list_model), frame)


@pytest.mark.parametrize("wire", [LIVE_1, HOURLY_1])
def test_the_seeds_meter(wire: bytes) -> None:
    assert of_wire(wire) == {**KAMSTRUP, **DIRECT}


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        ("kamstrup_han_3phase", {"meter_type": "6851121BN243101040"}, {**KAMSTRUP, **TRANSFORMERS}),
        ("kamstrup_han_3phase", {"list": "push1"}, KAMSTRUP),  # has no type
        (
            "kamstrup_han_3phase",
            {"list": "push1", "current_scale": "0.001", "power_import": "7000"},
            {**KAMSTRUP, **TRANSFORMERS},
        ),
        (
            "kamstrup_han_1phase",
            {},
            {"recognised": "kamstrup_han_1phase", "manufacturer": "Kamstrup", **DIRECT},
        ),
        ("aidon_1phase", {}, {"recognised": "aidon_1phase", "manufacturer": "Aidon", **DIRECT}),
        ("aidon_3phase", {}, {"recognised": "aidon_3phase", "manufacturer": "Aidon", **DIRECT}),
        (
            "aidon_3phase",
            {"list_id": "EMBRIQ_V1_1", "meter_type": "ZFF1"},
            {"recognised": "aidon_3phase", "manufacturer": "Landis+Gyr"},
        ),
        ("aidon_se", {}, {"recognised": "aidon_se", "manufacturer": "Aidon"}),
        ("kaifa_1phase", {}, {"recognised": "kaifa_1phase", "manufacturer": "Kaifa", **DIRECT}),
        ("kaifa_3phase", {}, {"recognised": "kaifa_3phase", "manufacturer": "Kaifa", **DIRECT}),
        (
            "kaifa_3phase",
            {"meter_type": "MA304T4"},
            {"recognised": "kaifa_3phase", "manufacturer": "Kaifa", **TRANSFORMERS},
        ),
    ],
)
def test_the_lists_of_every_maker(
    model: str, settings: dict[str, str], expected: dict[str, str]
) -> None:
    meter: Any = make_emulator(model, "han", settings)
    assert of_wire(meter.push(datetime(2026, 1, 29, 12, 30, 10))) == expected  # noqa: DTZ001


def test_a_list_with_too_few_values_changes_nothing() -> None:
    codec = HanCodec(detect_model=detect_list_model)
    (frame,) = frames_of(HdlcFramer(), [LIVE_1])
    learned(codec, frame)
    power = DecodedValue("1-1:1.7.0.255", 5, None, "W")
    processed = process(
        codec, Message({"maker": "kamstrup", "elements": 3}, (power,)), Timestamp(None, 1.0)
    )
    assert processed.update.learned["recognised"] == "kamstrup_han_3phase"
    assert identify_model(Message({"maker": None}, (power,)), {"1.7.0": power}, no_model) == {}
    assert identify_model(Message({"maker": "kaifa"}, (power,)), {"1.7.0": power}, no_model) == {}


def test_the_maker_is_known_without_models() -> None:
    codec = HanCodec()
    (frame,) = frames_of(HdlcFramer(), [LIVE_1])
    assert learned(codec, frame) == {"manufacturer": "Kamstrup", **DIRECT}


def test_recognised_models_are_remembered() -> None:
    before = {**KAMSTRUP, **DIRECT, "energy_scale": "10"}
    processed = process(
        HanCodec(learned=before), Message({"maker": None}, ()), Timestamp(None, 0.0)
    )
    assert {key: processed.update.learned.get(key) for key in KEYS} == {**KAMSTRUP, **DIRECT}


@pytest.mark.parametrize(
    "vector",
    shared_vectors("han.json", lambda v: v["name"] in ("amsreader_gh216-1", "seed_1h_1")),
)
def test_recorded_ones(vector: dict[str, Any]) -> None:
    connection = {"amsreader_gh216-1": TRANSFORMERS, "seed_1h_1": DIRECT}[vector["name"]]
    assert of_wire(bytes.fromhex(vector["hex"])) == {**KAMSTRUP, **connection}
