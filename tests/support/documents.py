"""The code blocks of the Markdown files, so that tests can run them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")

_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block: `info` is what stands behind the fence, such as "sh run"."""

    where: str
    info: str
    text: str


def blocks(name: str) -> list[Block]:
    """Every fenced block of a document."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [
        Block(
            f"{name}:{text.count(chr(10), 0, match.start()) + 1}",
            match[2].strip(),
            re.sub(f"^{match[1]}", "", match[3], flags=re.M),
        )
        for match in _FENCE.finditer(text)
    ]


def all_blocks() -> list[Block]:
    """The blocks of every document."""
    return [block for name in DOCUMENTS for block in blocks(name)]
