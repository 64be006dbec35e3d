"""MULTICAL 302, heat and cooling meter: the registers that a user listed.

Register 266 is register 60 in Wh modulo 10 MWh, so it is not a total by itself. The meaning of
the info code (99) is unconfirmed, so its entity is disabled by default.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

# fmt: off
_MORE = (
    63, 97, 110, 267, 175, 99, 113, 138, 139, 140, 141, 142, 143, 144, 145, 149, 150, 229, 230,
    98, 1003, 1002, 1001,
)
# fmt: on

MODEL = MeterModel(
    name="MULTICAL 302",
    medium="heat",
    has_battery=True,
    profiles={
        "kmp": ProtocolProfile(
            groups={"values": (60, 266, 68, 74, 80, 86, 87, 89, 1004, 239, "heat_energy_precise")},
            more=_MORE,
            identity=("serial_no", 1001),
            overrides={
                266: {"name": "Heat energy without whole 10 MWh"},
                239: {"name": "Volume high resolution (unconfirmed)"},
                267: {"name": "Cooling energy high resolution (unconfirmed)"},
                99: {"name": "Info code (unconfirmed)", "enabled": False},
            },
            high_resolution=266,
            detection=Detection(
                names=("302",), sources=(60, 266), none_of=(369,), also_read=(239,)
            ),
        ),
    },
)
