"""The base of all sections of the configuration: strict models, errors with their place, types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

Place: TypeAlias = tuple[int | str, ...]
"""The place of a fault, relative to the section that reports it: ("values", 0, "unit")."""

Fault: TypeAlias = tuple[Place, str]

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "source": ("register", "command", "obis", "address"),
    "interval": ("update_interval",),
}
"""Field -> its other spellings in the file; `command` and `update_interval` are ESPHome's."""


class Section(BaseModel):
    """A mapping of the configuration. Refuses unknown keys and never shows input in errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )


S = TypeVar("S", bound=Section)


def validation_error(faults: Iterable[Fault]) -> ValidationError:
    """Return an exception that reports several faults at once, each at its place."""
    details = [_detail(place, text) for place, text in faults]
    return ValidationError.from_exception_data("configuration", details, hide_input=True)


def validate_each(
    section: type[S], raw: Any, check: Callable[[int, S], Iterator[Fault]]
) -> tuple[S, ...]:
    """Validate every entry of the list `raw` as a `section`, and report the faults of all entries.

    `check` yields further faults of a valid entry, given its index.
    """
    if not isinstance(raw, list):
        raise ValueError("must be a list: lines that start with -")
    entries: list[S] = []
    details: list[InitErrorDetails] = []
    for index, item in enumerate(raw):
        try:
            entry = section.model_validate(item)
        except ValidationError as error:
            details += [_moved(index, found) for found in error.errors(include_url=False)]
            continue
        entries.append(entry)
        details += [_detail((index, *place), text) for place, text in check(index, entry)]
    if details:
        raise ValidationError.from_exception_data("configuration", details, hide_input=True)
    return tuple(entries)


def _moved(index: int, error: Any) -> InitErrorDetails:
    """Return an error of one entry with its place in the list."""
    place, context = (index, *error["loc"]), error.get("ctx", {})
    if error["type"] == "fault":
        return _detail(place, error["msg"])
    if error["type"] == "value_error":
        return _detail(place, str(context["error"]))
    return InitErrorDetails(type=error["type"], loc=place, input=None, ctx=context)


def _detail(place: Place, text: str) -> InitErrorDetails:
    kind = PydanticCustomError("fault", "{text}", {"text": text})
    return InitErrorDetails(type=kind, loc=place, input=None)


def suggestion(word: str, allowed: Sequence[str]) -> str:
    """Return the end of a message about an unknown word: the nearest word, and all allowed ones."""
    import difflib  # for faults only

    near = difflib.get_close_matches(word, allowed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}allowed: {', '.join(allowed) or 'nothing'}"


def as_text(value: Any) -> Any:
    """Return an unquoted number as the text that was written, for options that take text."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    return value


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        raise ValueError("contains a control character; write it as plain text on one line")
    return text


Text = Annotated[str, BeforeValidator(as_text)]
Line = Annotated[str, BeforeValidator(as_text), AfterValidator(_one_line)]
Secret = Annotated[SecretStr, BeforeValidator(as_text)]

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?\Z")
_DAY = 86400.0


def parse_duration(value: Any) -> Any:
    """Return the seconds of a number or of text such as 60s, 5m, 1h, 1h30m, 1d.

    Raises ValueError.
    """
    if value is None or isinstance(value, bool):
        raise ValueError("is not a time; write 60s, 5m, 1h, 1h30m or a number of seconds")
    if not isinstance(value, str):
        return value
    text = value.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    match = _DURATION.match(text)
    if match is None or not text:
        raise ValueError("is not a time; write 60s, 5m, 1h, 1h30m or a number of seconds")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * _DAY + hours * 3600 + minutes * 60 + seconds


def _limit(value: float) -> float:
    if not 0 < value <= 3600:
        raise ValueError("must be more than 0 and at most 3600 seconds")
    return value


def _interval(value: float) -> float:
    if not 1 <= value <= 366 * _DAY:
        raise ValueError("must be at least 1 second and at most 366 days")
    return value


Limit = Annotated[float, BeforeValidator(parse_duration), AfterValidator(_limit)]


def _signed(value: Any) -> Any:
    """Return the seconds of a duration that may begin with a sign: -60s, +5m."""
    if isinstance(value, str) and value.strip()[:1] in ("-", "+"):
        seconds = parse_duration(value.strip()[1:])
        return -seconds if value.strip().startswith("-") else seconds
    return parse_duration(value)


Offset = Annotated[float, BeforeValidator(_signed)]
Interval = Annotated[float, BeforeValidator(parse_duration), AfterValidator(_interval)]


def expand_home(path: Path) -> Path:
    """Return `path` with ~ expanded. Raises ValueError if the user has no home directory."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(
            "begins with the home directory of a user who has none; write the whole path"
        ) from None


def _absolute(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("directory", Path())
    return Path(directory) / expand_home(path)


def _existing(path: Path, info: ValidationInfo) -> Path:
    found = _absolute(path, info)
    if not found.is_file():
        raise ValueError(f"no such file: {found}")
    return found


Directory = Annotated[Path, AfterValidator(_absolute)]
"""A path, relative to the folder of the configuration file."""

ExistingFile = Annotated[Path, AfterValidator(_existing)]
