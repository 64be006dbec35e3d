"""The window of messages in flight, at a real Mosquitto."""

from __future__ import annotations

import asyncio

from kamstrup_mqtt.mqtt.connector import connect
from kamstrup_mqtt.mqtt.in_flight import InFlightWindow
from tests.support.broker import Mosquitto, eventually, watching
from tests.support.mqtt_proxy import proxied
from tests.support.publisher import make_config

SECONDS = 10.0


async def test_messages_are_sent_in_order_and_never_exceed_the_window(broker: Mosquitto) -> None:
    messages = [("numbers", str(number)) for number in range(100)]
    most = 0
    async with (
        watching(broker.port) as watcher,
        proxied(broker.port) as proxy,
        connect(make_config(proxy.port).mqtt, None) as connection,
    ):
        window = InFlightWindow(connection, 5)
        for topic, payload in messages:
            await window.wait_for_slot()
            window.send(topic, payload, retain=False)
            await asyncio.sleep(0)
            most = max(most, len(proxy.published) - len(proxy.acknowledged))
        async with asyncio.timeout(SECONDS):
            await window.wait_empty()
        assert proxy.published == messages
        assert proxy.acknowledged == messages
        assert 1 < most <= 5
        await eventually(lambda: watcher.seen == messages, "all messages, in order")


async def test_a_full_window_reports_once_that_it_has_room(broker: Mosquitto) -> None:
    reports: list[bool] = []
    async with connect(make_config(broker.port).mqtt, None) as connection:
        window = InFlightWindow(connection, 2, lambda: reports.append(window.is_full))
        window.send("a", "1")
        assert not window.is_full
        window.send("a", "2")
        assert window.is_full
        async with asyncio.timeout(SECONDS):
            await window.wait_empty()
        await eventually(lambda: reports == [False], "room reported")
        window.send("a", "3")
        async with asyncio.timeout(SECONDS):
            await window.wait_empty()
        await asyncio.sleep(0)  # run what the loop was asked to call
        assert reports == [False], "it was not full"
