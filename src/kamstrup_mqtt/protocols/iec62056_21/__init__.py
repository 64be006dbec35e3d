"""IEC 62056-21 (IEC 61107) optical readout, modes A, B, C and D."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.protocols.iec62056_21.addresses import fallback_key, key_of, parse_source
from kamstrup_mqtt.protocols.iec62056_21.codec import TIMINGS, IecCodec

SPEC = ProtocolSpec(
    name="iec62056-21",
    title="IEC 62056-21 (IEC 61107) optical readout",
    # 7E1 is done in software (see parity), alike on a tty and behind a bridge
    serial=SerialParams(baudrate=300, bytesize=8, parity="N", stopbits=1, dtr=False, rts=True),
    line_settings="300 7E1",
    is_pushed=False,
    make_codec=IecCodec,
    key_of=key_of,
    parse_source=parse_source,
    fallback_key=fallback_key,
    timings=TIMINGS,
    checksum="weak",
)
