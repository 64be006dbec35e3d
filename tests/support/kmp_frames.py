"""KMP frames built without the code under test: CRC bit by bit, stuffing by a table."""

from __future__ import annotations

STUFFED = {0x80: "1B7F", 0x40: "1BBF", 0x0D: "1BF2", 0x06: "1BF9", 0x1B: "1BE4"}


def crc16(data: bytes) -> int:
    """CCITT polynomial x^16 + x^12 + x^5 + 1, initial value 0, most significant bit first."""
    remainder = 0
    for byte in data:
        for bit in range(7, -1, -1):
            top = (remainder >> 15) ^ (byte >> bit & 1)
            remainder = (remainder << 1 & 0xFFFF) ^ (0x1021 if top else 0)
    return remainder


def wire(start: str, payload: str | bytes) -> bytes:
    """Build a frame; `payload` is destination, CID and data."""
    data = bytes.fromhex(payload) if isinstance(payload, str) else payload
    inner = data + crc16(data).to_bytes(2, "big")
    sent = "".join(STUFFED.get(byte, f"{byte:02X}") for byte in inner)
    return bytes.fromhex(f"{start} {sent} 0D")


def answer(payload: str | bytes) -> bytes:
    return wire("40", payload)


def request(payload: str | bytes) -> bytes:
    return wire("80", payload)
