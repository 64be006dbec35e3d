"""YAML as plain data, with the line and column of every place in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from kamstrup_mqtt.config.section import SYNONYMS, Place

_TAG = "tag:yaml.org,2002:"
_SECRET = frozenset({"password", "key_password", "encryption_key", "authentication_key"})
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_UNFIT = re.compile(r"[\x00\ud800-\udfff]")  # not allowed in file names and messages
_SHORTEST_MASKED = 3  # a shorter text is part of too many words


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """A fault with its place in the file."""

    line: int
    column: int
    path: str
    text: str


class Hexadecimal(int):
    """A number that keeps its spelling, for options that take text."""

    written: str

    def __new__(cls, written: str) -> Hexadecimal:
        number = super().__new__(cls, int(written, 16))
        number.written = written
        return number

    def __str__(self) -> str:
        return self.written


class YamlDocument:
    """The data of a document, and the faults of its YAML (`faults`)."""

    def __init__(self, root: yaml.Node, environ: Mapping[str, str]) -> None:
        self._root = root
        self._environ = environ
        self._expanded: dict[str, str] = {}
        self._open: set[int] = set()
        self.faults: list[ConfigProblem] = []
        self.data: Any = self._value(root, "")

    # From nodes to data

    def _fault(self, node: yaml.Node, path: str, text: str) -> None:
        mark = node.start_mark
        self.faults.append(ConfigProblem(mark.line + 1, mark.column + 1, path, text))

    def _value(self, node: yaml.Node, path: str) -> Any:
        if not node.tag.startswith(_TAG):
            tag = "" if path.rpartition(".")[2] in _SECRET else f" {node.tag}"
            self._fault(node, path, f"unknown tag{tag}; quote the text, write secrets as ${{NAME}}")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._fault(node, path, "contains itself")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self._value(n, f"{path}[{i}]") for i, n in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, path, "a key must be a word")
                continue
            inside = f"{path}.{key.value}" if path else key.value
            if key.tag == f"{_TAG}merge":
                self._fault(key, inside, "merging (<<) is not supported; write the keys out")
                continue
            if key.value in first:
                line = first[key.value].start_mark.line + 1
                self._fault(key, inside, f"is given twice, first in line {line}; remove one")
                continue
            first[key.value] = key
            found[key.value] = self._value(value, inside)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("yes", "true", "on")
        if kind in ("int", "float"):
            return self._number(node, path, kind)
        if kind not in ("str", "timestamp", "value"):
            tag = "" if path.rpartition(".")[2] in _SECRET else f" !!{kind}"
            self._fault(node, path, f"unknown tag{tag}; write plain text")
        return self._expand(node, path, text)

    def _number(self, node: yaml.ScalarNode, path: str, kind: str) -> Any:
        text: str = node.value
        if kind == "int" and re.fullmatch(r"0x[0-9A-Fa-f]+", text):
            return Hexadecimal(text)
        try:
            number = int(text) if kind == "int" else Decimal(text)
        except (ValueError, InvalidOperation):
            number = None
        if number is not None and str(number) == text:
            return number
        try:
            read = yaml.SafeLoader("").construct_object(node)
        except (ValueError, OverflowError, IndexError):  # !!float abc, !!float; too many digits
            self._fault(node, path, "is not a number that can be read; quote it if it is text")
            return text
        if path.rpartition(".")[2] in _SECRET:
            self._fault(node, path, "YAML takes it for another number; quote it")
        else:
            self._fault(node, path, f"YAML reads {text} as the number {read}; quote it: '{text}'")
        return text

    def _expand(self, node: yaml.Node, path: str, text: str) -> str:
        found: list[str] = []

        def replace(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name = match[1]
            if name is None:
                self._fault(node, path, "write ${NAME}, or $${ for the characters ${")
            elif name not in self._environ:
                self._fault(node, path, f"the environment variable {name} is not set")
            else:
                self._expanded[self._environ[name]] = match[0]
                found.append(name)
                return self._environ[name]
            return match[0]

        expanded = _VARIABLE.sub(replace, text)
        if found:  # the whole text too: the value alone may be part of a longer word
            self._expanded[expanded] = text
        if _UNFIT.search(expanded):
            self._fault(node, path, "contains a character that is not allowed in text; retype it")
            return _UNFIT.sub("", expanded)
        return expanded

    # From places to lines

    @property
    def expanded(self) -> Mapping[str, str]:
        """Text from the environment -> its spelling in the file: ${NAME}."""
        return self._expanded

    def masked(self, text: str) -> str:
        """Return `text` with all texts from the environment replaced by their spelling."""
        for value in sorted(self._expanded, key=len, reverse=True):
            if len(value) >= _SHORTEST_MASKED:
                text = text.replace(value, self._expanded[value])
        return text

    def locate(self, place: Place, text: str, *, key: bool = False) -> ConfigProblem:
        """Return the fault `text` with the line and column of `place`, of its key if `key`."""
        node, key_node, path, found = self._find(place)
        hint = (
            _yaml11_hint(node)
            if found and text.startswith(("must be text", "is not text"))
            else None
        )
        mark = (key_node if key and key_node else node).start_mark
        return ConfigProblem(mark.line + 1, mark.column + 1, path, hint or text)

    def _find(self, place: Place) -> tuple[yaml.Node, yaml.Node | None, str, bool]:
        node, key, path = self._root, None, ""
        for step in place:
            if isinstance(step, int) and isinstance(node, yaml.SequenceNode):
                node, key, path = node.value[step], None, f"{path}[{step}]"
                continue
            if step == "key" and not _named(node, "key"):
                single = _only_pair(node)
                target = single[0] if single else key or node
                return target, target, path, True
            pair = _pair(node, step)
            if pair is None:
                return node, key, f"{path}.{step}" if path else str(step), False
            key, node = pair
            path = f"{path}.{key.value}" if path else key.value
        return node, key, path, True


def _named(node: yaml.Node, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((pair for pair in node.value if pair[0].value == name), None)


def _only_pair(node: yaml.Node) -> tuple[yaml.Node, yaml.Node] | None:
    return node.value[0] if isinstance(node, yaml.MappingNode) and len(node.value) == 1 else None


def _pair(node: yaml.Node, step: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the key and value that `step` names, also inside the only key of a mapping."""
    if isinstance(step, int):
        return node.value[step] if isinstance(node, yaml.MappingNode) else None
    for name in (step, *SYNONYMS.get(step, ())):
        pair = _named(node, name)
        if pair is not None:
            return pair
    single = _only_pair(node)
    return _named(single[1], step) if single else None


def _yaml11_hint(node: yaml.Node) -> str | None:
    """Return advice if YAML 1.1 took the text for something else."""
    kind = node.tag.removeprefix(_TAG)
    if kind == "bool":
        return f"YAML reads {node.value} as true or false; quote it: '{node.value}'"
    return "is empty; give a text, or leave it out" if kind == "null" else None
