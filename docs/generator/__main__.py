"""Rewrites the generated texts that are committed: `python -m docs.generator`."""

from __future__ import annotations

import re
from pathlib import Path

from docs.generator import meters, quantities

ROOT = Path(__file__).resolve().parents[2]
README_TABLE = re.compile(r"(<!-- meters: .*? -->\n).*?(<!-- end of meters -->)", re.S)


def readme(text: str) -> str:
    """The README with its table of meters up to date."""
    return README_TABLE.sub(lambda match: f"{match[1]}{meters.readme_table()}\n{match[2]}", text)


def main() -> None:
    """Write the files."""
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs/quantities.md").write_text(quantities.page(), encoding="utf-8")


if __name__ == "__main__":
    main()
