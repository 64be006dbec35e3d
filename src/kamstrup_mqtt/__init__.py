"""Reads Kamstrup meters, and the Nordic meters beside them, into MQTT and Home Assistant."""
