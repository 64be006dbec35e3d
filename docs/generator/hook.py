"""MkDocs hook: adds the generated pages and fills the generated parts of the written ones.

A written page holds `<!-- generated: NAME -->` where generated text belongs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from docs.generator import commands, configuration, diagrams, meters  # noqa: E402

_MARK = re.compile(r"<!-- generated: ([a-z-]+) -->")
_MODELS = "generated: meters"

PARTS: Mapping[str, Callable[[], str]] = {
    "benchmarks": lambda: (ROOT / "bench/results/table.md").read_text(encoding="utf-8"),
    "commands": commands.page,
    "configuration": configuration.page,
    "example": lambda: _fenced("yaml", ROOT / "config.example.yaml"),
    "meters": meters.overview_table,
}


def on_config(config: Any) -> Any:
    """List the models in the navigation, and draw `diagram` blocks."""
    _list_models(config.nav)
    config.mdx_configs["pymdownx.superfences"] = {
        "custom_fences": [{"name": "diagram", "class": "diagram", "format": diagrams.render}]
    }
    return config


def _list_models(items: list[Any]) -> None:
    for item in items:
        for title, target in item.items() if isinstance(item, dict) else ():
            if target == _MODELS:
                item[title] = [
                    {meters.title(model): f"meters/{id_}.md"} for id_, model in meters.ordered()
                ]
            elif isinstance(target, list):
                _list_models(target)


def on_files(files: Files, config: Any) -> Files:
    """Add one page for each meter model."""
    for id_, model in meters.ordered():
        content = meters.page(id_, model)
        files.append(File.generated(config, f"meters/{id_}.md", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the generated parts of a page."""
    return _MARK.sub(lambda match: PARTS[match[1]](), _plain_fences(markdown))


def _plain_fences(markdown: str) -> str:
    """`yaml config` tells a test what to do with a block; a page only wants the language."""
    return re.sub(r"^( *```[a-z]+) [a-z0-9 ]+$", r"\1", markdown, flags=re.M)


def _fenced(language: str, path: Path) -> str:
    return f"```{language}\n{path.read_text(encoding='utf-8')}```"
