"""Settings of the history and their defaults. Imports nothing, because `config` imports it."""

from __future__ import annotations

from typing import Literal, TypeAlias

SpoolMode: TypeAlias = Literal["offline", "always", "memory"]
"""When records are stored on the disk: without a broker, before they are sent, never."""

DEFAULT_ROWS = 100_000
"""Records kept."""
DEFAULT_MEGABYTES = 64
"""Millions of bytes of payload kept."""
DEFAULT_RESEND = 60.0
"""Connected seconds: records acknowledged since then are sent again on the next connection."""
