"""MULTICAL 602, heat and cooling meter: the registers of the 601 (Kamstrup 5512-447 rev M1).

It has no register 266, and returns the type numbers of the 601.
"""

from dataclasses import replace

from kamstrup_mqtt.meters.model import Detection
from kamstrup_mqtt.meters.models.multical_601 import MODEL as MULTICAL_601

MODEL = replace(
    MULTICAL_601,
    name="MULTICAL 602",
    profiles={
        "kmp": replace(
            MULTICAL_601.profiles["kmp"],
            detection=Detection(names=("602",), sources=(60, 155), none_of=(266, 171)),
        )
    },
)
