"""The page of configuration options, from the configuration models.

Descriptions are the docstrings below the fields, types are read from the annotations. The last
lines of such a docstring may be `Default: ...`, for a default that is computed, and
`Example: ...`, one line of YAML. Both are read from the source, so that the daemon pays nothing.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docs.generator.tables import table
from pydantic_core import PydanticUndefined

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.config.meters import PROTOCOLS, meter_class
from kamstrup_mqtt.config.section import Section

WORDS = {
    "Backfill": "`true` or [options](#backfill)",
    "CustomValue": "[custom values](#custom)",
    "Directory": "path of a directory",
    "ExistingFile": "path of a file",
    "HomeAssistantConfig": "[options](#homeassistant)",
    "Interval": "duration",
    "Key": "32 hex digits",
    "Limit": "duration",
    "Line": "text",
    "ListedValue": "[values](#values)",
    "LogLevel": "`debug`, `info`, `warning` or `error`",
    "MeterConfig": "[meters](#meters)",
    "MqttConfig": "[options](#mqtt)",
    "Offset": "duration, may be negative",
    "PortAddress": "device path or `tcp://host:port`",
    "Secret": "text (secret)",
    "Slow": "[options](#slow)",
    "SpoolMode": "`offline`, `always` or `memory`",
    "SpoolConfig": "mode or [options](#spool)",
    "Text": "text",
    "TlsConfig": "`true`, `false` or [options](#tls)",
    "Topic": "topic",
    "Timing": "[options](#timing)",
    "Wake": "`nul` or `ident`",
    "Word": "text",
    "bool": "`true` or `false`",
    "int": "whole number",
    "str": "text",
}
"""Type in an annotation -> what the page calls it."""


@dataclass(frozen=True)
class Group:
    """One section of the page: options that stand at one place of the file."""

    anchor: str
    heading: str
    models: tuple[str, ...]
    """Names of the configuration models whose own fields are shown."""
    parent: str = ""
    """The place in the file, as in `mqtt.tls`."""


GROUPS = (
    Group("top-level", "Top level", ("Config",)),
    Group("mqtt", "The broker: `mqtt`", ("MqttConfig",), "mqtt"),
    Group("tls", "TLS to the broker: `mqtt.tls`", ("TlsConfig",), "mqtt.tls"),
    Group("homeassistant", "Discovery: `homeassistant`", ("HomeAssistantConfig",), "homeassistant"),
    Group("spool", "History on disk: `spool`", ("SpoolConfig",), "spool"),
    Group("meters", "Every meter: `meters`", ("Meter",), "meters"),
    Group("polled", "Polled meters", ("Polled",), "meters"),
    Group("slow", "Values read less often: `slow`", ("Slow",), "slow"),
    Group("timing", "Time limits: `timing`", ("Timing",), "timing"),
    Group("kmp", "`protocol: kmp`", ("KmpMeter",), "meters"),
    Group("backfill", "The meter's own log: `backfill`", ("Backfill",), "backfill"),
    Group("kmp-ascii", "`protocol: kmp-ascii`", ("KmpAsciiMeter",), "meters"),
    Group("iec62056-21", "`protocol: iec62056-21`", ("IecMeter",), "meters"),
    Group("multical-66", "`protocol: multical-66`", ("Multical66Meter",), "meters"),
    Group("han", "`protocol: han`", ("HanMeter",), "meters"),
    Group("values", "One value: `values`", ("ListedValue", "ValueOptions"), "values"),
    Group("custom", "A register by its number: `custom`", ("CustomValue",), "custom"),
)


@dataclass(frozen=True)
class Option:
    """One option as the page shows it."""

    name: str
    type: str
    default: str
    description: str
    example: str


def models() -> dict[str, type[Section]]:
    """Every configuration model by its name."""
    for protocol in PROTOCOLS:
        meter_class(protocol)  # imports the models of the protocol
    found: dict[str, type[Section]] = {Config.__name__: Config}
    waiting: list[type[Section]] = [Section]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        found.update({model.__name__: model for model in subclasses})
    return found


def options(model: type[Section]) -> Iterator[Option]:
    """The options that a model itself defines. Raises ValueError for one without a docstring."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        name = node.target.id
        if name == "protocol" or name not in model.model_fields:
            continue  # a private attribute, or the word that chooses the model
        text = _docstring(after) or _inherited(model, name)
        if text is None:
            raise ValueError(f"{model.__name__}.{name}: no docstring below the field")
        description, computed, example = _parts(text)
        words = described_type(node.annotation)
        default = computed or _default(model.model_fields[name], words)
        yield Option(name, words, default, description, example)


def _docstring(node: ast.stmt | None) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return None


def _inherited(model: type[Section], name: str) -> str | None:
    """The docstring of the same field of a base: a default alone is often overridden."""
    for base in model.__mro__[1:]:
        if name in getattr(base, "model_fields", {}) and base is not Section:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            for node, after in zip(body.body, body.body[1:], strict=False):
                if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
                    return _docstring(after)
    return None


def _parts(text: str) -> tuple[str, str, str]:
    """Description, computed default and example of a docstring."""
    found = {"Default": "", "Example": ""}
    for label in found:
        match = re.search(rf"^{label}: (.+?)(?=\n(?:Default|Example): |\Z)", text, re.M | re.S)
        if match:
            found[label] = " ".join(match[1].split()).removesuffix(".")
            text = text.replace(match[0], "")
    return text.strip(), found["Default"], found["Example"].strip("`")


def described_type(annotation: ast.expr) -> str:
    """What the page calls the type of an annotation. Raises KeyError for one without a word."""
    if isinstance(annotation, ast.BinOp):
        sides = (annotation.left, annotation.right)
        return " or ".join(described_type(side) for side in sides if ast.unparse(side) != "None")
    if isinstance(annotation, ast.Name):
        name = "Timing" if annotation.id.endswith("Timing") else annotation.id
        return WORDS[name]
    assert isinstance(annotation, ast.Subscript)
    outer, inner = ast.unparse(annotation.value), annotation.slice
    if outer == "Literal":
        return _alternatives(inner)
    assert isinstance(inner, ast.Tuple)
    if outer == "tuple":
        return f"list of {described_type(inner.elts[0])}"
    assert outer == "Annotated", outer
    return described_type(inner.elts[0]) + _limits(inner.elts[1:])


def _alternatives(node: ast.expr) -> str:
    values = [ast.literal_eval(item) for item in getattr(node, "elts", [node])]
    words = [f"`{PARITY.get(value, value)}`" for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


PARITY = {"N": "none", "E": "even", "O": "odd"}
"""How the file spells the parity of a line."""


def _limits(arguments: list[ast.expr]) -> str:
    """`, 5 to 3600` for Field(ge=5, le=3600)."""
    for argument in arguments:
        if isinstance(argument, ast.Call) and ast.unparse(argument.func) == "Field":
            given = {word.arg: word.value for word in argument.keywords}
            if "ge" in given and "le" in given:
                low, high = (ast.literal_eval(given[name]) for name in ("ge", "le"))
                return f", {low} to {high}"
            if "max_length" in given:
                return f", at most {ast.literal_eval(given['max_length'])} characters"
    return ""


def _default(field: Any, words: str) -> str:
    """The default of a field as the file would spell it."""
    value = field.default
    if field.is_required():
        return "none, the option is required"
    if value is None or value in ("", ()) or value is PydanticUndefined:
        return "not set"
    if value == {}:
        return "the defaults of its options"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}s`" if words.startswith("duration") else f"`{value}`"


def page() -> str:
    """Every option in its group, as the page shows them below its introduction."""
    known = models()
    sections = []
    for group in GROUPS:
        sections.append(f"## {group.heading} {{#{group.anchor}}}")
        names = [known[name] for name in group.models]
        sections.append(inspect.getdoc(names[0]) or "")
        if group.anchor == "timing":
            sections += [_timing_table(known), *_entries(group, names, default=False)]
        else:
            sections += _entries(group, names)
    return "\n\n".join(section for section in sections if section) + "\n"


def _entries(group: Group, names: list[type[Section]], default: bool = True) -> Iterator[str]:
    seen = set()
    for option in (option for model in names for option in options(model)):
        if option.name in seen:
            continue
        seen.add(option.name)
        yield f"### `{option.name}` {{#{group.anchor}-{option.name}}}"
        yield option.description
        facts = [f"Type: {option.type}"]
        if default:
            facts.append(f"Default: {option.default}")
        if option.example:
            facts.append(f"Example: `{option.example}`")
        yield "\n".join(f"- {fact}" for fact in facts)


def _timing_table(known: dict[str, type[Section]]) -> str:
    """Defaults of the time limits, one column for each protocol."""
    columns = {
        protocol: fields["timing"].get_default(call_default_factory=True)
        for protocol in PROTOCOLS
        for fields in [meter_class(protocol).model_fields]
        if "timing" in fields
    }
    rows = [
        (f"`{name}`", *(f"{getattr(timing, name):g}" for timing in columns.values()))
        for name in known["Timing"].model_fields
    ]
    return table(("", *(f"`{protocol}`" for protocol in columns)), rows)
