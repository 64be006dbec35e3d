"""Finds out the parity of a line."""

from __future__ import annotations

import dataclasses

from kamstrup_mqtt.core.model import LinkState, SerialParams


class ParityDetector:
    """Tries the line without parity and with even parity in turn, until frames come.

    learned  the parity that worked in an earlier run
    enabled  False: the line is opened as it is configured
    """

    def __init__(self, params: SerialParams, learned: str | None, *, enabled: bool) -> None:
        self.params = params
        self.enabled = enabled
        if enabled and learned == "N":
            self.params = dataclasses.replace(params, parity="N")
        elif enabled and learned == "E":
            self.params = dataclasses.replace(params, parity="E")
        self._since: float | None = None

    def confirm(self) -> None:
        """A frame came, so these parameters are right."""
        self._since = None

    def is_due(self, now: float, wait: float, last_error: tuple[LinkState, str] | None) -> bool:
        """Return whether bytes came in vain for `wait` seconds with these parameters.

        `now` is monotonic.
        """
        if not self.enabled or last_error is None or last_error[0] is LinkState.WRONG_KEY:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= wait

    def switch(self) -> SerialParams:
        """Change to the other parity and return the parameters."""
        other = dataclasses.replace(self.params, parity="N" if self.params.parity == "E" else "E")
        self.params = other
        self._since = None
        return other
