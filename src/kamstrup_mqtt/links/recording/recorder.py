"""Writes down what passes on the links of a daemon: opens them, and listens to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kamstrup_mqtt.core.errors import LinkError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links.address import PortAddress, TcpBridge
from kamstrup_mqtt.links.base import Link, Opener
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.links.recording.file_format import Event, Line, Received, Sent
from kamstrup_mqtt.links.stream import StreamLink


class Recorder:
    """Opens links as `opener` does, and hands over what happens on them.

    put     takes each event; must not raise
    meters  the meters on each port, in the order of the configuration
    now     seconds since the start of the recording

    Bytes that come between two turns on a shared port count as those of the meter whose turn was
    last; what happens to the line itself is written down for each meter on it.
    """

    def __init__(
        self,
        put: Callable[[Event], None],
        meters: Mapping[PortAddress, tuple[str, ...]],
        now: Callable[[], float],
        *,
        opener: Opener = open_link,
    ) -> None:
        self.put = put
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
        """The open line, tapped. Raises LinkError."""
        try:
            link = await self._opener(
                address, params, open_timeout=open_timeout, idle_timeout=idle_timeout
            )
        except LinkError as error:
            self._failed(address, error)
            raise
        again = address in self._opened
        self._opened.add(address)
        for meter in self.meters[address]:
            self.put(
                Line(
                    at=self.now(),
                    meter=meter,
                    event="reopened" if again else "opened",
                    params=params,
                    link="tcp" if isinstance(address, TcpBridge) else "serial",
                    silence=link.idle_timeout,
                )
            )
        assert isinstance(link, StreamLink)  # whatever opens has bytes that come by themselves
        link.attach_tap(_Tap(self, link, self.meters[address]))
        return link

    def _failed(self, address: PortAddress, error: LinkError) -> None:
        for meter in self.meters[address]:
            self.put(
                Line(
                    at=self.now(),
                    meter=meter,
                    event="failed",
                    state=error.state,
                    text=str(error),
                )
            )


class _Tap:
    """The ear on one link."""

    def __init__(self, recorder: Recorder, link: Link, meters: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._link = link
        self._meters = meters

    @property
    def _meter(self) -> str:
        return self._link.holder or self._meters[0]

    def received(self, data: bytes) -> None:
        """Bytes came."""
        recorder = self._recorder
        recorder.put(Received(at=recorder.now(), meter=self._meter, data=bytes(data)))

    def sent(self, data: bytes) -> None:
        """Bytes were sent."""
        recorder = self._recorder
        recorder.put(Sent(at=recorder.now(), meter=self._meter, data=bytes(data)))

    def changed(self, params: SerialParams) -> None:
        """The line was set otherwise."""
        for meter in self._meters:
            self._recorder.put(
                Line(at=self._recorder.now(), meter=meter, event="changed", params=params)
            )

    def closed(self, reason: LinkError, *, by_us: bool) -> None:
        """The line is lost, or closed by us."""
        for meter in self._meters:
            self._recorder.put(
                Line(
                    at=self._recorder.now(),
                    meter=meter,
                    event="closed" if by_us else "lost",
                    state=None if by_us else reason.state,
                    text=None if by_us else str(reason),
                )
            )
