"""Discovery of protocols and models by file."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from kamstrup_mqtt.meters import models, registry
from kamstrup_mqtt.meters.auto import AUTO
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile
from kamstrup_mqtt.meters.registry import RegistryError
from kamstrup_mqtt.protocols import kmp

CACHED = (registry.all_models, registry.models_of, registry.find_protocol)


@pytest.fixture(autouse=True)
def clear_caches() -> Iterator[None]:
    """Models and protocols are read again in each test, and after it."""
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()


@pytest.fixture
def only_model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that makes its argument the MODEL of the only model file."""

    class Info:
        name = "broken"

    def set_model(model: object) -> None:
        module = ModuleType("kamstrup_mqtt.meters.models.broken")
        module.MODEL = model  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(pkgutil, "iter_modules", lambda path: iter([Info]))

    return set_model


def model_of(profiles: dict[str, ProtocolProfile]) -> MeterModel:
    return MeterModel(name="Broken", medium="heat", profiles=profiles)


TWICE_IN_GROUPS = ProtocolProfile(groups={"values": (60, 60)})
TWICE = ProtocolProfile(groups={"values": (60,)}, more=(60,))


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (None, "no MODEL of type MeterModel"),
        (model_of({}), "speaks no protocol"),
        (model_of({"kmq": ProtocolProfile(groups={})}), "unknown protocol kmq"),
        (model_of({"kmp": TWICE_IN_GROUPS}), "a source is listed twice for kmp"),
        (model_of({"kmp": TWICE}), "a source is listed twice for kmp"),
    ],
)
def test_malformed_model(only_model: Any, model: object, error: str) -> None:
    registry._protocol_names()  # cached: only models are replaced
    only_model(model)
    with pytest.raises(RegistryError, match=f"kamstrup_mqtt.meters.models.broken: {error}"):
        registry.all_models()


def test_override_of_an_unknown_field(only_model: Any) -> None:
    registry._protocol_names()
    profile = ProtocolProfile(groups={"values": (60,)}, overrides={60: {"colour": "red"}})
    only_model(model_of({"kmp": profile}))
    with pytest.raises(TypeError, match="colour"):
        registry.models_of("kmp")


def test_unknown_protocol() -> None:
    with pytest.raises(KeyError):
        registry.find_protocol("fast-path")


def test_malformed_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmp, "SPEC", None)
    with pytest.raises(RegistryError, match="no SPEC of type ProtocolSpec with the name kmp"):
        registry.find_protocol("kmp")


def test_every_file_is_a_model() -> None:
    names = [module.name for module in pkgutil.iter_modules(models.__path__)]
    assert sorted([*names, AUTO]) == list(registry.all_models())


def test_key_and_quantity_of_a_source() -> None:
    assert registry.key_of("kmp", 60) == "heat_energy"
    assert registry.key_of("kmp", "info_text") == "info_text"
    assert registry.key_of("kmp", 4711) is None
    assert registry.quantity_for("kmp", None, 4711).name == "Register 4711"
    water = registry.all_models()["multical_21"].profiles["kmp"]
    assert registry.quantity_for("kmp", water, 68).device_class == "water"
