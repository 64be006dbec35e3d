"""KAMSTRUP_MQTT_REFERENCE_PARSER switches the fast path off in every codec of the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.environment import REFERENCE_PARSER, uses_fast_path
from kamstrup_mqtt.daemon.app import App
from kamstrup_mqtt.protocols.base import Frame
from kamstrup_mqtt.protocols.fast_path.han import ListTemplate
from tests.support.han_recordings import LIVE_1, LIVE_3


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, True), ({REFERENCE_PARSER: ""}, True), ({REFERENCE_PARSER: "0"}, True)]
    + [({REFERENCE_PARSER: value}, False) for value in ("1", "yes")],
)
def test_switch(environ: dict[str, str], expected: bool) -> None:
    assert uses_fast_path(environ) is expected
    assert REFERENCE_PARSER == "KAMSTRUP_MQTT_REFERENCE_PARSER"


@pytest.mark.parametrize(("switch", "expected"), [({}, 1), ({REFERENCE_PARSER: "1"}, 0)])
async def test_daemon_passes_the_switch_to_its_codecs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: dict[str, str], expected: int
) -> None:
    calls: list[Frame] = []
    original = ListTemplate.read

    def counted(self: ListTemplate, frame: Frame) -> object:
        calls.append(frame)
        return original(self, frame)

    monkeypatch.setattr(ListTemplate, "read", counted)
    meter = {"name": "Main", "protocol": "han", "port": "tcp://127.0.0.1:1"}
    config = Config.model_validate({"mqtt": {"host": "127.0.0.1"}, "meters": [meter]})
    directories = dict.fromkeys(("STATE_DIRECTORY", "RUNTIME_DIRECTORY"), str(tmp_path))
    app = App(config, environ={**directories, **switch})
    (reader,) = app.build().readers.values()
    codec = reader.config.codec
    for wire in (LIVE_1, LIVE_3):
        framer = codec.framer()
        framer.receive_data(wire)
        frame = framer.next_event()
        assert isinstance(frame, Frame)
        assert len(codec.decode(frame).objects) > 10
    assert len(calls) == expected
