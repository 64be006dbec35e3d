"""The times of the publisher."""

from __future__ import annotations

from dataclasses import dataclass, field

from kamstrup_mqtt.mqtt.connection import ACK_TIMEOUT, CONNECT_TIMEOUT
from kamstrup_mqtt.mqtt.publish_queue import DIAGNOSTICS_INTERVAL
from kamstrup_mqtt.mqtt.session import SessionLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherLimits:
    """Times in seconds.

    connect        for name resolution, TCP, TLS and CONNACK together
    ack            for one acknowledgement
    first_backoff  first pause after a failed connection; doubles up to `backoff_cap`
    slow_backoff   pause after a refusal, and while another daemon uses the same instance
    quick_loss     a connection that ends sooner than this after CONNACK was lost quickly
    quick_losses   quick losses in a row (a count) that mean another daemon
    tick           between two checks of the clock, unless something is due before
    diagnostics    between two diagnostics messages of a meter
    farewell       for the session to end
    leave          for publishing `offline`
    """

    connect: float = CONNECT_TIMEOUT
    ack: float = ACK_TIMEOUT
    first_backoff: float = 1.0
    backoff_cap: float = 60.0
    slow_backoff: float = 60.0
    quick_loss: float = 10.0
    quick_losses: int = 3
    tick: float = 5.0
    diagnostics: float = DIAGNOSTICS_INTERVAL
    farewell: float = 3.0
    leave: float = 1.0
    session: SessionLimits = field(default_factory=SessionLimits)
