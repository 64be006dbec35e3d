"""Hands readings to MQTT and Home Assistant: the only package that knows aiomqtt."""

from __future__ import annotations

from kamstrup_mqtt.mqtt.broker_errors import BrokerError
from kamstrup_mqtt.mqtt.connection import Connection, Connector, Received, Will
from kamstrup_mqtt.mqtt.connector import connect
from kamstrup_mqtt.mqtt.limits import PublisherLimits
from kamstrup_mqtt.mqtt.maintenance import check_broker, clear_retained
from kamstrup_mqtt.mqtt.publisher import DaemonInfo, Publisher

__all__ = [
    "BrokerError",
    "Connection",
    "Connector",
    "DaemonInfo",
    "Publisher",
    "PublisherLimits",
    "Received",
    "Will",
    "check_broker",
    "clear_retained",
    "connect",
]
