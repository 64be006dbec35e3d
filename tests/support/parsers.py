"""One meter's bytes decoded twice: by templates where possible, and by the reference parser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import Frame
from tests.support.decoded import decode_outcome
from tests.support.framing import drain


class ParserPair:
    """Two codecs of one meter in the same state: one has the fast path, one has not."""

    def __init__(self, protocol: str, **options: Any) -> None:
        make = registry.find_protocol(protocol).make_codec
        self.fast = make(**options)
        self.reference = make(**options, fast_path=False)
        self._framers = (self.fast.framer(), self.reference.framer())

    def check_frames(self, frames: Iterable[Frame]) -> None:
        """Decode frames that need not come off a line."""
        for frame in frames:
            assert decode_outcome(self.fast.decode, frame) == decode_outcome(
                self.reference.decode, frame
            )

    def check_stream(self, pieces: Iterable[bytes]) -> int:
        """Receive pieces of a stream, where an empty one is a silence, and decode its frames.

        Returns the number of frames.
        """
        count = 0
        fast, reference = self._framers
        for piece in pieces:
            for framer in self._framers:
                if piece:
                    framer.receive_data(piece)
                else:
                    framer.end_burst()
            events = list(drain(fast))
            assert events == list(drain(reference))
            assert fast.parity_errors == reference.parity_errors
            frames = [event for event in events if isinstance(event, Frame)]
            self.check_frames(frames)
            count += len(frames)
        return count
