"""KMP-ASCII, the native protocol of the 685-382: '@' requests, 'H' answers, hex pairs, LRC."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.protocols.kmp_ascii.codec import TIMINGS, KmpAsciiCodec
from kamstrup_mqtt.protocols.kmp_ascii.fields import fallback_key, key_of, parse_source

SPEC = ProtocolSpec(
    name="kmp-ascii",
    title="KMP-ASCII (685-382)",
    serial=SerialParams(baudrate=1200, bytesize=8, parity="E", stopbits=2),
    line_settings="1200 8E2",
    is_pushed=False,
    make_codec=KmpAsciiCodec,
    key_of=key_of,
    parse_source=parse_source,
    fallback_key=fallback_key,
    timings=TIMINGS,
    checksum="weak",
)
