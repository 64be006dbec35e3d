"""MULTICAL 303, heat and cooling meter: the registers of the larger 603, which share one list."""

from dataclasses import replace

from kamstrup_mqtt.meters.model import Detection
from kamstrup_mqtt.meters.models.multical_603 import MODEL as MULTICAL_603

MODEL = replace(
    MULTICAL_603,
    name="MULTICAL 303",
    note="The magnet of a head does not keep the eye of this meter awake: press a button before"
    " each reading, or set `wake`.",
    profiles={
        "kmp": replace(
            MULTICAL_603.profiles["kmp"],
            detection=Detection(names=("303",)),
        )
    },
)
