"""Publishes discovery messages to Home Assistant and removes the devices of former meters."""

from __future__ import annotations

import logging
from functools import partial

from kamstrup_mqtt.homeassistant.discovery import meter_discovery
from kamstrup_mqtt.homeassistant.gateway_device import bridge_discovery, problem_component
from kamstrup_mqtt.homeassistant.messages import (
    BRIDGE,
    Discovery,
    DiscoveryConfig,
    PublishedDiscovery,
)
from kamstrup_mqtt.homeassistant.removal import publish_sequence
from kamstrup_mqtt.mqtt.incoming import RetainedMessages
from kamstrup_mqtt.mqtt.publish_queue import PublishQueue
from kamstrup_mqtt.mqtt.step_publisher import StepPublisher
from kamstrup_mqtt.storage.state_schema import intern_mapping

_LOG = logging.getLogger(__package__)


class DeviceAnnouncer:
    """Announces the devices of one session."""

    def __init__(
        self,
        config: DiscoveryConfig,
        queue: PublishQueue,
        retained: RetainedMessages,
        publisher: StepPublisher,
    ) -> None:
        self._config = config
        self._queue = queue
        self._retained = retained
        self._publisher = publisher
        self._bridge: PublishedDiscovery | None = None

    async def announce_meter(self, id_: str) -> None:
        """Publish the discovery message of a meter. Does nothing without a serial number."""
        message = meter_discovery(self._config, self._queue.devices[id_])
        if message is not None:
            await self._announce(message, id_)

    async def announce_bridge(self, *, force: bool) -> None:
        """Publish the discovery message of the daemon if it has changed, or with `force`.

        It has a problem entity for each meter that is in trouble and has no device yet, until the
        meter's serial number is known.
        """
        shown = self._bridge.components if self._bridge is not None else {}
        waiting = [
            device
            for id_, device in self._queue.devices.items()
            if device.serial is None and (device.problem or problem_component(id_) in shown)
        ]
        message = bridge_discovery(self._config, waiting)
        if force or message.announced != self._bridge:
            self._retained.discovery.setdefault(BRIDGE, self._bridge or message.announced)
            await self._announce(message, BRIDGE)
            self._bridge = message.announced

    async def _announce(self, message: Discovery, id_: str) -> None:
        """Publish the messages that lead to `message`.

        Does not wait for the acknowledgement of the last one, so that many meters do not wait for
        each other.
        """
        *removals, last = publish_sequence(message, self._published(id_))
        if removals:
            await self._publisher.publish((message.topic, payload) for payload in removals)
        await self._publisher.send(
            message.topic, last, partial(self._mark_announced, message.announced, id_)
        )

    def _mark_announced(self, announced: PublishedDiscovery, id_: str) -> None:
        self._retained.discovery.pop(id_, None)
        if id_ == BRIDGE:
            return
        state = self._queue.devices[id_].meter_state
        now = (announced.components, announced.serial)
        if (state.announced, state.announced_as) != now:
            state.announced = intern_mapping(announced.components)
            state.announced_as = announced.serial
            self._queue.state_file.mark_changed(urgent=True)

    def _published(self, id_: str) -> PublishedDiscovery | None:
        """Return what was announced last, from the broker and the state file together."""
        retained = self._retained.discovery.get(id_)
        if id_ == BRIDGE:
            return retained
        state = self._queue.devices[id_].meter_state
        if not state.announced or state.announced_as is None:
            return retained
        saved = PublishedDiscovery(state.announced_as, state.announced)
        if retained is None:
            return saved
        if retained.serial != saved.serial:
            return retained
        return PublishedDiscovery(saved.serial, {**saved.components, **retained.components})

    async def remove_former_meters(self) -> None:
        """Remove meters that are no longer configured: device, retained topics, state file."""
        state_file = self._queue.state_file
        known = dict.fromkeys((*self._retained.discovery, *state_file.meters))
        for id_ in known:
            if id_ in (BRIDGE, *self._queue.devices):
                continue
            await self._remove_topics(id_)
            if id_ in state_file.meters:
                state_file.forget(id_)
            _LOG.info("%s is no longer configured: removed from the broker and the state file", id_)

    async def _remove_topics(self, id_: str) -> None:
        topics = self._config.topics
        if id_ in self._retained.discovery:
            await self._publisher.publish([(topics.discovery(self._config.prefix, id_), "")])
        prefix = f"{topics.root}/{id_}/"
        retained = [topic for topic in self._retained.topics if topic.startswith(prefix)]
        await self._publisher.publish((topic, "") for topic in retained)
