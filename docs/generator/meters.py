"""The pages of the meter models, and the tables of all models, from the models' own files."""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from docs.generator.tables import table

from kamstrup_mqtt.config.meters import meter_class
from kamstrup_mqtt.config.values import sources_by_key
from kamstrup_mqtt.core.model import SerialParams, SourceId
from kamstrup_mqtt.meters import auto, models, registry
from kamstrup_mqtt.meters.limits import limits_for
from kamstrup_mqtt.meters.model import (
    Detection,
    ListDetection,
    MeterModel,
    ProtocolProfile,
    Quantity,
)

CONNECTION = {
    "kmp": "optical head",
    "kmp-ascii": "optical head",
    "iec62056-21": "optical head",
    "multical-66": "optical head",
    "han": "M-Bus slave adapter on the HAN port",
}
"""Protocol -> what the meter is read with."""

_GUIDE = {True: "../start/han-port.md", False: "../start/optical-head.md"}
_WHOLE = ("han", "iec62056-21")
"""Protocols whose messages come whole, so that nothing is asked for by name."""
_VECTORS = Path(__file__).resolve().parents[2] / "tests/vectors"
_MEDIA = ("heat", "water", "electricity", "any")
_UNCONFIRMED = "(unconfirmed)"


def line_settings(protocol: str, profile: ProtocolProfile) -> SerialParams:
    """The settings of the line in this protocol, for this model."""
    return profile.serial or registry.find_protocol(protocol).serial


def readme_table() -> str:
    """One row for each way in which meters are read, with the names of the meters."""
    groups: dict[tuple[str, str, str, int], list[str]] = defaultdict(list)
    for model in registry.all_models().values():
        if model.medium == "any":
            continue
        for protocol, profile in model.profiles.items():
            line = line_settings(protocol, profile)
            key = (model.medium, model.manufacturer, protocol, line.baudrate)
            groups[key].append(model.name)
    rows = [
        (
            _joined(maker, protocol, names),
            medium,
            f"`{protocol}`",
            f"{CONNECTION[protocol]}, {baud} baud",
        )
        for (medium, maker, protocol, baud), names in sorted(groups.items(), key=_order)
    ]
    return table(("meters", "medium", "protocol", "read with"), rows)


def _order(group: tuple[tuple[str, str, str, int], list[str]]) -> tuple[int, bool, str, str, int]:
    (medium, maker, protocol, baud), _ = group
    return _MEDIA.index(medium), maker != "Kamstrup", maker, protocol, baud


def _joined(maker: str, protocol: str, names: list[str]) -> str:
    """`MULTICAL 302, 303, flowIQ`: what names begin with in common is written once."""
    if meter_class(protocol).is_pushed:  # "Kaifa, one phase": the comma belongs to the name
        return "; ".join(name if name.startswith(maker) else f"{maker} {name}" for name in names)
    words, last = [], ""
    for part in ", ".join(names).replace(" / ", ", ").split(", "):
        first, _, rest = part.partition(" ")
        words.append(rest if rest and first == last else part)
        last = first
    return ", ".join(words)


def title(model: MeterModel) -> str:
    """The name of a model, with its maker where a bare number would not say what it is."""
    known = ("MULTICAL", "Any", model.manufacturer or model.name)
    return model.name if model.name.startswith(known) else f"{model.manufacturer} {model.name}"


def ordered() -> list[tuple[str, MeterModel]]:
    """Every model with its id, by medium and name."""
    models_ = registry.all_models().items()
    return sorted(models_, key=lambda item: (_MEDIA.index(item[1].medium), title(item[1])))


def overview_table() -> str:
    """All models: name, id, medium, protocols, with a link to the page of each."""
    rows = [
        (
            f"[{title(model)}]({id_}.md)",
            f"`{id_}`",
            model.medium,
            ", ".join(f"`{protocol}`" for protocol in model.profiles),
            _power_supply(model),
        )
        for id_, model in ordered()
    ]
    return table(("meter", "`model`", "medium", "`protocol`", "power supply"), rows)


def page(id_: str, model: MeterModel) -> str:
    """The page of one model."""
    sections = [f"# {title(model)}", *_introduction(id_), *_facts(id_, model)]
    for protocol, profile in model.profiles.items():
        sections += _protocol(id_, model, protocol, profile)
    return "\n\n".join(sections) + "\n"


def _introduction(id_: str) -> Iterator[str]:
    module = auto if id_ == auto.AUTO else importlib.import_module(f"{models.__name__}.{id_}")
    yield inspect.getdoc(module) or ""


def _facts(id_: str, model: MeterModel) -> Iterator[str]:
    if model.note:
        yield "!!! note\n\n    " + model.note
    limits = limits_for(model)
    rows = [
        ("Configuration", f"`model: {id_}`"),
        ("Maker", model.manufacturer or "any"),
        ("Medium", model.medium),
        ("Power supply", _power_supply(model)),
        ("Plausible power", f"up to {limits.power} W (`max_power` changes it)"),
    ]
    if model.medium != "electricity":
        rows.append(("Plausible flow", f"up to {limits.flow} m³/h (`max_flow` changes it)"))
    rows.append(("Tested with", _proof(id_)))
    yield "\n".join(f"- {name}: {value}" for name, value in rows)


def _protocol(
    id_: str, model: MeterModel, protocol: str, profile: ProtocolProfile
) -> Iterator[str]:
    pushed = meter_class(protocol).is_pushed
    yield f"## Over `{protocol}`"
    line = line_settings(protocol, profile)
    text = f"Read with an [{CONNECTION[protocol]}]({_GUIDE[pushed]}) at {line}."
    text += " The meter sends by itself." if pushed else f" Read every {_interval(model)}."
    yield text + _serial_number(profile) + _detection(profile)
    yield f"```yaml config\nmeters:\n{_example(id_, model, protocol)}```"
    values = list(_values(protocol, profile))
    unlisted = set(profile.more)
    for group in dict.fromkeys(group for _, _, group in values):
        rows = [_row(q, s) for q, s, g in values if g == group and s not in unlisted]
        if rows:
            period = profile.periods.get(group)
            every = f", every {period:g} s" if period else ""
            yield f"### Group `{group}`{every}"
            yield table(_HEADER, rows)
    more = [_row(q, s) for q, s, _ in values if s in unlisted]
    if more:
        yield "### On request"
        yield (
            "These values are published too if the meter sends them."
            if protocol in _WHOLE
            else "These values are read when the configuration lists them in `values`."
        )
        yield table(_HEADER, more)
    if any(_UNCONFIRMED in quantity.name for quantity, _, _ in values):
        yield (
            f"A name that ends in *{_UNCONFIRMED}* marks a value whose meaning no recording has"
            " proven yet."
        )


_HEADER = ("key", "name", "unit", "source")


def _row(quantity: Quantity, source: SourceId) -> tuple[str, ...]:
    unit = "as sent" if quantity.as_sent else quantity.unit or ""
    name = quantity.name if quantity.enabled else f"{quantity.name} *(disabled)*"
    return f"`{quantity.key}`", name, unit, f"`{source}`"


def _values(protocol: str, profile: ProtocolProfile) -> Iterator[tuple[Quantity, SourceId, str]]:
    for sources in sources_by_key(protocol, profile).values():
        for source, group in sources:
            yield registry.quantity_for(protocol, profile, source), source, group


def _interval(model: MeterModel) -> str:
    seconds = model.interval or (3600 if model.has_battery else 60)
    return {60: "minute", 3600: "hour"}.get(int(seconds), f"{seconds / 60:g} minutes")


def _serial_number(profile: ProtocolProfile) -> str:
    if profile.identity:
        return ""
    return (
        " The meter does not send its serial number: the configured `id` takes its place, or set"
        " `serial`."
    )


def _detection(profile: ProtocolProfile) -> str:
    """How `auto` and `scan` recognise the model, as a sentence."""
    rule = profile.detection
    if isinstance(rule, ListDetection):
        phases = "one phase" if rule.phases == 1 else "three phases"
        named = f", whose identifier begins with {_codes(rule.list_ids)}" if rule.list_ids else ""
        return f" `model: auto` recognises it by its lists with {phases}{named}."
    if not isinstance(rule, Detection):
        return ""
    conditions = [
        f"{words} {_codes(found)}"
        for words, found in (
            ("its type number begins with", rule.types),
            ("it answers to", rule.sources),
            ("it answers to one of", rule.any_of),
            ("it does not answer to", rule.none_of),
        )
        if found
    ]
    ways = [f"by its name ({_codes(rule.names)})"] if rule.names else []
    if conditions:
        ways.append(f"because {' and '.join(conditions)}")
    return f" It is recognised {', or '.join(ways)}." if ways else ""


def _codes(words: Iterable[object]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _proof(id_: str) -> str:
    """Where the bytes of the tests come from."""
    vectors = yaml.safe_load((_VECTORS / f"{id_}.yaml").read_text(encoding="utf-8"))
    words = {"captured": "bytes of a meter", "built": "bytes built from documents"}
    return " and ".join(words[s] for s in words if any(v["source"] == s for v in vectors))


def _power_supply(model: MeterModel) -> str:
    if model.medium == "any":
        return "battery is assumed" if model.has_battery else "mains is assumed"
    return "battery" if model.has_battery else "mains"


def _example(id_: str, model: MeterModel, protocol: str) -> str:
    lines = [
        f"  - name: {model.name.split(',')[0].split(' /')[0]}",
        f"    protocol: {protocol}",
        f"    model: {id_}",
        "    port: /dev/serial/by-id/usb-example-if00-port0",
    ]
    if not any(model.profiles[protocol].groups.values()):
        lines += ["    custom:", "      - register: 60", "        name: Heat energy"]
    return "".join(f"{line}\n" for line in lines)
