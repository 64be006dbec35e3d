"""Removes the echo of a request from the bytes that come back."""

from __future__ import annotations


class EchoFilter:
    """Removes an exact copy of what was sent from the beginning of what is received.

    Bytes that may still become the echo are kept back: `/?!` and `/KAM...` begin alike.
    """

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._kept = bytearray()
        self._is_done = not sent
        self.seen = False

    def strip(self, data: bytes) -> bytes:
        """Return the bytes kept back and `data` without the echo."""
        if self._is_done:
            return data
        self._kept += data
        if self._kept.startswith(self._sent):
            self.seen = True
            del self._kept[: len(self._sent)]
        elif self._sent.startswith(self._kept):
            return b""
        return self.release()

    def release(self) -> bytes:
        """Return the bytes kept back: the line is quiet, so no complete echo follows."""
        self._is_done = True
        kept = bytes(self._kept)
        self._kept.clear()
        return kept
