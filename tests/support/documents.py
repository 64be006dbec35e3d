"""The code blocks of the Markdown files, so that tests can run them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
"""The written pages of the site."""
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", *PAGES)

_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block. `info` is the text after the opening fence, such as "sh run"."""

    where: str
    info: str
    text: str


def blocks(name: str) -> list[Block]:
    """Return every fenced block of a document."""
    return blocks_of(name, (ROOT / name).read_text(encoding="utf-8"))


def blocks_of(name: str, text: str) -> list[Block]:
    """Return every fenced block of a text that the document `name` has."""
    return [
        Block(
            f"{name}:{text.count(chr(10), 0, match.start()) + 1}",
            match[2].strip(),
            re.sub(f"^{match[1]}", "", match[3], flags=re.M),
        )
        for match in _FENCE.finditer(text)
    ]


def all_blocks() -> list[Block]:
    """Return the blocks of every document."""
    return [block for name in DOCUMENTS for block in blocks(name)]
