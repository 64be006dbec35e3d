"""gurux-dlms: its client, which is handed a frame as it came."""

from __future__ import annotations

from decimal import Decimal

from gurux_dlms import GXByteBuffer, GXDLMSClient, GXReplyData

from bench.peers.kamstrup_scales import values
from bench.worker import serve

client = GXDLMSClient()


def decode(data: bytes) -> dict[str, tuple[Decimal, str]]:
    """Frame (HCS and FCS verified), notification, elements; the scales are ours."""
    reply, notify = GXReplyData(), GXReplyData()
    client.getData(GXByteBuffer(data), reply, notify)
    return values(list(notify.value))


if __name__ == "__main__":
    serve(decode)
