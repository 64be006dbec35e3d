"""Every polled and pushing model can be emulated; what is unknown is named with what there is."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.emulators.registry import emulated_models, make_emulator
from kamstrup_mqtt.meters import registry


def test_every_model_has_an_emulator_in_every_protocol_it_speaks() -> None:
    found = emulated_models()
    assert set(found) == set(registry.all_models())
    for model_id, protocols in found.items():
        assert protocols == tuple(registry.all_models()[model_id].profiles)
        for protocol in protocols:
            emulator = make_emulator(model_id, protocol)
            assert hasattr(emulator, "push") is registry.all_protocols()[protocol].is_pushed


def test_the_first_protocol_is_the_default() -> None:
    assert type(make_emulator("e685_382")) is type(make_emulator("e685_382", "kmp-ascii"))


@pytest.mark.parametrize(
    ("model", "protocol", "settings", "message"),
    [
        ("multical_999", None, {}, "multical_999: no such meter to emulate; choose from .*403"),
        ("e685_382", "kmp", {}, "does not speak kmp; it speaks kmp-ascii and iec62056-21"),
        ("multical_403", None, {"nonsense": "1"}, "multical_403 over kmp: .*nonsense"),
    ],
)
def test_unsupported_requests(
    model: str, protocol: str | None, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_emulator(model, protocol, settings)
