"""The publisher against a real Mosquitto. Expected topics and payloads: docs/topics.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kamstrup_mqtt.config import Config, HomeAssistantConfig
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.model import Diagnosis, Identity, LinkState, Measurement, Reading
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.devices.device import Device, DeviceConfig
from kamstrup_mqtt.mqtt import Daemon, Limits, Publisher
from kamstrup_mqtt.mqtt.aiomqtt_client import Client
from kamstrup_mqtt.mqtt.backoff import Backoff
from kamstrup_mqtt.mqtt.connection import Trouble
from kamstrup_mqtt.mqtt.incoming import Host
from kamstrup_mqtt.mqtt.session import SessionLimits
from kamstrup_mqtt.mqtt.threads import use_daemon_threads
from kamstrup_mqtt.storage.state_file import StateFile
from tests.support.broker import Mosquitto, Watcher, eventually, free_port, running, watching
from tests.support.mqtt_proxy import proxied

ROOT = "kamstrup/main"
DISCOVERY = "homeassistant/device/kamstrup_main_{}/config"
TIME = datetime(2026, 11, 21, 3, 30, 0, 123000, tzinfo=UTC)
QUICK = Limits(
    connect=5.0,
    ack=2.0,
    first_backoff=0.02,
    backoff_cap=0.05,
    slow_backoff=0.05,
    tick=0.02,
    diagnostics=60.0,
    farewell=2.0,
    leave=0.5,
    session=SessionLimits(settle=0.1, settle_cap=2.0, birth=(0.05, 0.1), idle=0.1),
)
SERIAL = {"heat": "6654321", "power": "18000001"}


def make_config(port: int, **mqtt: Any) -> Config:
    return Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": port, **mqtt},
            "meters": [
                {
                    "name": name,
                    "id": id_,
                    "protocol": "kmp-ascii",
                    "port": f"tcp://127.0.0.1:{9 + index}",
                    "interval": 60,
                }
                for index, (id_, name) in enumerate([("heat", "Varme"), ("power", "Strøm")])
            ],
        }
    )


class Bench:
    """A publisher with everything it needs, and without readers: the test is the readers."""

    def __init__(self, config: Config, memory_path: Path | None = None) -> None:
        self.config = config
        self.clock = Clock(wall=lambda: TIME.timestamp())
        self.memory = StateFile(memory_path, self.clock)
        self.outbox = ReportQueue()
        self.asked: list[str] = []
        self.refusal: str | None = None
        self.limits = QUICK
        self.host = Host(name="pi", boot="boot-1")
        self.publisher: Publisher

    def facts(self) -> Iterator[DeviceConfig]:
        for meter in self.config.meters:
            yield DeviceConfig(
                id=meter.id,
                name=meter.name,
                model_id=meter.model,
                model=meter.meter_model,
                plan=meter.plan(),
                interval=meter.interval_seconds,
            )

    def request_read(self, meter: str) -> str | None:
        self.asked.append(meter)
        return self.refusal

    @contextlib.asynccontextmanager
    async def run(self, *, offline: bool = True) -> AsyncIterator[Publisher]:
        self.memory.open()
        now = self.clock.monotonic()
        pictures = {f.id: Device(f, self.memory.meter(f.id), now) for f in self.facts()}
        self.publisher = Publisher(
            self.config,
            pictures,
            self.memory,
            self.outbox,
            self.clock,
            Daemon(
                version="1.2.3",
                host=self.host,
                started="2026-11-21T03:00:00.000Z",
                config_hash="abc",
            ),
            request_read=self.request_read,
            limits=self.limits,
            rng=random.Random(1),
        )
        task = asyncio.create_task(self.publisher.run())
        try:
            yield self.publisher
            self.publisher.stop(offline=offline)
            await asyncio.wait_for(task, 10)
        finally:
            task.cancel()
            await asyncio.wait([task])
            self.memory.close()

    async def connected(self) -> None:
        await eventually(lambda: self.publisher.connected, "connected to the broker")

    def identify(self, meter: str, serial: str | None = None) -> None:
        source = next(m for m in self.config.meters if m.id == meter).profile.identity[0]
        self.outbox.put(Identity(meter=meter, serial=serial or SERIAL[meter], source=source))

    def read(self, meter: str, energy: str | None, **more: str) -> None:
        values = {"energy_import": energy, **more}
        self.outbox.put(
            Reading(
                meter=meter,
                group="values",
                time=TIME,
                values={
                    key: Measurement(None)
                    if text is None
                    else Measurement(Decimal(text), {"energy_import": "kWh"}.get(key, "h"))
                    for key, text in values.items()
                },
            )
        )

    def diagnose(self, meter: str, state: LinkState, frames: int = 0) -> None:
        self.outbox.put(
            Diagnosis(meter=meter, link_state=state, last_error=None, counters={"frames": frames})
        )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture
def bench(broker: Mosquitto) -> Bench:
    return Bench(make_config(broker.port))


@pytest.fixture
async def watcher(broker: Mosquitto) -> AsyncIterator[Watcher]:
    async with watching(broker.port) as watcher:
        yield watcher


def components(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["components"]
    return found


def password_file(directory: Path) -> Path:
    path = directory / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "km", "right"], check=True)
    return path


def test_the_defaults() -> None:
    limits = Limits()
    assert (limits.connect, limits.ack) == (30.0, 10.0)
    assert (limits.first_backoff, limits.backoff_cap, limits.slow_backoff) == (1.0, 60.0, 60.0)
    assert (limits.quick_loss, limits.quick_losses) == (10.0, 3)
    assert (limits.diagnostics, limits.tick) == (60.0, 5.0)
    assert limits.farewell + limits.leave < 5.0
    assert limits.session.birth == (1.0, 3.0)


async def test_a_reading_becomes_a_retained_state_with_every_digit(
    bench: Bench, broker: Mosquitto, watcher: Watcher
) -> None:
    async with bench.run():
        bench.identify("heat")
        bench.read("heat", "65535.123456789012", operating_hours="0.0")
        state = await watcher.until(f"{ROOT}/heat/state/values")
        assert state == (
            '{"time": "2026-11-21T03:30:00.123Z", "energy_import": 65535.123456789012,'
            ' "operating_hours": 0.0}'
        )
        await watcher.until(f"{ROOT}/heat/status", "online")
        await watcher.until(f"{ROOT}/power/status", "offline")
        await watcher.until(f"{ROOT}/bridge/status", "online")
        found = components(await watcher.until(DISCOVERY.format("heat")))
        assert "energy_import" in found
    await watcher.until(f"{ROOT}/bridge/status", "offline")
    async with watching(broker.port) as later:
        assert await later.until(f"{ROOT}/heat/state/values") == state


async def test_on_connect_everything_comes_in_its_order(bench: Bench, watcher: Watcher) -> None:
    bench.identify("heat")
    bench.read("heat", "1")
    async with bench.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        wanted = [
            f"{ROOT}/heat/status",
            DISCOVERY.format("heat"),
            f"{ROOT}/heat/state/values",
            f"{ROOT}/heat/diagnostics",
            f"{ROOT}/bridge/info",
            f"{ROOT}/bridge/status",
        ]
        assert watcher.order(*wanted) == wanted
        info = json.loads(watcher.last[f"{ROOT}/bridge/info"])
        history = info.pop("history")
        assert re.fullmatch("[0-9a-f]{16}", history.pop("boot"))
        assert history == {
            "spool": "memory",
            "disk": "unused",
            "waiting": 1,
            "on_disk": 0,
            "delivered": 0,
            "dropped": 0,
        }
        assert info == {
            "version": "1.2.3",
            "instance": "main",
            "host": "pi",
            "boot": "boot-1",
            "started": "2026-11-21T03:00:00.000Z",
            "config_hash": "abc",
            "meters": ["heat", "power"],
            "queue": 0,
            "dropped": 0,
            "reconnects": 0,
        }
        assert DISCOVERY.format("power") not in watcher.last, "its serial number is not known"


async def test_a_device_is_announced_before_the_one_before_it_is_acknowledged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand meters, each a round trip to a slow broker, would be offline for long."""
    happened: list[tuple[str, str]] = []
    send = Client.send

    def noted(self: Client, topic: str, payload: str, acked: Any, *, retain: bool) -> None:
        def noted_too() -> None:
            happened.append(("acked", topic))
            acked()

        happened.append(("sent", topic))
        send(self, topic, payload, noted_too, retain=retain)

    monkeypatch.setattr(Client, "send", noted)
    for meter in ("heat", "power"):
        bench.identify(meter)
        bench.read(meter, "1")
    async with bench.run():
        await bench.connected()
    one, other = DISCOVERY.format("heat"), DISCOVERY.format("power")
    assert happened.index(("sent", other)) < happened.index(("acked", one))
    last = max(happened.index(("acked", topic)) for topic in (one, other))
    assert last < happened.index(("sent", f"{ROOT}/heat/state/values"))


async def test_the_birth_message_brings_discovery_status_and_then_states(
    bench: Bench, watcher: Watcher
) -> None:
    bench.identify("heat")
    bench.read("heat", "1")
    async with bench.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        watcher.seen.clear()
        watcher.last.clear()
        await watcher.publish("homeassistant/status", "offline")
        await watcher.publish("homeassistant/status", "online")
        await watcher.until(f"{ROOT}/heat/state/values")
        wanted = [
            DISCOVERY.format("heat"),
            f"{ROOT}/heat/status",
            f"{ROOT}/heat/state/values",
        ]
        assert watcher.order(*wanted) == wanted


async def test_a_flood_of_birth_messages_brings_one_answer(
    bench: Bench, watcher: Watcher, logged: Callable[[int], list[str]]
) -> None:
    async with bench.run():
        bench.identify("heat")
        bench.read("heat", "1")
        await watcher.until(DISCOVERY.format("heat"))
        await watcher.until(f"{ROOT}/bridge/status", "online")
        watcher.last.clear()
        birth = [watcher.publish("homeassistant/status", "online") for _ in range(50)]
        await asyncio.gather(*birth)
        await watcher.until(f"{ROOT}/heat/state/values")
    births = [line for line in logged(20) if line.startswith("Home Assistant was started")]
    assert len(births) < 10


async def test_readings_go_on_while_the_broker_is_away(
    bench: Bench, broker: Mosquitto, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("broker: ")
    async with bench.run() as publisher:
        bench.identify("heat")
        bench.read("heat", "1")
        await bench.connected()
        broker.kill()
        await eventually(lambda: not publisher.connected, "loss noticed")
        bench.read("heat", "2")
        bench.read("heat", "3.50")
        await eventually(lambda: len(bench.outbox) == 0, "outbox drained")
        broker.start()
        await bench.connected()
        async with watching(broker.port) as watcher:
            state = json.loads(
                await watcher.until(f"{ROOT}/heat/state/values"), parse_float=Decimal
            )
            assert state["energy_import"] == Decimal("3.50")
        assert publisher.reconnects == 1
    warnings = logged(30)
    assert len(warnings) <= 2, warnings
    assert sum("connected to the broker" in line for line in logged(20)) == 2


async def test_a_broker_that_is_not_there_at_the_start(
    tmp_path: Path, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("connection refused; is the broker running")
    broker = Mosquitto(tmp_path)
    bench = Bench(make_config(broker.port))
    async with bench.run():
        await eventually(lambda: bool(logged(30)), "loss told")
        broker.start()
        try:
            await bench.connected()
        finally:
            broker.kill()
            expected_logs.append("went away")
    assert sum("connection refused" in line for line in logged(30)) == 1


async def test_a_frozen_broker_ends_the_session_after_the_ack_timeout(
    bench: Bench, broker: Mosquitto, expected_logs: list[str]
) -> None:
    expected_logs.append("broker: ")
    bench.limits = replace(QUICK, ack=0.3, connect=1.0)
    async with bench.run() as publisher:
        bench.identify("heat")
        await bench.connected()
        broker.pause()
        bench.read("heat", "7")
        await eventually(lambda: publisher.reconnects == 1, "session given up")
        broker.resume()
        await bench.connected()
        async with watching(broker.port) as watcher:
            assert '"energy_import": 7' in await watcher.until(f"{ROOT}/heat/state/values")


async def test_leaving_a_frozen_broker_takes_no_longer_than_the_farewell(
    bench: Bench, broker: Mosquitto
) -> None:
    bench.limits = replace(QUICK, farewell=0.3, leave=0.2)
    async with bench.run():
        await bench.connected()
        broker.pause()
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 2.0
    broker.resume()


async def test_an_exec_anew_beside_a_frozen_broker_says_nothing(
    bench: Bench, broker: Mosquitto, watcher: Watcher
) -> None:
    bench.limits = replace(QUICK, farewell=0.3, leave=0.2)
    async with bench.run(offline=False):
        await watcher.until(f"{ROOT}/bridge/status", "online")
        broker.pause()
        bench.read("heat", "1")  # so that it hangs in a publication
    broker.resume()
    await watcher.publish("done", "1")
    await watcher.until("done")
    # the Will may come: a broker that wakes up writes its acknowledgements to a connection that is
    # gone before it reads that we left
    said = broker.log.read_text().splitlines()
    ours = [line for line in said if "Received PUBLISH from kamstrup-mqtt-kamstrup-main" in line]
    assert len([line for line in ours if f"'{ROOT}/bridge/status'" in line]) == 1


async def test_killed_the_will_says_offline(bench: Bench, watcher: Watcher) -> None:
    async with bench.run(offline=False):
        await watcher.until(f"{ROOT}/bridge/status", "online")
    # an exec anew: not a word
    await watcher.publish("done", "1")
    await watcher.until("done")
    assert watcher.last[f"{ROOT}/bridge/status"] == "online"


async def test_cancelled_it_still_says_offline(bench: Bench, watcher: Watcher) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with bench.run():
            await watcher.until(f"{ROOT}/bridge/status", "online")
            raise ZeroDivisionError
    await watcher.until(f"{ROOT}/bridge/status", "offline")


async def test_a_read_command_reaches_the_reader(
    bench: Bench, watcher: Watcher, expected_logs: list[str]
) -> None:
    expected_logs += ["over 64 bytes is ignored"]
    async with bench.run():
        await bench.connected()
        await watcher.publish(f"{ROOT}/attic/read", "PRESS")
        await watcher.publish(f"{ROOT}/heat/read", "x" * 65)
        await watcher.publish(f"{ROOT}/heat/read", "x" * 64)
        bench.refusal = "read a moment ago"
        await watcher.publish(f"{ROOT}/power/read", "")
        await eventually(lambda: len(bench.asked) == 2, "readers asked")
        assert bench.asked == ["heat", "power"]


async def test_a_retained_command_is_ignored_and_told_once(
    bench: Bench, watcher: Watcher, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs += ["holds a retained message"]
    await watcher.publish(f"{ROOT}/heat/read", "PRESS", retain=True)
    async with bench.run():
        await bench.connected()
        assert bench.asked == []
        assert len(logged(30)) == 1


async def test_a_retained_command_is_told_once_and_not_at_each_connection(
    bench: Bench,
    broker: Mosquitto,
    watcher: Watcher,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs += ["holds a retained message", "the connection broke"]
    await watcher.publish(f"{ROOT}/heat/read", "PRESS", retain=True)
    async with bench.run() as publisher:
        await bench.connected()
        broker.restart()
        await eventually(lambda: publisher.reconnects == 1, "the loss noticed")
        await bench.connected()
        assert bench.asked == []
    assert sum("holds a retained message" in line for line in logged(30)) == 1


async def test_a_broker_that_never_acknowledges_is_complained_of_once(
    expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    async def connack_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(bytes.fromhex("20 02 00 00"))  # MQTT 3.1.1, 3.2
        await reader.read()
        writer.close()

    expected_logs.append("went silent, it acknowledges nothing")
    server = await asyncio.start_server(connack_only, "127.0.0.1", 0)
    bench = Bench(make_config(server.sockets[0].getsockname()[1]))
    bench.limits = replace(QUICK, ack=0.05, quick_loss=0.0, leave=0.05)
    async with server, bench.run() as publisher:
        await eventually(lambda: publisher.reconnects >= 4, "tried again and again")
        assert not publisher.connected
    assert len(logged(30)) == 1
    assert not [line for line in logged(20) if "connected to the broker" in line]


async def test_bridge_info_comes_though_the_window_is_never_empty(broker: Mosquitto) -> None:
    async with proxied(broker.port) as proxy:
        bench = Bench(make_config(proxy.port))
        bench.limits = replace(QUICK, session=replace(QUICK.session, info=0.2))
        bench.identify("heat")
        info, state = f"{ROOT}/bridge/info", f"{ROOT}/heat/state/values"
        async with bench.run():
            await bench.connected()
            proxy.delay = 0.005
            until = len(proxy.published) + 400  # some two seconds
            count = 0
            while len(proxy.published) < until:
                count += 1
                bench.read("heat", str(count))
                await asyncio.sleep(0.001)
            topics = [topic for topic, _ in proxy.published[until - 400 :]]
            proxy.delay = 0.0
        assert state in topics
        assert topics.count(info) >= 3


async def test_commands_can_be_switched_off(broker: Mosquitto, watcher: Watcher) -> None:
    bench = Bench(make_config(broker.port, commands=False))
    bench.identify("heat")
    # no advice on how to send what is not wanted: a warning would fail this test
    await watcher.publish(f"{ROOT}/heat/read", "PRESS", retain=True)
    async with bench.run():
        await bench.connected()
        await watcher.publish(f"{ROOT}/heat/read", "PRESS")
        bench.read("heat", "5")
        await watcher.until(f"{ROOT}/heat/state/values")
        assert bench.asked == []


async def test_diagnostics_at_once_when_the_link_state_changes_else_later(
    bench: Bench, watcher: Watcher
) -> None:
    bench.limits = replace(QUICK, diagnostics=0.4)
    async with bench.run():
        await bench.connected()
        bench.diagnose("heat", LinkState.OK, 1)
        topic = f"{ROOT}/heat/diagnostics"
        await eventually(
            lambda: json.loads(watcher.last.get(topic, "{}")).get("link_state") == "ok", "ok told"
        )
        watcher.seen.clear()
        for frames in range(2, 6):
            bench.diagnose("heat", LinkState.OK, frames)
        await eventually(lambda: json.loads(watcher.last[topic]).get("frames") == 5, "frames told")
        assert sum(seen == topic for seen, _ in watcher.seen) == 1
        bench.limits = QUICK
        bench.diagnose("heat", LinkState.NO_BYTES, 5)
        await eventually(
            lambda: json.loads(watcher.last[topic])["link_state"] == "no_bytes", "loss told", 0.35
        )


async def test_a_meter_that_is_exchanged_becomes_another_device(
    bench: Bench, watcher: Watcher, expected_logs: list[str]
) -> None:
    expected_logs.append("another meter answers: serial number 777, until now 6654321")
    bench.identify("heat")
    bench.read("heat", "99999")
    async with bench.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        watcher.seen.clear()
        bench.identify("heat", "777")
        bench.read("heat", "1")
        await eventually(
            lambda: '"energy_import": 1}' in watcher.last.get(f"{ROOT}/heat/state/values", ""),
            "state of the new meter",
        )
        topic = DISCOVERY.format("heat")
        payloads = [payload for seen, payload in watcher.seen if seen == topic]
        assert payloads[0] == ""
        assert "kamstrup_777" in payloads[1]
        order = [seen for seen, _ in watcher.seen]
        assert order.index(topic) < order.index(f"{ROOT}/heat/state/values")


async def test_what_is_gone_is_removed_across_restarts(
    broker: Mosquitto, tmp_path: Path, watcher: Watcher
) -> None:
    path = tmp_path / "state" / "memory.json"
    first = Bench(make_config(broker.port), path)
    for meter in ("heat", "power"):
        first.identify(meter)
        first.read(meter, "1", operating_hours="5")
    stranger = DISCOVERY.format("stranger")
    await watcher.publish(stranger, '{"device": {}, "origin": {"name": "x"}}', retain=True)
    async with first.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        assert "operating_hours" in components(watcher.last[DISCOVERY.format("heat")])
    watcher.seen.clear()
    # the power meter is configured no longer, and of the heat meter only one value
    config = make_config(broker.port).model_dump(exclude={"meters"})
    heat = {
        "name": "Varme",
        "id": "heat",
        "protocol": "kmp-ascii",
        "port": "tcp://127.0.0.1:9",
        "values": ["energy_import"],
    }
    second = Bench(make_config(broker.port), path)
    second.config = Config.model_validate({"mqtt": config["mqtt"], "meters": [heat]})
    async with second.run():
        await eventually(
            lambda: (f"{ROOT}/bridge/status", "online") in watcher.seen, "second daemon online"
        )
        assert "power" not in second.memory.meters
    heat_topic, power_topic = DISCOVERY.format("heat"), DISCOVERY.format("power")
    steps = [components(payload) for topic, payload in watcher.seen if topic == heat_topic]
    assert steps[0]["operating_hours"] == {"platform": "sensor"}
    assert "operating_hours" not in steps[1]
    assert [payload for topic, payload in watcher.seen if topic == power_topic] == [""]
    for topic in ("status", "state/values", "diagnostics"):
        assert (f"{ROOT}/power/{topic}", "") in watcher.seen
    assert stranger in watcher.last
    # nothing is cleared a second time: Home Assistant would complain
    watcher.seen.clear()
    third = Bench(second.config, path)
    async with third.run():
        await eventually(
            lambda: (f"{ROOT}/bridge/status", "online") in watcher.seen, "third daemon online"
        )
    assert not [seen for seen in watcher.seen if not seen[1]]


async def test_another_host_with_our_instance_is_named(
    bench: Bench, watcher: Watcher, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("another daemon uses instance main on this broker; set mqtt.instance")
    async with bench.run():
        await bench.connected()
        for info in ("[]", "{", '{"host": "pi", "boot": "b2"}', '{"host": "x", "boot": "boot-1"}'):
            await watcher.publish(f"{ROOT}/bridge/info", info)
        await watcher.publish(f"{ROOT}/bridge/info", '{"host": "nas", "boot": "boot-9"}')
        await watcher.publish(f"{ROOT}/bridge/info", '{"host": "nas", "boot": "boot-9"}')
        await eventually(lambda: bool(logged(40)), "told")
        await watcher.publish(f"{ROOT}/heat/read", "")
        await eventually(lambda: bool(bench.asked), "still working")
    assert len(logged(40)) == 1
    assert "'nas'" in logged(40)[0]


@pytest.mark.parametrize("status", ["online", "offline"])
async def test_a_retained_info_of_another_host_counts_only_while_it_is_online(
    bench: Bench,
    watcher: Watcher,
    expected_logs: list[str],
    status: str,
    logged: Callable[[int], list[str]],
) -> None:
    expected_logs.append("another daemon uses instance main")
    await watcher.publish(f"{ROOT}/bridge/info", '{"host": "nas", "boot": "b"}', retain=True)
    await watcher.publish(f"{ROOT}/bridge/status", status, retain=True)
    async with bench.run():
        await bench.connected()
    assert len(logged(40)) == (status == "online")


@pytest.mark.parametrize(
    "topic", [f"{ROOT}/bridge/info", DISCOVERY.format("gone"), DISCOVERY.format("heat")]
)
@pytest.mark.parametrize("payload", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"])
async def test_retained_rubbish_that_no_parser_can_take_ends_nothing(
    bench: Bench, watcher: Watcher, topic: str, payload: str
) -> None:
    await watcher.publish(f"{ROOT}/bridge/status", "online", retain=True)
    await watcher.publish(topic, payload, retain=True)
    bench.identify("heat")
    async with bench.run():
        await bench.connected()
        await watcher.publish(f"{ROOT}/bridge/info", payload)
        await watcher.publish(f"{ROOT}/heat/read", "")
        await eventually(lambda: bool(bench.asked), "still working")


@pytest.mark.parametrize(
    "foreign",
    [
        {"components": {"x": {"platform": "\ud800"}}},
        {"components": {"\ud800": {"platform": "sensor"}}},
        {"components": {"x": {"platform": float("nan")}}},
        {"components": {"x": {"platform": {"a": [1]}}}},
    ],
)
async def test_a_device_in_our_place_that_cannot_be_written_ends_nothing(
    bench: Bench, watcher: Watcher, foreign: dict[str, Any]
) -> None:
    ours = {
        "origin": {"name": "kamstrup-mqtt"},
        "device": {"identifiers": [f"kamstrup_{SERIAL['heat']}"]},
        "availability": [{"topic": f"{ROOT}/bridge/status"}],
    }
    topic = DISCOVERY.format("heat")
    await watcher.publish(topic, json.dumps({**ours, **foreign}), retain=True)
    bench.identify("heat")
    async with bench.run():
        await bench.connected()
        await eventually(lambda: "link_state" in components(watcher.last[topic]), "ours again")


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_two_with_one_client_id_notice_it(
    broker: Mosquitto,
    expected_logs: list[str],
    logged: Callable[[int], list[str]],
    version: str,
) -> None:
    expected_logs += ["another daemon uses instance main", "broker: "]
    config = make_config(broker.port, version=version)
    one, two = Bench(config), Bench(config)
    one.limits = two.limits = replace(QUICK, slow_backoff=30.0)
    async with one.run(), two.run():
        await eventually(
            lambda: any("3 times within 10 s" in line for line in logged(40)), "noticed"
        )


async def test_two_meters_with_one_serial_number_keep_apart(
    bench: Bench, watcher: Watcher, expected_logs: list[str]
) -> None:
    expected_logs.append("tell the same serial number 6654321")
    async with bench.run():
        await bench.connected()
        bench.identify("heat")
        first = await watcher.until(DISCOVERY.format("heat"))
        bench.identify("power", "6654321")
        second = await watcher.until(DISCOVERY.format("power"))
    assert json.loads(first)["device"]["identifiers"] == ["kamstrup_6654321"]
    assert json.loads(second)["device"]["identifiers"] == ["kamstrup_6654321_power"]


async def test_without_home_assistant_there_is_no_discovery(
    broker: Mosquitto, watcher: Watcher
) -> None:
    bench = Bench(make_config(broker.port))
    bench.config = bench.config.model_copy(
        update={"homeassistant": HomeAssistantConfig(enabled=False)}
    )
    bench.identify("heat")
    bench.read("heat", "1")
    async with bench.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        assert f"{ROOT}/heat/state/values" in watcher.last
        assert not [topic for topic in watcher.last if topic.startswith("homeassistant/")]


def test_back_off_grows_to_its_cap_with_jitter() -> None:
    backoff = Backoff(random.Random(1))
    waits = [backoff.after(Trouble.LOST) for _ in range(9)]
    for wait, full in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert full / 2 <= wait <= full
    backoff.reset()
    assert backoff.after(Trouble.LOST) <= 1


@pytest.mark.parametrize("trouble", [Trouble.REFUSED_US, Trouble.TLS])
def test_after_a_refusal_at_least_a_minute(trouble: Trouble) -> None:
    backoff = Backoff(random.Random(1))
    assert all(backoff.after(trouble) >= 60 for _ in range(5))
    assert backoff.after(Trouble.LOST, crowded=True) >= 60


async def test_a_blocking_call_that_is_stuck_holds_nobody() -> None:
    use_daemon_threads()
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, lambda: threading.current_thread().daemon)
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, lambda: 1 // 0)
    stuck = threading.Event()
    waiting = loop.run_in_executor(None, stuck.wait)
    try:
        async with asyncio.timeout(20):
            await loop.shutdown_default_executor()
    finally:
        stuck.set()
        assert await waiting


async def test_attempts_that_hang_do_not_pile_up() -> None:
    use_daemon_threads()
    loop = asyncio.get_running_loop()
    hang = threading.Event()
    try:
        waiting = [loop.run_in_executor(None, hang.wait) for _ in range(8)]
        with pytest.raises(TimeoutError, match="earlier attempts still hang"):
            await loop.run_in_executor(None, hang.wait)
    finally:
        hang.set()
    await asyncio.gather(*waiting)


async def test_user_name_and_password(
    tmp_path: Path, expected_logs: list[str], logged: Callable[[int], list[str]]
) -> None:
    expected_logs.append("check mqtt.username and mqtt.password")
    expected_logs.append("not authorized")
    passwords = password_file(tmp_path)
    settings = ["allow_anonymous false", f"password_file {passwords}"]
    with running(tmp_path, settings) as broker:
        wrong = Bench(make_config(broker.port, username="km", password="wrong"))
        async with wrong.run():
            await eventually(lambda: bool(logged(30)), "refusal told")
            await eventually(
                lambda: sum("refused us" in line for line in logged(10)) > 2, "tried again"
            )
        assert len(logged(30)) == 1
        assert "wrong" not in "".join(logged(0)).replace("password is wrong", "")
        right = Bench(make_config(broker.port, username="km", password="right"))
        async with right.run():
            await right.connected()


async def test_mqtt_5(broker: Mosquitto, watcher: Watcher) -> None:
    bench = Bench(make_config(broker.port, version="5"))
    bench.identify("heat")
    bench.read("heat", "4")
    async with bench.run():
        await watcher.until(f"{ROOT}/bridge/status", "online")
        assert '"energy_import": 4' in await watcher.until(f"{ROOT}/heat/state/values")


async def test_an_offline_meter_and_overdue_values(bench: Bench, watcher: Watcher) -> None:
    now = [1000.0]
    bench.clock.monotonic = lambda: now[0]
    bench.identify("heat")
    bench.read("heat", "4")
    async with bench.run():
        await watcher.until(f"{ROOT}/heat/status", "online")
        now[0] += 3 * 60 + 1
        await watcher.until(f"{ROOT}/heat/status", "offline")
        await eventually(
            lambda: '"energy_import": null' in watcher.last[f"{ROOT}/heat/state/values"], "nulled"
        )
        bench.read("heat", "5")
        await watcher.until(f"{ROOT}/heat/status", "online")


async def test_stopping_before_there_ever_was_a_broker(expected_logs: list[str]) -> None:
    expected_logs.append("connection refused")
    bench = Bench(make_config(free_port()))
    bench.limits = replace(QUICK, first_backoff=20.0, backoff_cap=20.0)
    async with bench.run():
        bench.read("heat", "4")
    assert len(bench.outbox) == 0
