"""MULTICAL 801, heat and cooling meter: the registers of the 601, and those of 801 modules.

Source: Kamstrup 5512-447 rev M1, register list. Most have a mains supply; a battery is the careful
assumption. The meaning of the info code (99) is unconfirmed, so its entities are disabled by
default.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile
from kamstrup_mqtt.meters.models.multical_601 import MODEL as MULTICAL_601

_MODULES = (171, 172, 184, 185, 218, 219, 220, 221)

MODEL = MeterModel(
    name="MULTICAL 801",
    medium="heat",
    has_battery=True,
    profiles={
        "kmp": ProtocolProfile(
            groups={"values": (60, 68, 86, 87, 89, 74, 80, 1004, 99, 113, "info_text")},
            more=(*MULTICAL_601.profiles["kmp"].more, *_MODULES),
            identity=("serial_no", 1001),
            overrides={
                99: {"name": "Info code (unconfirmed)", "enabled": False},
                "info_text": {"name": "Info (unconfirmed)", "enabled": False},
            },
            info_tables={99: "sum_602_unconfirmed"},
            detection=Detection(names=("801",), sources=(60, 171), none_of=(266,)),
        ),
    },
)
