"""KMP, the binary Kamstrup Meter Protocol of MULTICAL heat, cooling and water meters, and of
382, 162, 282 and 351 electricity meters (Kamstrup 5512-447 rev M1)."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.protocols.kmp.codec import TIMINGS, KmpCodec
from kamstrup_mqtt.protocols.kmp.log_reading import KmpLogReader
from kamstrup_mqtt.protocols.kmp.registers import fallback_key, key_of, parse_source

__all__ = ["SPEC", "TIMINGS", "KmpCodec"]

SPEC = ProtocolSpec(
    name="kmp",
    title="KMP (MULTICAL)",
    serial=SerialParams(baudrate=1200, bytesize=8, parity="N", stopbits=2),
    line_settings="1200 8N2",
    is_pushed=False,
    make_codec=KmpCodec,
    key_of=key_of,
    parse_source=parse_source,
    fallback_key=fallback_key,
    checksum="crc16",
    timings=TIMINGS,
    log_reader=KmpLogReader,
)
