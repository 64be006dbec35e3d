"""MULTICAL 403, heat and cooling: the registers of the 603.

Its manual writes the info code of register 99 as a sum, not by digits; no capture has confirmed
either.
"""

from dataclasses import replace

from kamstrup_mqtt.meters.models.multical_603 import MODEL as MULTICAL_603

MODEL = replace(
    MULTICAL_603,
    name="MULTICAL 403",
    profiles={
        "kmp": replace(
            MULTICAL_603.profiles["kmp"],
            info={99: "sum_403", 369: "bits_369"},
        )
    },
)
