"""MULTICAL 401, a heat meter that speaks IEC 61107 (`/KAM0MC`, acknowledged at 300 baud).

The older MULTICAL 66 and III give the same readout. Some of them require two stop bits.
"""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="MULTICAL 401",
    medium="heat",
    has_battery=True,
    profiles={
        "iec62056-21": ProtocolProfile(
            groups={"values": ("6.8", "6.26", "6.31", "0.0")},
            more=("manufacturer", "ident"),
            detection=Detection(any_of=("6.8", "6.26")),
            serial=SerialParams(300, 8, "N", 2, dtr=False, rts=True),
        )
    },
    note="0.0 is the customer's number: the entities are named after the configured id.",
)
