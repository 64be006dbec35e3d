"""Messages for the errors of pydantic: what is wrong, and what is allowed."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.config.meters import PROTOCOLS, meter_class
from kamstrup_mqtt.config.polled import Polled
from kamstrup_mqtt.config.section import SYNONYMS, Place, Section, suggestion
from kamstrup_mqtt.meters import registry

_PROTOCOLS = {name: meter_class(name) for name in PROTOCOLS}
_POLLED_ONLY = frozenset(Polled.model_fields) | {"update_interval", "timing"}

_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "must be text",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "path_type": lambda _: "must be text: the path of a file",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}",
    "string_too_long": lambda ctx: f"must be at most {ctx['max_length']} characters",
    "too_long": lambda ctx: f"must be at most {ctx['max_length']} characters",
    "string_pattern_mismatch": lambda _: "contains a character that is not allowed",
    "literal_error": lambda ctx: f"allowed: {ctx['expected'].replace(' or ', ', ')}",
    "tuple_type": lambda _: "must be a list: lines that start with -",
    "list_type": lambda _: "must be a list: lines that start with -",
    "model_type": lambda _: "must be a mapping: lines of key: value",
    "dict_type": lambda _: "must be a mapping: lines of key: value",
    "model_attributes_type": lambda _: "must be a mapping: lines of key: value",
    "value_error": lambda ctx: str(ctx["error"]),
}


def explain(error: Mapping[str, Any]) -> tuple[Place, str, bool]:
    """Return the place in the file, the message, and whether the key is wrong, of one error."""
    loc: Place = error["loc"]
    kind: str = error["type"]
    place = _without_tag(loc)
    if kind == "union_tag_not_found":
        return (*place, "protocol"), f"is missing; allowed: {', '.join(_PROTOCOLS)}", False
    if kind == "union_tag_invalid":
        words = f"no such protocol; {suggestion(str(error['ctx']['tag']), list(_PROTOCOLS))}"
        return (*place, "protocol"), words, False
    if kind == "missing":
        return place, _missing(loc), False
    if kind == "extra_forbidden":
        return place, _unknown(loc), True
    if kind in _WORDS:
        return place, _WORDS[kind](error.get("ctx", {})), False
    return place, str(error["msg"]), False


def _without_tag(loc: Place) -> Place:
    """Remove the protocol that pydantic puts after the number of a meter."""
    tagged = loc[0] == "meters" and len(loc) > 2 and loc[2] in _PROTOCOLS
    return (*loc[:2], *loc[3:]) if tagged else loc


def _missing(loc: Place) -> str:
    field = loc[-1]
    if field == "model":
        models = registry.models_of(str(loc[2]))
        return f"is missing; allowed: {', '.join(models)}"
    if field == "port":
        return "is missing; give /dev/serial/by-id/... or tcp://host:port"
    if field == "source":
        return "is missing; give the register as register: 0x003C, or an object as obis: 1-1:1.7.0"
    if field == "meters":
        return "is missing; list at least one meter"
    return "is missing"


def _unknown(loc: Place) -> str:
    if loc[0] == "meters" and loc[2:] and loc[2] == "han" and loc[3] in _POLLED_ONLY:
        return "is not allowed with protocol han: the meter sends without being asked"
    fields = [name for section in _sections(loc[:-1]) for name in section.model_fields]
    spelled = [
        word for name in fields for word in (name, *SYNONYMS.get(name, ())) if word != "source"
    ]
    return f"unknown key; {suggestion(str(loc[-1]), sorted(spelled))}"


def _sections(loc: Place) -> list[type[Section]]:
    """Return the models of the section at `loc`."""
    sections: list[type[Section]] = [Config]
    for step in loc:
        if step in _PROTOCOLS:
            sections = [_PROTOCOLS[str(step)]]
        elif isinstance(step, str):
            inside = [s.model_fields[step].annotation for s in sections if step in s.model_fields]
            sections = [found for annotation in inside for found in _classes_in(annotation)]
    return sections


def _classes_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _classes_in(part)
