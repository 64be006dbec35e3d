"""The exceptions of this program.

    KamstrupMqttError
    ├── ConfigError     the configuration file or the command line; the program exits with 2
    ├── LinkError       the port or the connection; it is reopened after a pause
    └── MeterError      one request or one message; the next poll is a new attempt
        └── ReplayError an encrypted list that was used before; it is dropped and counted

Exceptions of libraries (OSError, SerialException, termios.error, MqttError, ValidationError) are
converted in the module that owns the library. Any other exception is a programming error. Only the
supervisor of the readers catches those.
"""

from __future__ import annotations

from collections.abc import Sequence

from kamstrup_mqtt.core.model import LinkState


class KamstrupMqttError(Exception):
    """An error that the user can resolve. Its text is the whole message."""


class ConfigError(KamstrupMqttError):
    """The configuration is invalid. `faults` has one line of text for each fault."""

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class LinkError(KamstrupMqttError):
    """The line is lost or cannot be opened. The message says what to do."""

    def __init__(self, state: LinkState, message: str) -> None:
        self.state = state
        super().__init__(message)


class MeterError(KamstrupMqttError):
    """A request failed or a message cannot be read. `state` is the kind of failure."""

    def __init__(self, state: LinkState, message: str) -> None:
        self.state = state
        super().__init__(message)


class ReplayError(MeterError):
    """A list whose frame counter did not rise, possibly a replay of an old list."""
