"""MULTICAL 803, heat and cooling meter: the registers of the 603.

Unconfirmed: no answer of an 803 is published. It has the info bits of 303, 403 and 603
(wmbusmeters, kamheat.xmq); only its name in register 404 distinguishes it from them.
"""

from dataclasses import replace

from kamstrup_mqtt.meters.model import Detection
from kamstrup_mqtt.meters.models.multical_603 import MODEL as MULTICAL_603

MODEL = replace(
    MULTICAL_603,
    name="MULTICAL 803",
    note="Its registers are those of a MULTICAL 603: no answer of an 803 has confirmed them yet.",
    profiles={
        "kmp": replace(MULTICAL_603.profiles["kmp"], detection=Detection(names=("803",))),
    },
)
