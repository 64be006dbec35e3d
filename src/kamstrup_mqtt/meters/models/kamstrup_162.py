"""Kamstrup 162, a single-phase electricity meter read over KMP: the registers of the 382 without
those of the other two phases."""

from dataclasses import replace

from kamstrup_mqtt.meters.model import Detection
from kamstrup_mqtt.meters.models.kamstrup_382 import MODEL as KAMSTRUP_382

_OTHER_PHASES = frozenset((1081, 1082, 1345, 1346, 1171, 1172))
_382 = KAMSTRUP_382.profiles["kmp"]

MODEL = replace(
    KAMSTRUP_382,
    name="162",
    profiles={
        "kmp": replace(
            _382,
            groups={"values": (1, 1023, 1054, 1076, 2, 1024, 19, 23)},
            detection=Detection(
                types=("38", "39", "40", "41", "46", "47"), any_of=(1, 1023), none_of=(60,)
            ),
            more=tuple(source for source in _382.more if source not in _OTHER_PHASES),
        )
    },
)
