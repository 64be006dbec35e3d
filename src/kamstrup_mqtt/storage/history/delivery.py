"""Tracks which records were sent, acknowledged, and have to be sent again.

A broker that crashes may have forgotten records that it had acknowledged. Therefore the records
acknowledged during the last `resend` seconds of connection are sent again on the next connection.
"""

from __future__ import annotations

from collections.abc import Callable

REPEAT_TIME = 0.25
"""Seconds that a record remains to be sent again after this connection acknowledged it again."""


class ConnectionClock:
    """Counts the seconds during which the broker was connected, over all connections.

    It stands still during an outage, so that records do not become too old to be sent again.
    `grace`: seconds after the start in which the first connection is expected.
    """

    def __init__(self, monotonic: Callable[[], float], grace: float) -> None:
        self._monotonic = monotonic
        self._grace_end: float | None = monotonic() + grace
        self._connected_at: float | None = None
        self._earlier = 0.0

    @property
    def is_connected(self) -> bool:
        return self._connected_at is not None

    @property
    def seconds(self) -> float:
        """Connected seconds until now."""
        if self._connected_at is None:
            return self._earlier
        return self._earlier + self._monotonic() - self._connected_at

    @property
    def grace(self) -> float:
        """Seconds that are left for the first connection; zero after it began."""
        if self._grace_end is None:
            return 0.0
        return max(0.0, self._grace_end - self._monotonic())

    def start(self) -> None:
        """A connection begins."""
        self.end_grace()
        self._connected_at = self._monotonic()

    def stop(self) -> None:
        """The connection is lost."""
        self.end_grace()
        self._earlier = self.seconds
        self._connected_at = None

    def end_grace(self) -> None:
        """Expect no first connection any more."""
        self._grace_end = None


class DeliveryWindow:
    """What was sent on this connection and what was acknowledged on any, by ascending ids.

    sent_through     the newest record sent on this connection
    acked_through    all records up to this one were acknowledged at least once
    expired_through  no record up to this one has to be sent again
    resend           connected seconds until an acknowledged record expires
    """

    def __init__(self, clock: ConnectionClock, resend: float) -> None:
        self.sent_through = 0
        self.acked_through = 0
        self.expired_through = 0
        self._clock = clock
        self.resend = resend
        self._in_flight: dict[int, bool] = {}  # id -> whether it is acknowledged
        self._resend_until: dict[int, float] = {}  # id -> connected seconds
        self._confirmed_through = 0  # acknowledged on this connection

    @property
    def is_empty(self) -> bool:
        """Whether no record is in flight."""
        return not self._in_flight

    @property
    def seconds_to_expiry(self) -> float:
        """Seconds until the oldest acknowledged record expires."""
        if not self._resend_until:
            return self.resend
        return next(iter(self._resend_until.values())) - self._clock.seconds

    def restart(self) -> None:
        """A connection begins: go back to the oldest record that has to be sent again."""
        self._in_flight.clear()
        self.expire()
        oldest = next(iter(self._resend_until), None)
        self.sent_through = self.acked_through if oldest is None else oldest - 1
        self._confirmed_through = self.sent_through

    def mark_sent(self, id_: int) -> None:
        """The record is handed to the connection."""
        self.sent_through = id_
        self._in_flight[id_] = False

    def acknowledge(self, id_: int) -> list[int]:
        """Mark the record as acknowledged, unless it was sent on an earlier connection.

        Returns the ids that are delivered with that for the first time. Delivery is in order: a
        record that is not acknowledged yet holds up those behind it.
        """
        if id_ not in self._in_flight:
            return []
        self._in_flight[id_] = True
        delivered = []
        while self._in_flight:
            oldest = next(iter(self._in_flight))
            if not self._in_flight[oldest]:
                break
            del self._in_flight[oldest]
            if self._confirm(oldest):
                delivered.append(oldest)
        return delivered

    def _confirm(self, id_: int) -> bool:
        """Returns whether the record is acknowledged for the first time."""
        now = self._clock.seconds
        self._confirmed_through = id_
        if id_ > self.acked_through:
            self.acked_through = id_
            self._resend_until[id_] = now + self.resend
            return True
        if id_ in self._resend_until:  # this broker may crash as well
            until = now + min(self.resend, REPEAT_TIME)
            self._resend_until[id_] = max(self._resend_until[id_], until)
        return False

    def expire(self) -> None:
        """Forget the records that need not be sent again."""
        now = self._clock.seconds
        while self._resend_until:
            oldest = next(iter(self._resend_until))
            # a record does not expire while it waits to be sent again on this connection
            if self._resend_until[oldest] > now or oldest > self._confirmed_through:
                break
            del self._resend_until[oldest]
            self.expired_through = oldest
