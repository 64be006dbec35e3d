"""Text from meters, links and brokers is untrusted: makes it fit for logs, terminals and states."""

from __future__ import annotations

MAX_LENGTH = 255
"""Characters of the longest state that Home Assistant accepts."""


def escape_unprintable(text: str) -> str:
    r"""Return `text` on one line: control and other unprintable characters as \n, \x1b, \u2028."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def sanitize(text: str) -> str:
    """Return `text` as a state: unprintable characters escaped, cut to `MAX_LENGTH`."""
    return escape_unprintable(text)[:MAX_LENGTH]
