"""MULTICAL 603, heat and cooling meter.

Register 266 is register 60 in Wh modulo 10 MWh; 369 contains the bits of the info code. No
recording has confirmed the meaning of the bits of 369 and the digits of 99: they are shown as text.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

# fmt: off
_MORE = (
    94, 63, 61, 62, 95, 96, 97, 110, 473, 474, 364, 365, 64, 65, 362, 66, 67, 69, 72, 73, 84, 85,
    224, 225, 372, 75, 88, 122, 398, 399, 400, 91, 92, 371, 367, 178, 179, 180, 181, 239, 267,
    113, 222, 123, 124, 125, 126, 127, 128, 129, 130, 138, 139, 140, 141, 142, 143, 144, 145, 383,
    384, 385, 386, 387, 388, 389, 390, 146, 147, 149, 150, 379, 380, 381, 382, 477, 478, 505, 506,
    507, 508, 229, 230, 366, 98, 1003, 1002, 348, 153, 168, 228, 368, 154, 1001, 112, 1010, 347,
    114, 104, 234, 235, 1005, 346, 404, 1032, 218, 219, 220, 221, 259, 260, 675,
)
# fmt: on

MODEL = MeterModel(
    name="MULTICAL 603",
    medium="heat",
    has_battery=True,
    profiles={
        "kmp": ProtocolProfile(
            groups={
                "values": (
                    *(60, 266, 68, 74, 80, 86, 87, 89, 369, 99, 1004, 175),
                    *("heat_energy_precise", "info_text", "info_bits_text"),
                ),
            },
            more=_MORE,
            identity=("serial_no", 1001),
            overrides={
                266: {"name": "Heat energy without whole 10 MWh"},
                239: {"name": "Volume high resolution (unconfirmed)"},
                267: {"name": "Cooling energy high resolution (unconfirmed)"},
                99: {"name": "Info code (unconfirmed)", "enabled": False},
                369: {"name": "Info bits (unconfirmed)"},
                "info_text": {"name": "Info (unconfirmed)", "enabled": False},
            },
            high_resolution=266,
            has_log=True,
            info_tables={99: "digits_603", 369: "bits_369"},
            detection=Detection(names=("603",)),
        ),
    },
)
