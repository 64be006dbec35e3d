"""Any meter with an optical eye that speaks IEC 62056-21 in mode A, B or C.

A readout contains all values of the meter, and all are published. Enabled by default are those
that most electricity meters send.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="Any IEC 62056-21 meter",
    manufacturer="",
    medium="any",
    profiles={
        "iec62056-21": ProtocolProfile(
            groups={"values": ("manufacturer", "ident", "0.0.0", "1.8.0", "1.8.1", "1.8.2")},
            detection=Detection(),
        )
    },
    note="List the addresses that your meter sends; `read` shows them all.",
)
