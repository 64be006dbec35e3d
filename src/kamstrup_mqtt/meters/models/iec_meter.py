"""Any meter with an optical eye that is read by IEC 62056-21 in mode A, B or C.

A readout comes whole, so everything in it is shown; what is published by default is what most
electricity meters send.
"""

from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="Any IEC 62056-21 meter",
    manufacturer="",
    medium="any",
    profiles={
        "iec62056-21": ProtocolProfile(
            groups={"values": ("manufacturer", "ident", "0.0.0", "1.8.0", "1.8.1", "1.8.2")},
        )
    },
    note="List the addresses that your meter sends; `read` shows them all.",
)
