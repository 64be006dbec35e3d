"""Kamstrup 282, electricity (two phases), over KMP: as the 382."""

from dataclasses import replace

from kamstrup_mqtt.meters.models.kamstrup_382 import MODEL as KAMSTRUP_382

MODEL = replace(KAMSTRUP_382, name="282")
