"""Hands readings to MQTT and Home Assistant: the only package that knows aiomqtt."""

from __future__ import annotations

from kamstrup_mqtt.publisher.connection import BrokerError, Connector, connect
from kamstrup_mqtt.publisher.publisher import Daemon, Limits, Publisher
from kamstrup_mqtt.publisher.visits import clear, probe

__all__ = [
    "BrokerError",
    "Connector",
    "Daemon",
    "Limits",
    "Publisher",
    "clear",
    "connect",
    "probe",
]
