"""Draws a `diagram` block as inline SVG.

Each line of the block is one row of boxes: `Link --bytes--> Framer --frame--> Codec`. The label of
an arrow may be left out: `Link --> Framer`.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

_ARROW = re.compile(r"\s*--(?:([^->][^>]*?)--)?>\s*")
_CHARACTER, _LABEL_CHARACTER = 7.6, 6.3
"""Widths in pixels of an average character in a box, and of one on an arrow."""
_HEIGHT, _ROW, _MARGIN = 34, 62, 4


def render(source: str, *_: Any, **__: Any) -> str:
    """Return the SVG of a block. The signature is that of a custom fence of superfences."""
    rows = [_ARROW.split(line.strip()) for line in source.splitlines() if line.strip()]
    drawn = [_row(parts, index * _ROW + 18) for index, parts in enumerate(rows)]
    width = max(end for _, end in drawn) + _MARGIN
    height = len(rows) * _ROW
    body = "".join(shapes for shapes, _ in drawn)
    style = f"max-width:{width:.0f}px;min-width:{width * 0.75:.0f}px"
    spoken = escape(_spoken(rows))
    return (
        f'<div class="diagram"><svg viewBox="0 0 {width:.0f} {height}" role="img"'
        f' style="{style}" aria-label="{spoken}">{body}</svg></div>'
    )


def _row(parts: list[str | None], top: float) -> tuple[str, float]:
    """Draw one row. Return its shapes and where it ends."""
    shapes, x, middle = [], float(_MARGIN), top + _HEIGHT / 2
    for index, part in enumerate(parts):
        text = part or ""
        if index % 2:
            end = x + max(34.0, len(text) * _LABEL_CHARACTER + 22)
            shapes.append(
                f'<path class="arrow" d="M{x:.1f} {middle}H{end - 6:.1f}"/>'
                f'<path class="head" d="M{end:.1f} {middle}l-8 -4v8z"/>'
                f'<text class="label" x="{(x + end - 6) / 2:.1f}" y="{middle - 6}"'
                f' text-anchor="middle">{escape(text)}</text>'
            )
        else:
            end = x + len(text) * _CHARACTER + 22
            shapes.append(
                f'<rect class="box" x="{x:.1f}" y="{top}" width="{end - x:.1f}" height="{_HEIGHT}"'
                f' rx="4"/><text x="{(x + end) / 2:.1f}" y="{middle + 4.5}"'
                f' text-anchor="middle">{escape(text)}</text>'
            )
        x = end
    return "".join(shapes), x


def _spoken(rows: list[list[str | None]]) -> str:
    """The diagram as one sentence for a screen reader."""
    return ". ".join(" to ".join(part or "" for part in parts[::2]) for parts in rows)
