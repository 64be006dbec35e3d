"""Reads Kamstrup meters, and the Nordic meters beside them, into MQTT and Home Assistant."""

__version__ = "0.1.0"
