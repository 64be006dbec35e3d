"""A TCP connection to a bridge such as ser2net that passes bytes on as they are."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.core.threads import run_blocking
from kamstrup_mqtt.links import error_messages
from kamstrup_mqtt.links.address import TcpBridge
from kamstrup_mqtt.links.stream import StreamLink

IDLE_TIMEOUT = 2.5
CLOSE_TIMEOUT = 1.0
HEAD = 256
"""Bytes at the start of a connection in which the bridge may speak itself."""

KEEPALIVE_IDLE = 30
KEEPALIVE_INTERVAL = 10
KEEPALIVE_COUNT = 3
USER_TIMEOUT_MS = 30_000
"""A bridge that vanished without a word is noticed after about a minute."""


async def open_tcp(
    bridge: TcpBridge, params: SerialParams, open_timeout: float, idle_timeout: float | None
) -> TcpLink:
    """The connection. Raises LinkError."""
    try:
        async with asyncio.timeout(open_timeout):
            sock = await _connect(bridge)
            loop = asyncio.get_running_loop()
            _, link = await loop.create_connection(
                lambda: TcpLink(
                    bridge, params, IDLE_TIMEOUT if idle_timeout is None else idle_timeout
                ),
                sock=sock,
            )
            return link
    except OSError as error:  # TimeoutError is one
        raise error_messages.tcp_error(bridge, error) from error


async def _connect(bridge: TcpBridge) -> socket.socket:
    # asyncio would resolve in the default executor, where a hanging name server holds the exit
    found = await run_blocking(
        partial(socket.getaddrinfo, bridge.host, bridge.port, type=socket.SOCK_STREAM),
        f"resolve {bridge}",
    )
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address)
            _tune(sock)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _tune(sock: socket.socket) -> None:
    """Send at once, and notice a bridge that is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


_BUFFER = memoryview(bytearray(65536))
"""Where all connections receive: what came is taken out before the loop does anything else.
Without it asyncio would ask for fresh memory of 256 KiB for each piece of a list."""


class TcpLink(StreamLink, asyncio.BufferedProtocol):
    """An open connection. The line's speed belongs to the bridge; `params` only tell how long
    bytes take on it."""

    def __init__(self, bridge: TcpBridge, params: SerialParams, idle_timeout: float) -> None:
        super().__init__(params, idle_timeout)
        self._bridge = bridge
        self._transport: asyncio.Transport | None = None
        self._head: bytearray | None = bytearray()  # None: it has passed
        self._over = False
        self._ended: asyncio.Future[None] | None = None  # who waits in `close`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_BUFFER[:nbytes]))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is None:
            return
        self._head += data[: HEAD - len(self._head)]
        own_words = error_messages.bridge_speaks(self._bridge, bytes(self._head))
        if len(self._head) >= HEAD:
            self._head = None
        if own_words is not None:
            self._unread.clear()
            self.mark_lost(own_words)
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once: the other side closed, the connection broke, or we closed."""
        if isinstance(exc, OSError):
            reason = LinkError(
                LinkState.PORT_MISSING,
                f"{self._bridge}: the connection broke ({exc.strerror or exc})",
            )
        else:
            reason = LinkError(
                LinkState.REFUSED,
                f"{self._bridge}: the bridge closed the connection (its serial device unplugged,"
                " or another program connected?)",
            )
        self.mark_lost(reason)
        self._over = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def write(self, data: bytes) -> None:
        self.raise_if_lost()
        assert self._transport is not None
        self._transport.write(data)
        self._record_sent(data)

    async def drain(self) -> None:
        self.raise_if_lost()
        await self._wait_until_sent()

    async def set_baudrate(self, baudrate: int) -> None:
        self.raise_if_lost()
        raise MeterError(
            LinkState.REFUSED,
            f"{self._bridge}: the speed of the line belongs to the bridge and cannot be changed"
            f" to {baudrate} from here",
        )

    async def close(self) -> None:
        self.mark_lost(LinkError(LinkState.REFUSED, f"{self._bridge} was closed"), by_us=True)
        if self._transport is None:
            return
        self._transport.close()
        if not self._over:
            self._ended = self._ended or self._loop.create_future()
            await asyncio.wait([self._ended], timeout=CLOSE_TIMEOUT)
        self._transport.abort()
