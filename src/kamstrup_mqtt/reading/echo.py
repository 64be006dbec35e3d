"""Removes the echo of a request from the bytes that come back."""

from __future__ import annotations


class EchoFilter:
    """Takes an exact copy of what we sent off the front of what comes.

    Bytes that may still become the echo are held back: `/?!` and `/KAM...` begin alike.
    """

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._held = bytearray()
        self._is_done = not sent
        self.seen = False

    def strip(self, data: bytes) -> bytes:
        """What of `data` (and of what was held back) is not echo."""
        if self._is_done:
            return data
        self._held += data
        if self._held.startswith(self._sent):
            self.seen = True
            del self._held[: len(self._sent)]
        elif self._sent.startswith(self._held):
            return b""
        return self.release()

    def release(self) -> bytes:
        """The line is quiet: what was held back is no echo, or one that was cut off."""
        self._is_done = True
        held = bytes(self._held)
        self._held.clear()
        return held
