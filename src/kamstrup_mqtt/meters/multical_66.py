"""MULTICAL 66 and MULTICAL III, heat meters that are read by IEC 61107 at 300 baud: `/KAM MC`
sends at once (mode A), `/KAM0MC` wants an acknowledgement; either is understood."""

from kamstrup_mqtt.model import Dialect, MeterModel, SerialParams

MODEL = MeterModel(
    name="MULTICAL 66, MULTICAL III",
    medium="heat",
    battery=True,
    dialects={
        "iec62056-21": Dialect(
            groups={"values": ("6.8", "6.26", "6.31", "0.0")},
            more=("manufacturer", "ident"),
            serial=SerialParams(300, 8, "N", 2, dtr=False, rts=True),
        )
    },
    note="0.0 is the customer's number: the entities are named after the configured id.",
)
