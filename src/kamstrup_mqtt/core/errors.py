"""The exceptions of this program.

    KamstrupMqttError
    ├── ConfigError     the user's file or command line: exit 2
    ├── LinkError       the port or the connection: close it, back off, open it again
    └── MeterError      one exchange or one message: give it up, try at the next poll
        └── ReplayError an encrypted list that was used before: drop it, and count it

Foreign exceptions (OSError, SerialException, termios.error, MqttError, ValidationError) stop at
the module that owns the library and become one of these. Anything else is a programming error
and is not caught, except at the one place that `decisions` names: the reader's supervisor.
"""

from __future__ import annotations

from collections.abc import Sequence

from kamstrup_mqtt.core.model import LinkState


class KamstrupMqttError(Exception):
    """Something that the user can do something about; str() is the whole message."""


class ConfigError(KamstrupMqttError):
    """The configuration cannot be used. `faults` holds one line of text for each fault found."""

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class LinkError(KamstrupMqttError):
    """The byte stream is lost or could not be opened; the message says what to do about it."""

    def __init__(self, state: LinkState, message: str) -> None:
        self.state = state
        super().__init__(message)


class MeterError(KamstrupMqttError):
    """One exchange failed or one message cannot be read; `state` tells in which way."""

    def __init__(self, state: LinkState, message: str) -> None:
        self.state = state
        super().__init__(message)


class ReplayError(MeterError):
    """A list whose frame counter did not rise; it may be an old one that is played again."""
