"""MULTICAL 403, heat and cooling meter: the registers of the 603.

Its manual describes the info code of register 99 as a sum, while that of the 603 is a row of
digits. No recording of a 403 with an info code has confirmed this yet.
"""

from dataclasses import replace

from kamstrup_mqtt.meters.model import Detection
from kamstrup_mqtt.meters.models.multical_603 import MODEL as MULTICAL_603

MODEL = replace(
    MULTICAL_603,
    name="MULTICAL 403",
    profiles={
        "kmp": replace(
            MULTICAL_603.profiles["kmp"],
            info_tables={99: "sum_403", 369: "bits_369"},
            detection=Detection(names=("403",), sources=(60, 266, 369)),
        )
    },
)
