"""Kamstrup 351, a three-phase electricity meter behind transformers, read over KMP: the registers
of the 382."""

from dataclasses import replace

from kamstrup_mqtt.meters.model import Detection
from kamstrup_mqtt.meters.models.kamstrup_382 import MODEL as KAMSTRUP_382

MODEL = replace(
    KAMSTRUP_382,
    name="351",
    profiles={
        "kmp": replace(
            KAMSTRUP_382.profiles["kmp"],
            detection=Detection(types=("3C", "3D", "4B", "4C"), any_of=(1, 1023), none_of=(60,)),
        )
    },
)
