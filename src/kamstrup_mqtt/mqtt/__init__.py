"""Hands readings to MQTT and Home Assistant: the only package that knows aiomqtt."""

from __future__ import annotations

from kamstrup_mqtt.mqtt.connection import BrokerError, Connector, connect
from kamstrup_mqtt.mqtt.maintenance import clear, probe
from kamstrup_mqtt.mqtt.publisher import Daemon, Limits, Publisher

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
