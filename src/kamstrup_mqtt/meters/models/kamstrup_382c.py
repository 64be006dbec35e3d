"""Kamstrup 382C and 684 (`/KAM 68438BC450000`), three-phase electricity meters.

They answer IEC 62056-21 in mode A at 300 7E1, with OBIS addresses and a decimal point.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="382C, 684",
    medium="electricity",
    profiles={
        "iec62056-21": ProtocolProfile(
            groups={
                "values": (
                    *("manufacturer", "ident", "0.0.0", "1.8.0", "1.8.1", "1.8.2", "1.8.3"),
                    *("1.8.4", "96.8.0", "0.128.1", "1.6.0"),
                )
            },
            detection=Detection(sources=("1.8.0", "96.8.0")),
        )
    },
    note="0.0.0 is the customer's number: the entities are named after the configured id.",
)
