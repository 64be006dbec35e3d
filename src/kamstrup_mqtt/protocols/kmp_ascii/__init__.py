"""KMP-ASCII, the native protocol of the 685-382: '@' requests, 'H' answers, hex pairs, LRC."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.protocols.kmp_ascii.codec import KmpAsciiCodec
from kamstrup_mqtt.protocols.kmp_ascii.fields import key_of, parse_source, unknown_key

SPEC = ProtocolSpec(
    name="kmp-ascii",
    title="KMP-ASCII (685-382)",
    serial=SerialParams(baudrate=1200, bytesize=8, parity="E", stopbits=2),
    line="1200 8E2",
    pushed=False,
    codec=KmpAsciiCodec,
    key=key_of,
    source=parse_source,
    unknown_key=unknown_key,
    checksum="weak",
)
