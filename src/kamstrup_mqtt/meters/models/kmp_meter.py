"""Any meter that speaks KMP: registers are listed by number, with the names that are known."""

from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="Any KMP meter",
    medium="any",
    battery=True,
    profiles={
        "kmp": ProtocolProfile(groups={"values": ()}, identity=("serial_no", 1001), logger=True)
    },
    note="List the registers to read; nothing is read by default.",
)
