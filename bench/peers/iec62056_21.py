"""iec62056-21 0.0.2: identification and readout messages; it knows the XOR check character only."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from iec62056_21.messages import IdentificationMessage, ReadoutDataMessage

from bench.worker import serve


def decode(data: bytes) -> dict[str, tuple[Decimal | str, str | None]]:
    """Its messages; numbers made exact."""
    start = data.index(b"\x02")
    IdentificationMessage.from_bytes(data[:start])
    readout = ReadoutDataMessage.from_bytes(data[start:])
    return {
        data_set.address: (_number(data_set.value), data_set.unit)
        for line in readout.data_block.data_lines
        for data_set in line.data_sets
    }


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text.replace(",", "."))
    except InvalidOperation:
        return text


if __name__ == "__main__":
    serve(decode)
