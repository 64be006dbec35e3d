"""What several tests of the MQTT room need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kamstrup_mqtt.mqtt import connector
from tests.support.broker import Mosquitto, Watcher, running, watching
from tests.support.publisher import PublisherRig, make_config


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that lets everybody in."""
    with running(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture(params=["paho", "aiomqtt"])
def interface(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the paho client inside aiomqtt, and as if there were no access to it."""
    if request.param == "aiomqtt":
        monkeypatch.setattr(connector, "find_paho_client", lambda client: None)
    return str(request.param)


@pytest.fixture
def rig(broker: Mosquitto) -> PublisherRig:
    """A publisher for `broker`, to be run by the test."""
    return PublisherRig(make_config(broker.port))


@pytest.fixture
async def watcher(broker: Mosquitto) -> AsyncIterator[Watcher]:
    """A client that sees all messages of `broker`."""
    async with watching(broker.port) as watcher:
        yield watcher
