"""Detects the model of a meter by its answers or lists. The rules are in the model files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache

from kamstrup_mqtt.core.model import DecodedValue, SourceId
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.auto import AUTO, NAME_REGISTER
from kamstrup_mqtt.meters.model import Detection, ListDetection

UNKNOWN_MODEL = "kmp_meter"
"""The model of a KMP meter that no rule detects."""

_HEAT_ENERGY = 60
_NAME_DIGITS = 3
"""Digits of a number in register 404 that are the name of the model."""


def detection_registers() -> tuple[SourceId, ...]:
    """Return the KMP registers that tell models apart."""
    return registry.all_models()[AUTO].profiles["kmp"].default_sources


def detect_model(
    objects: Iterable[DecodedValue], protocol: str = "kmp", baudrate: int | None = None
) -> str:
    """Return the model of a polled meter that answered `objects`.

    These are registers and, for KMP, the type number ("type"). If no rule matches, it is the
    generic model of the protocol. A 303, 603 or 803 differs from a 403 by its name in register 404
    alone, because their type numbers are not published.
    """
    by_id = {obj.id: obj for obj in objects}
    values = {id_: obj.value for id_, obj in by_id.items() if obj.value is not None}
    detections = dict(_detections(protocol))
    if protocol == "kmp":
        named = _named_model(values, detections)
        if named is not None:
            return named
    type_ = str(values.get("type", ""))
    matching = [
        (bool(detection.types), _specificity(detection), model_id)
        for model_id, detection in detections.items()
        if _matches(detection, values.keys(), type_, baudrate)
    ]
    return max(matching)[-1]


def _detections(protocol: str) -> Iterator[tuple[str, Detection]]:
    for model_id, model in registry.models_of(protocol).items():
        detection = model.profiles[protocol].detection
        if isinstance(detection, Detection):
            yield model_id, detection


def _named_model(
    values: Mapping[SourceId, Decimal | str], detections: Mapping[str, Detection]
) -> str | None:
    """Return the model whose name is in register 404; None if the register contains no name.

    A meter with a name that no model has is an unknown meter. A number is a name only on heat
    meters.
    """
    value = values.get(NAME_REGISTER, "")
    text = format(value, "f") if isinstance(value, Decimal) else value
    is_name = any(map(str.isalpha, text))
    if not is_name and _HEAT_ENERGY not in values:
        return None
    words = re.findall(r"[^\W\d_]+|\d+", text.casefold()) if is_name else [text[:_NAME_DIGITS]]
    for model_id, detection in detections.items():
        if any(name.casefold() in words for name in detection.names):
            return model_id
    return UNKNOWN_MODEL if is_name else None


def _matches(
    detection: Detection, answered: Iterable[SourceId], type_: str, baudrate: int | None
) -> bool:
    answered = set(answered)
    return (
        not detection.is_name_only
        and answered.issuperset(detection.sources)
        and answered.isdisjoint(detection.none_of)
        and (not detection.any_of or not answered.isdisjoint(detection.any_of))
        and (not detection.types or type_.startswith(detection.types))
        and detection.baudrate in (None, baudrate)
    )


def _specificity(detection: Detection) -> int:
    """Return the number of conditions of a rule."""
    return len(detection.sources) + bool(detection.any_of) + (detection.baudrate is not None)


def detect_list_model(maker: str, phases: int, list_id: str | None) -> str | None:
    """Return the model of a HAN meter that pushed a list; None if no model has such a list.

    `list_id` is None for a list without identifier. The longest prefix of it decides. An unknown
    identifier is ignored.
    """
    rules = _list_rules().get((maker, phases), ())
    if list_id is None:
        without = next((model_id for prefix, model_id in rules if prefix is None), None)
        if without is not None:
            return without
    named = [(prefix, model_id) for prefix, model_id in rules if prefix is not None]
    for prefix, model_id in named:
        if list_id is not None and list_id.startswith(prefix):
            return model_id
    return named[-1][1] if named else None


@cache
def _list_rules() -> Mapping[tuple[str, int], tuple[tuple[str | None, str], ...]]:
    """Return maker and phases -> prefixes of list identifiers with models, the longest first."""
    rules: dict[tuple[str, int], list[tuple[str | None, str]]] = {}
    for model_id, model in registry.models_of("han").items():
        rule = model.profiles["han"].detection
        if isinstance(rule, ListDetection):
            prefixes = rule.list_ids or (None,)
            found = rules.setdefault((rule.maker, rule.phases), [])
            found += [(prefix, model_id) for prefix in prefixes]
    return {key: tuple(sorted(found, key=_by_length)) for key, found in rules.items()}


def _by_length(rule: tuple[str | None, str]) -> tuple[int, str]:
    prefix, model_id = rule
    return -len(prefix or ""), model_id
