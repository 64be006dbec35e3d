"""Records the bytes on the links that a daemon opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress, TcpBridge
from kamstrup_mqtt.links.base import Link, Opener
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.links.recording.file_format import (
    LineChange,
    ReceivedBytes,
    RecordedEvent,
    SentBytes,
)
from kamstrup_mqtt.links.stream import StreamLink


class Recorder:
    """Opens links by `opener` and reports the events on them.

    append  called with each event; must not raise
    meters  the meters on each port, in the order of the configuration
    now     returns the seconds since the start of the recording

    Bytes that arrive between two leases of a shared port belong to the meter of the last lease. A
    change of the line is recorded for each of its meters.
    """

    def __init__(
        self,
        put: Callable[[RecordedEvent], None],
        meters: Mapping[PortAddress, tuple[str, ...]],
        now: Callable[[], float],
        *,
        opener: Opener = open_link,
    ) -> None:
        self.append = put
        self.meters = meters
        self.now = now
        self._opener = opener
        self._opened: set[PortAddress] = set()

    async def open(
        self,
        address: PortAddress,
        params: SerialParams,
        *,
        open_timeout: float,
        idle_timeout: float | None = None,
    ) -> Link:
        """Open a link and record it. Raises LinkError."""
        try:
            link = await self._opener(
                address, params, open_timeout=open_timeout, idle_timeout=idle_timeout
            )
        except LinkError as error:
            self._record_failure(address, error)
            raise
        again = address in self._opened
        self._opened.add(address)
        for meter in self.meters[address]:
            self.append(
                LineChange(
                    at=self.now(),
                    meter=meter,
                    event="reopened" if again else "opened",
                    params=params,
                    link="tcp" if isinstance(address, TcpBridge) else "serial",
                    idle_timeout=link.idle_timeout,
                )
            )
        assert isinstance(link, StreamLink)
        link.attach_tap(_RecordingTap(self, link, self.meters[address]))
        return link

    def _record_failure(self, address: PortAddress, error: LinkError) -> None:
        for meter in self.meters[address]:
            self.append(
                LineChange(
                    at=self.now(),
                    meter=meter,
                    event="failed",
                    state=error.state,
                    text=str(error),
                )
            )


class _RecordingTap:
    """Records one link."""

    def __init__(self, recorder: Recorder, link: Link, meters: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._link = link
        self._meters = meters

    @property
    def _holder(self) -> str:
        return self._link.holder or self._meters[0]

    def received(self, data: bytes) -> None:
        """Record bytes from the line."""
        recorder = self._recorder
        recorder.append(ReceivedBytes(at=recorder.now(), meter=self._holder, data=bytes(data)))

    def sent(self, data: bytes) -> None:
        """Record bytes to the line."""
        recorder = self._recorder
        recorder.append(SentBytes(at=recorder.now(), meter=self._holder, data=bytes(data)))

    def changed(self, params: SerialParams) -> None:
        """Record new line settings."""
        for meter in self._meters:
            self._recorder.append(
                LineChange(at=self._recorder.now(), meter=meter, event="changed", params=params)
            )

    def closed(self, reason: LinkError, *, by_us: bool) -> None:
        """Record that the line is lost or closed."""
        for meter in self._meters:
            self._recorder.append(
                LineChange(
                    at=self._recorder.now(),
                    meter=meter,
                    event="closed" if by_us else "lost",
                    state=None if by_us else reason.state,
                    text=None if by_us else str(reason),
                )
            )
