"""Reads a configuration file and reports all faults at once, each with its line and column.

    config.yaml:12:11: meters[0].model: no such model: multical_43; did you mean ...

YAML 1.1 takes some plain words for something else (`on` is true, `012` is ten, `1:30` is ninety).
They are refused with the advice to quote them. Secrets come from `${NAME}`, from `password_file` or
from systemd's credentials, and are never part of a message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kamstrup_mqtt.config import Config, collect_warnings
from kamstrup_mqtt.config.cross_check import cross_check_raw
from kamstrup_mqtt.config.section import Fault, Place, expand_home
from kamstrup_mqtt.config.yaml_document import ConfigProblem, YamlDocument
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.topics import slug

CREDENTIAL = "mqtt_password"
"""The systemd credential with the broker's password, used if none is configured."""
KEYS = ("encryption_key", "authentication_key")
"""The secrets of a HAN meter. Their credentials are named <id of the meter>_<name>."""
_NAMED = re.compile(r"""(alias|anchor|handle) (['"]).*?\2""")


def load(path: str | Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration in `path`. Raises ConfigError with all faults."""
    path = Path(path)
    tree = YamlDocument(_compose(path, _read(path)), environ)
    if not isinstance(tree.data, dict):
        raise ConfigError(f"{path}:1:1: must be a mapping of mqtt, meters, ...; see the example")
    for section in ("mqtt", "homeassistant"):
        if tree.data.get(section) is None:
            tree.data[section] = {}  # all its lines are commented out
    faults = list(tree.faults)
    faults += [
        tree.locate(place, text) for place, text in _find_secrets(tree, path.parent, environ)
    ]
    context = {"directory": path.parent}
    try:
        config = Config.model_validate(tree.data, context=context)
    except ValidationError as error:
        from kamstrup_mqtt.config.error_messages import (
            explain,
        )  # imports the models of all protocols

        found = [explain(dict(details)) for details in error.errors(include_url=False)]
        found += [
            (place, text, False)
            for place, text in cross_check_raw(tree.data.get("meters"), context)
        ]
        faults += [tree.locate(place, text, key=at_key) for place, text, at_key in found]
        raise ConfigError(_format_faults(path, faults, tree)) from None
    if faults:
        raise ConfigError(_format_faults(path, faults, tree))
    warnings = [tree.locate(place, text) for place, text in collect_warnings(config)]
    return config.with_source_info(tuple(_format_faults(path, warnings, tree)), tree.expanded)


def _format_faults(path: Path, faults: Iterable[ConfigProblem], tree: YamlDocument) -> list[str]:
    # a value that YAML misreads (012) is often also invalid for its option: report it once
    misread = {(mark.line, mark.column) for mark in tree.faults}
    marks = {m for m in faults if m in tree.faults or (m.line, m.column) not in misread}
    return [
        tree.masked(f"{path}:{line}:{column}: {f'{where}: ' if where else ''}{text}")
        for line, column, where, text in map(astuple, sorted(marks))
    ]


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; start with a copy of config.example.yaml"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory; give the configuration file in it") from None
    except PermissionError:
        raise ConfigError(
            f"{path}: permission denied; make it readable to the user who runs this program"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise ConfigError(
            f"{path}:{line}:{column}: is not UTF-8; save the file in that encoding"
        ) from None


def _compose(path: Path, text: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise ConfigError(f"{path}:{line}:{column}: a control character; remove it") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_fault(path, text, error)) from None
    except RecursionError:
        raise ConfigError(f"{path}:1:1: is nested too deeply") from None
    if node is None:
        raise ConfigError(f"{path}:1:1: is empty; start with a copy of config.example.yaml")
    assert isinstance(node, yaml.Node)
    return node


def _syntax_fault(path: Path, text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
    problem = error.problem or "cannot be read"
    # YAML's message quotes the text at fault, which may be a secret that starts with * or !
    if mark and "password" in "".join(text.split("\n")[mark.line : mark.line + 1]):
        return f"{path}:{place}: not YAML: a password that YAML takes for something else; quote it"
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces"
    elif "${" in _line_of(error):
        problem += "; quote a text that contains ${...} and other characters"
    problem = _unquoted(problem)
    context = f" ({_unquoted(error.context)})" if error.context and "tab;" not in problem else ""
    return f"{path}:{place}: not YAML: {problem}{context}"


def _unquoted(words: str) -> str:
    """Remove the name that YAML quotes: `key: *name` may be a secret without quotes."""
    return _NAMED.sub(r"\1 (quote a text that starts with *, & or !)", words)


def _line_of(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    return (mark.get_snippet() or "") if mark else ""


def _find_secrets(tree: YamlDocument, directory: Path, environ: Mapping[str, str]) -> list[Fault]:
    """Put the broker's password and the meters' keys into the data, from files or credentials.

    Returns the faults of those files.
    """
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    folders = [Path(credentials), directory] if credentials else [directory]
    faults = _find_secret(
        tree.data["mqtt"], "password", ("mqtt",), folders, CREDENTIAL, credentials
    )
    meters = tree.data.get("meters")
    for index, meter in enumerate(meters if isinstance(meters, list) else ()):
        if not isinstance(meter, dict) or meter.get("protocol") != "han":
            continue
        for name in KEYS:
            own = f"{meter.get('id') or slug(str(meter.get('name')))}_{name}"
            faults += _find_secret(meter, name, ("meters", index), folders, own, credentials)
    return faults


def _find_secret(
    section: Any,
    option: str,
    place: Place,
    folders: list[Path],
    credential: str,
    credentials: str | None,
) -> list[Fault]:
    """Put the secret `option` into a section and return the faults.

    The secret comes from the file that `<option>_file` names, searched among the credentials
    first, else from the credential named after the option.
    """
    if not isinstance(section, dict):
        return []
    name = section.get(f"{option}_file")
    place = (*place, f"{option}_file")
    if name is None:
        if credentials and section.get(option) is None:
            file = Path(credentials) / credential
            return _read_secret(section, option, file, place) if file.is_file() else []
        return []
    if not isinstance(name, str):
        return []  # reported as not being text
    if section.get(option) is not None:
        return [(place, f"means the same as {option}; remove one")]
    try:
        candidates = [folder / expand_home(Path(name)) for folder in folders]
    except ValueError as error:
        return [(place, str(error))]
    found = next((c for c in candidates if c.is_file()), candidates[-1])
    return _read_secret(section, option, found, place)


def _read_secret(section: dict[str, Any], option: str, file: Path, place: Place) -> list[Fault]:
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        return [(place, f"{file} cannot be read: {error.strerror}")]
    except UnicodeDecodeError:
        return [(place, f"{file} is not UTF-8")]
    if not text or "\n" in text:
        what = "password" if option == "password" else "key"
        return [(place, f"{file} must hold the {what}, one line")]
    section[option] = text
    return []
