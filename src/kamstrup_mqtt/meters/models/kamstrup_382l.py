"""Kamstrup 382L, a three-phase electricity meter, in the version that speaks IEC 62056-21.

It answers in mode C, at 9600 7E1 from the first byte on. Other meters of this name speak KMP: see
`kamstrup_382`.
"""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="382L (IEC 62056-21)",
    medium="electricity",
    profiles={
        "iec62056-21": ProtocolProfile(
            groups={
                "values": (
                    *("manufacturer", "ident", "0.0.0", "1.8.0", "1.8.1", "1.8.2"),
                    *("96.8.0", "1.6.0"),
                )
            },
            detection=Detection(sources=("1.8.0", "96.8.0"), baudrate=9600),
            serial=SerialParams(9600, 8, "N", 1, dtr=False, rts=True),
        )
    },
    note="0.0.0 is the customer's number: the entities are named after the configured id.",
)
