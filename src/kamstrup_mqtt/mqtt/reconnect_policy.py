"""Decides when to connect to the broker again, and which failures to log."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from kamstrup_mqtt.core.backoff import Backoff
from kamstrup_mqtt.mqtt.broker_errors import BrokerError, Trouble
from kamstrup_mqtt.mqtt.limits import PublisherLimits

_LOG = logging.getLogger(__package__)

_SLOW = frozenset({Trouble.REFUSED, Trouble.TLS})
"""A quick retry does not help against these, and may lock the user out."""


class ReconnectPolicy:
    """Follows connections and their losses.

    Each kind of trouble is logged once until everything is announced again: a broker that accepts
    the connection and acknowledges nothing is of no use. `reconnects` counts lost connections.
    """

    def __init__(
        self,
        limits: PublisherLimits,
        instance: str,
        rng: random.Random,
        monotonic: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._instance = instance
        self._rng = rng
        self._monotonic = monotonic
        self._backoff = Backoff(limits.first_backoff, limits.backoff_cap, rng)
        self._connected_at: float | None = None
        self._quick_losses = 0
        self._has_conflict = False
        self._logged: set[Trouble] = set()
        self.is_announced = False
        self.reconnects = 0

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._connected_at is not None

    def mark_connected(self) -> None:
        """The broker has accepted the connection."""
        self._connected_at = self._monotonic()

    def mark_announced(self, address: str) -> None:
        """Everything is announced to the broker at `address`."""
        self.is_announced = True
        self._logged.clear()
        if self._quick_losses < 2:  # two daemons that take turns would fill the log
            _LOG.info("connected to the broker %s%s", address, " again" if self.reconnects else "")

    def mark_closed(self) -> None:
        """The connection was closed on purpose."""
        self.is_announced = False

    def handle_loss(self, error: BrokerError) -> float:
        """Log a loss or a failed attempt. Returns the seconds to wait before the next attempt."""
        was_connected = self.is_connected
        self._count_loss()
        self._connected_at, self.is_announced = None, False
        if self._quick_losses >= self._limits.quick_losses:
            self.report_conflict(
                f"the connection was lost {self._quick_losses} times within"
                f" {self._limits.quick_loss:g} s"
            )
        self._log_trouble(error, was_connected=was_connected)
        pause = self._backoff.next_pause()
        if self._has_conflict or error.trouble in _SLOW:
            return self._limits.slow_backoff * self._rng.uniform(1.0, 1.25)
        return pause

    def _count_loss(self) -> None:
        if self._connected_at is None:
            return
        self.reconnects += 1
        lifetime = self._monotonic() - self._connected_at
        self._quick_losses = self._quick_losses + 1 if lifetime < self._limits.quick_loss else 0
        if self._quick_losses == 0 and self.is_announced:
            self._backoff.reset()
            self._has_conflict = False

    def _log_trouble(self, error: BrokerError, *, was_connected: bool) -> None:
        if error.trouble in self._logged or (was_connected and self._quick_losses > 1):
            _LOG.debug("broker: %s", error)
        else:
            _LOG.warning(
                "broker: %s (reading continues, and the daemon tries to connect again)", error
            )
        self._logged.add(error.trouble)

    def report_conflict(self, evidence: str) -> None:
        """Log once that another daemon uses the same instance, and connect slowly from now on."""
        if not self._has_conflict:
            _LOG.error(
                "another daemon uses instance %s on this broker; set mqtt.instance (%s)",
                self._instance,
                evidence,
            )
        self._has_conflict = True
