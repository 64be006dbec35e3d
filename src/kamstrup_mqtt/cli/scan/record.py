"""What a scan of all registers has found, kept in a file, so that it can go on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.model import DecodedValue, SourceId
from kamstrup_mqtt.storage.state_file import write_atomically

EVERYTHING = 0x10000
"""Registers that there can be."""


class Record:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, objects: dict[SourceId, DecodedValue]) -> int:
        """How many registers were asked for already; those that answered are put into
        `objects`."""
        try:
            stored = json.loads(self._path.read_text("utf-8"))
            registers = [int(number) for number in stored["registers"]]
            done = int(stored["done"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path}: cannot be used to go on ({error}); delete it, or name another"
                " file with --resume"
            ) from error
        for number in registers:
            objects.setdefault(number, DecodedValue(number, None, None))
        return max(0, min(done, EVERYTHING))

    def save(self, objects: Iterable[SourceId], done: int) -> None:
        numbers = sorted(id_ for id_ in objects if isinstance(id_, int))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, decimal_json.dumps({"done": done, "registers": numbers}))
        except OSError as error:
            raise ConfigError(
                f"{self._path}: {error.strerror}; name another file with --resume"
            ) from error
        print(f"kept in {self._path}", file=sys.stderr)
