"""Our decoders: whole frames in, exact values with units out; see `bench.worker`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal

from bench.worker import serve
from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import Frame

OPTIONS = {"han": {"energy_scale": 10}}


def decoder(
    protocol: str,
) -> Callable[[bytes], dict[SourceId, tuple[Decimal | str | None, str | None]]]:
    """Through framer and codec, as a reader does it."""
    codec = registry.all_protocols()[protocol].make_codec(**OPTIONS.get(protocol, {}))
    framer = codec.framer()

    def decode(data: bytes) -> dict[SourceId, tuple[Decimal | str | None, str | None]]:
        framer.receive_data(data)
        event = framer.next_event()
        assert isinstance(event, Frame)
        return {obj.id: (obj.value, obj.unit) for obj in codec.decode(event).objects}

    return decode


if __name__ == "__main__":
    serve(decoder(sys.argv[1]))
