"""The own requests of MULTICAL 66 and MULTICAL III: `/#1`, answered with numbers of fixed width."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.protocols.multical_66.codec import TIMINGS, Multical66Codec
from kamstrup_mqtt.protocols.multical_66.fields import fallback_key, key_of, parse_source

SPEC = ProtocolSpec(
    name="multical-66",
    title="MULTICAL 66 and III (/#1)",
    # asked at 300 baud, answered at 1200; seven bits and even parity are done in software
    serial=SerialParams(baudrate=300, bytesize=8, parity="N", stopbits=2),
    line_settings="300 7E2",
    is_pushed=False,
    make_codec=Multical66Codec,
    key_of=key_of,
    parse_source=parse_source,
    fallback_key=fallback_key,
    timings=TIMINGS,
    checksum="weak",
)
