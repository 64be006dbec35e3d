"""Text from meters, links and brokers is untrusted: makes it fit for logs, terminals and states."""

from __future__ import annotations

MAX_LENGTH = 255
"""Characters of the longest state that Home Assistant accepts."""


def escape_unprintable(text: str) -> str:
    r"""Return `text` on one line: control and other unprintable characters as \x0a, \u2028."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def sanitize(text: str) -> str:
    """Return `text` as a state: unprintable characters escaped, cut to `MAX_LENGTH`."""
    return escape_unprintable(text)[:MAX_LENGTH]
