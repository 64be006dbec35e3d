"""Any meter that speaks KMP.

Its registers are listed by number in the configuration; known registers have their usual names.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="Any KMP meter",
    medium="any",
    has_battery=True,
    profiles={
        "kmp": ProtocolProfile(
            groups={"values": ()},
            identity=("serial_no", 1001),
            has_log=True,
            detection=Detection(),
        )
    },
    note="List the registers to read; nothing is read by default.",
)
