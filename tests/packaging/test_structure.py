"""Bounds on the source that keep it readable: size of files and classes, and the words in use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import ROOT

PACKAGE = ROOT / "src/kamstrup_mqtt"
MAX_LINES = 400
MAX_ATTRIBUTES = 15
MODULES = sorted(PACKAGE.rglob("*.py"))

# Everyday words that had another meaning in each module. The field has a term for each of them.
FORBIDDEN_NAMES = {
    "anew", "ask", "asked", "begun", "crowd", "good", "hear", "heard", "here", "knock", "look",
    "mine", "news", "say", "said", "settle", "settled", "tell", "told", "turn", "wanted",
}  # fmt: skip
FORBIDDEN_WORDS = re.compile(
    r"\b(anew|whoever|so many|of its own|what is told|is told|are told|says nothing"
    r"|comes to nothing|nobody waits)\b",
    re.IGNORECASE,
)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _own_attributes(node: ast.ClassDef) -> set[str]:
    """Return the instance attributes that the class assigns or declares itself."""
    found = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in (leaf for t in targets for leaf in ast.walk(t)):
                if (
                    isinstance(target, ast.Attribute)
                    and isinstance(target.value, ast.Name)
                    and target.value.id == "self"
                ):
                    found.add(target.attr)
    return found


def _names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that the module defines, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield (node.id if isinstance(node, ast.Name) else node.attr), node.lineno


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_short_enough_to_read(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{_name(path)} has {lines} lines: split it"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_class_has_few_attributes(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    large = {
        node.name: len(attributes)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and len(attributes := _own_attributes(node)) > MAX_ATTRIBUTES
    }
    assert not large, f"{_name(path)}: too many instance attributes: {large}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_names_are_terms_of_the_field(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        f"line {line}: {name}" for name, line in _names(tree) if name.strip("_") in FORBIDDEN_NAMES
    ]
    assert not found, f"{_name(path)}: everyday words as names: {', '.join(found)}"


@pytest.mark.parametrize(
    "path",
    [*MODULES, *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))],
    ids=_name,
)
def test_prose_is_plain(path: Path) -> None:
    found = [
        f"line {number}: {match[0]}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in FORBIDDEN_WORDS.finditer(line)
    ]
    assert not found, f"{_name(path)}: {', '.join(found)}"
