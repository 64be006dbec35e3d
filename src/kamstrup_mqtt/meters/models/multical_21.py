"""MULTICAL 21 and flowIQ 2200 / 3100, water meters: the registers that users read.

The meaning of the info code (99) over KMP is unconfirmed, so its entities are disabled by default.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="MULTICAL 21 / flowIQ",
    medium="water",
    has_battery=True,
    profiles={
        "kmp": ProtocolProfile(
            groups={"values": (68, 74, 99, 1004, "info_text")},
            more=(243, 292, 299, 1001),
            identity=("serial_no", 1001),
            overrides={
                68: {"device_class": "water"},
                "info_text": {"name": "Info (unconfirmed)", "enabled": False},
                99: {"name": "Info code (unconfirmed)", "enabled": False},
                243: {
                    "name": "Reverse volume",
                    "device_class": "water",
                    "state_class": "total_increasing",
                    "precision": 3,
                    "category": None,
                },
                292: {
                    "name": "Water temperature",
                    "device_class": "temperature",
                    "state_class": "measurement",
                    "category": None,
                },
                299: {
                    "name": "Ambient temperature",
                    "device_class": "temperature",
                    "state_class": "measurement",
                    "category": None,
                },
            },
            info_tables={99: "flowiq"},
            detection=Detection(
                names=("21", "flowIQ"), sources=(68,), any_of=(243, 292), none_of=(60,)
            ),
        ),
    },
    note="Hold a magnet at the eye: it takes 4 s to start, and some firmware limits how often it is"
    " read.",
)
