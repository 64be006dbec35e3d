"""The own requests of MULTICAL 66 and MULTICAL III: `/#1`, answered with numbers of fixed width."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.protocols.multical_66.codec import Multical66Codec
from kamstrup_mqtt.protocols.multical_66.fields import key_of, parse_source, unknown_key

SPEC = ProtocolSpec(
    name="multical-66",
    title="MULTICAL 66 and III (/#1)",
    # asked at 300 baud, answered at 1200; seven bits and even parity are done in software
    serial=SerialParams(baudrate=300, bytesize=8, parity="N", stopbits=2),
    line="300 7E2",
    pushed=False,
    codec=Multical66Codec,
    key=key_of,
    source=parse_source,
    unknown_key=unknown_key,
    checksum="weak",
)
