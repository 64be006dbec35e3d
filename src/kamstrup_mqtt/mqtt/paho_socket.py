"""Runs paho's external event loop on asyncio (paho-mqtt documentation, "External event loop")."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

KEEPALIVE_CHECKS = 12
"""Checks of the keepalive within one keepalive interval. aiomqtt checks every second."""


class PahoSocket:
    """Reads from and writes to the socket of a paho client, and keeps the connection alive.

    Replaces aiomqtt's callbacks for four reasons: messages sent in one loop iteration are written
    together without waiting for the loop to report that the socket is writable; a process that
    waits for a reading wakes up less often; an abandoned attempt to connect is closed; and aiomqtt
    registers a file descriptor one iteration later, when the socket may be closed and the number
    may belong to the serial port of a meter.

    `on_error` is called with an exception that paho raised while reading or writing.
    """

    def __init__(self, client: paho.Client, on_error: Callable[[Exception], None]) -> None:
        self._paho = client
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._keepalive_timer: asyncio.TimerHandle | None = None
        self._is_flush_due = False
        self._is_writer_registered = False
        self._is_abandoned = False
        client.on_socket_open = self._handle_open
        client.on_socket_close = self._handle_close
        client.on_socket_register_write = self._handle_write_request
        client.on_socket_unregister_write = self._handle_write_end

    def abandon(self) -> None:
        """Close the socket of an attempt to connect now, or as soon as its thread has opened it."""
        self._is_abandoned = True
        self._paho.on_disconnect = None  # aiomqtt's callback fails after a cancelled attempt
        self._drop()

    def _drop(self) -> None:
        sock: Any = self._paho.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(Exception):
                self._paho.loop_read()  # paho finds the connection lost and closes the socket

    # Callbacks of paho. The first connection is made in a thread.

    def _handle_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._start, sock)

    def _start(self, sock: Any) -> None:
        if self._is_abandoned:
            self._drop()
        elif self._is_current(sock):
            self._loop.add_reader(sock, self._read, sock)
            self._check_keepalive()

    def _is_current(self, sock: Any) -> bool:
        return self._paho.socket() is sock

    def _handle_close(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        if self._keepalive_timer is not None:
            self._keepalive_timer.cancel()
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock)

    def _handle_write_request(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        if threading.get_ident() != self._loop_thread:
            self._loop.call_soon_threadsafe(self._schedule_flush)
        else:
            self._schedule_flush()

    def _handle_write_end(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        if self._is_writer_registered:
            self._is_writer_registered = False
            self._loop.remove_writer(sock)

    # Reading and writing

    def _read(self, sock: Any) -> None:
        try:
            self._paho.loop_read()
            # The loop does not see what the TLS layer has decrypted already
            while isinstance(sock, ssl.SSLSocket) and self._is_current(sock) and sock.pending():
                self._paho.loop_read()
        except Exception as error:  # noqa: BLE001 - the connection is unusable
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock)
            self._on_error(error)

    def _schedule_flush(self) -> None:
        if not self._is_flush_due and not self._is_abandoned:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write pending packets. Runs by itself at the end of the loop iteration."""
        if self._is_flush_due:
            self._is_flush_due = False
            self._write()
            sock = self._paho.socket()
            if sock is not None and self._paho.want_write():
                self._is_writer_registered = True
                self._loop.add_writer(sock, self._write)

    def _write(self) -> None:
        try:
            self._paho.loop_write()
        except Exception as error:  # noqa: BLE001 - the connection is unusable
            self._handle_write_end(self._paho, None, self._paho.socket())
            self._on_error(error)

    def _check_keepalive(self) -> None:
        """Ping the broker when the keepalive requires it, and check again later."""
        if self._paho.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            # An MQTT 5 broker may have shortened the interval
            pause = max(1.0, self._paho.keepalive / KEEPALIVE_CHECKS)
            self._keepalive_timer = self._loop.call_later(pause, self._check_keepalive)
