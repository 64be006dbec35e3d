"""dlms-cosem: its HDLC frame, its data-notification and its A-XDR parser."""

from __future__ import annotations

from decimal import Decimal

from dlms_cosem import utils
from dlms_cosem.hdlc.frames import UnnumberedInformationFrame
from dlms_cosem.protocol.xdlms.data_notification import DataNotification

from bench.peers.kamstrup_scales import values
from bench.worker import serve


def decode(data: bytes) -> dict[str, tuple[Decimal, str]]:
    """Frame (HCS and FCS verified), notification, elements; the scales are ours."""
    frame = UnnumberedInformationFrame.from_bytes(data)
    notification = DataNotification.from_bytes(frame.information[3:])
    return values(utils.parse_as_dlms_data(notification.body))


if __name__ == "__main__":
    serve(decode)
