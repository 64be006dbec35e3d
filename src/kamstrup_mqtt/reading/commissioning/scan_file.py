"""Keeps the progress of a scan of all registers, so that another scan can continue it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.core.files import write_atomically
from kamstrup_mqtt.core.model import SourceId
from kamstrup_mqtt.reading.commissioning.scan_candidates import ALL_REGISTERS


class ScanFile:
    """A JSON file with the number of registers asked for, and those that answered."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> tuple[int, list[int]]:
        """The number of registers asked for, and those that answered; nothing without a file.

        Raises ConfigError if the file cannot be used.
        """
        try:
            stored = json.loads(self.path.read_text("utf-8"))
            registers = [int(number) for number in stored["registers"]]
            done = int(stored["done"])
        except FileNotFoundError:
            return 0, []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path}: cannot be continued ({error}); delete it, or name another file"
                " with --resume"
            ) from error
        return max(0, min(done, ALL_REGISTERS)), registers

    def save(self, done: int, sources: Iterable[SourceId]) -> None:
        """Replace the file. Raises ConfigError if that fails."""
        registers = sorted(source for source in sources if isinstance(source, int))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, decimal_json.dumps({"done": done, "registers": registers}))
        except OSError as error:
            raise ConfigError(
                f"{self.path}: {error.strerror}; name another file with --resume"
            ) from error
