"""PyKMP 0.0.2: its codecs from the wire to a register, and its number format."""

from __future__ import annotations

from decimal import Decimal

from pykmp import codec, constants
from pykmp.messages import GetRegisterResponse

from bench.worker import serve

physical = codec.PhysicalCodec(direction=codec.PhysicalDirection.FROM_METER)
data_link = codec.DataLinkCodec()
application = codec.ApplicationCodec()
numbers = codec.FloatCodec()
_UNITS = {"m3": "m³", "l/h": "L/h", "C": "°C", "°K": "K"}


def decode(data: bytes) -> dict[int, tuple[Decimal, str]]:
    """Registers by number, with the names that it has for the units."""
    link = data_link.decode(physical.decode(codec.PhysicalBytes(data)))
    answer = GetRegisterResponse.decode(application.decode(link.application_bytes))
    return {
        register.id_: (numbers.decode(register.value), constants.UNITS_NAMES[register.unit])
        for register in answer.registers.values()
    }


def show(found: dict[int, tuple[Decimal, str]]) -> dict[str, tuple[Decimal, str]]:
    """Units as we spell them."""
    return {str(id_): (value, _UNITS.get(unit, unit)) for id_, (value, unit) in found.items()}


if __name__ == "__main__":
    serve(decode, show)
