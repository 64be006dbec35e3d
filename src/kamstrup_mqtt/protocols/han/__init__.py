"""HAN push: HDLC frames with DLMS lists that a meter sends by itself, 2400 8N1."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.protocols.base import ProtocolSpec
from kamstrup_mqtt.protocols.han import obis
from kamstrup_mqtt.protocols.han.codec import HanCodec
from kamstrup_mqtt.protocols.han.framing import HdlcFramer

SPEC = ProtocolSpec(
    name="han",
    title="HAN push (HDLC and DLMS)",
    serial=SerialParams(2400, 8, "N", 1),
    line_settings="2400 8N1",
    is_pushed=True,
    make_codec=HanCodec,
    key_of=obis.key_of,
    parse_source=obis.parse_source,
    fallback_key=obis.fallback_key,
    checksum="crc16",
)

__all__ = ["SPEC", "HanCodec", "HdlcFramer"]
