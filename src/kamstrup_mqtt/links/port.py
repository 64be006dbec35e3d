"""One port of this host, shared by the meters on it and reopened after failures."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kamstrup_mqtt.core.backoff import Backoff
from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links import error_messages
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Link, Opener, WillAct, ignore_wait
from kamstrup_mqtt.links.lease_queue import LeaseQueue
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link

log = logging.getLogger("kamstrup_mqtt.links")

SILENT_POLLS, MAX_SILENT_POLLS = 3, 96
"""Successive polls without a byte before a port is reopened: at first, and at most."""

LEASE_WAIT = 30.0
"""Seconds within which a meter that waits for the port renews its promise to act."""


_RNG = random.Random()  # noqa: S311 - jitter


class SilentPollCounter:
    """Counts successive polls without a byte and decides when to reopen the port.

    A port that stays silent is reopened after `threshold` polls, then after twice as many each
    time up to MAX_SILENT_POLLS. The first byte resets the threshold.
    """

    __slots__ = ("_first_threshold", "count", "threshold")

    def __init__(self, threshold: int = SILENT_POLLS) -> None:
        self.count = 0
        self.threshold = self._first_threshold = threshold

    @property
    def is_exceeded(self) -> bool:
        """True if the port has to be reopened."""
        return self.count >= self.threshold

    @property
    def is_first_reopening(self) -> bool:
        """True if the port was not reopened since the last byte."""
        return self.threshold == self._first_threshold

    def record(self, *, was_silent: bool) -> None:
        """Count a finished poll."""
        if was_silent:
            self.count += 1
        else:
            self.count, self.threshold = 0, self._first_threshold

    def restart(self) -> None:
        """Count from zero up to the next threshold, after the port was reopened."""
        self.count = 0
        self.threshold = min(2 * self.threshold, MAX_SILENT_POLLS)


class Port:
    """A port that several meters may share, one at a time.

    Leases are granted in the order of the requests, those with priority first. `gone_since` is
    the monotonic time since when the port cannot be opened, None while it can.

    After a loss or a failed open the port is left alone for a pause (`Backoff`) that starts at
    `first_backoff` seconds and is at most `backoff_cap`. It is reset by a successful reading, not
    by a successful open: a bridge may accept a connection and close it again.

    A port that delivers no byte in `max_silent_polls` successive polls is reopened, because some
    bridges accept everything and forward nothing until they are reconnected.
    """

    def __init__(
        self,
        address: PortAddress,
        *,
        open_timeout: float = OPEN_TIMEOUT,
        first_backoff: float = 1.0,
        backoff_cap: float = 60.0,
        max_silent_polls: int = SILENT_POLLS,
        idle_timeout: float | None = None,
        rng: random.Random | None = None,
        opener: Opener = open_link,
    ) -> None:
        self.address = address
        self.gone_since: float | None = None
        self.silent_polls = SilentPollCounter(max_silent_polls)
        self._opener = opener
        self._open_timeout = open_timeout
        self._idle_timeout = idle_timeout
        self._leases = LeaseQueue()
        self._link: Link | None = None
        self._backoff = Backoff(first_backoff, backoff_cap, rng or _RNG)
        self._failure: LinkError | None = None
        self._next_try = 0.0
        self._warned = False
        self._had_reading = False  # since it was opened

    @property
    def is_open(self) -> bool:
        """True while the port is open and not known to be lost."""
        return self._link is not None and self._link.loss is None

    def retry_in(self) -> float:
        """Return the seconds until the next attempt to open the port."""
        return max(0.0, self._next_try - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def lease(
        self,
        params: SerialParams,
        will_act: WillAct = ignore_wait,
        *,
        has_priority: bool = False,
        holder: str | None = None,
    ) -> AsyncIterator[Link]:
        """Wait for the port and return its open link, for one meter (the `holder`) alone.

        has_priority  go before the waiting meters that have none
        will_act      called before each wait

        Raises LinkError if the port cannot be opened, at once during the pause after a failure.
        """
        await self._acquire(will_act, has_priority)
        try:
            will_act(self._open_timeout + LEASE_WAIT)
            link = await self._configured_link(params)
            link.holder = holder
            try:
                yield link
            except LinkError as error:
                await self._record_failure(error)
                raise
            except MeterError:
                self.mark_open()
                raise
            self.mark_open()
        finally:
            self._leases.release()

    async def _acquire(self, will_act: WillAct, has_priority: bool) -> None:
        lease = self._leases.request(has_priority=has_priority)
        try:
            while not lease.done():
                will_act(LEASE_WAIT)
                await asyncio.wait({lease}, timeout=LEASE_WAIT / 2)
        except asyncio.CancelledError:
            if not lease.cancel():
                self._leases.release()
            raise

    async def _configured_link(self, params: SerialParams) -> Link:
        if self._link is not None and self._link.loss is not None:
            await self._handle_idle_loss(self._link.loss)
        if self._link is not None and self.silent_polls.is_exceeded:
            await self._close_silent_link()
        if self._link is None:
            return await self._open(params)
        if self._link.params != params:
            try:
                await self._link.configure(params)
            except LinkError as error:
                await self._record_failure(error)
                raise
        return self._link

    async def _close_silent_link(self) -> None:
        log.log(
            logging.INFO if self.silent_polls.is_first_reopening else logging.DEBUG,
            "%s: no byte was received in %d polls; reopening the port in case it hangs",
            self.address,
            self.silent_polls.count,
        )
        self.silent_polls.restart()
        await self._close_link()

    def record_poll(self, *, was_silent: bool) -> None:
        """Count a finished poll; `was_silent`: not a byte was received, not even an echo."""
        self.silent_polls.record(was_silent=was_silent)

    async def _handle_idle_loss(self, loss: LinkError) -> None:
        if self._had_reading:
            await self._close_link()  # reopened at once
            return
        # a bridge that accepts the connection, sends "in use" and closes needs the pause too
        await self._record_failure(loss)
        raise LinkError(loss.state, str(loss))

    async def _open(self, params: SerialParams) -> Link:
        if self.retry_in() > 0 and self._failure is not None:
            raise LinkError(self._failure.state, str(self._failure))
        self._warn_of_unstable_name()
        try:
            self._link = await self._opener(
                self.address,
                params,
                open_timeout=self._open_timeout,
                idle_timeout=self._idle_timeout,
            )
        except LinkError as error:
            await self._record_failure(error)
            raise
        self._had_reading = False
        log.debug("%s is open (%s)", self.address, params)
        return self._link

    def _warn_of_unstable_name(self) -> None:
        warning = None if self._warned else error_messages.unstable_name_warning(self.address)
        self._warned = True
        if warning:
            log.warning("%s", warning)

    async def _record_failure(self, error: LinkError) -> None:
        now = asyncio.get_running_loop().time()
        if self.gone_since is None:
            self.gone_since = now
        self._failure = error
        self._next_try = now + self._backoff.next_pause()
        await self._close_link()

    async def _close_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
            await asyncio.sleep(0)  # serial_asyncio finishes in the next iteration of the loop

    def mark_open(self) -> None:
        """Record that the port is open, whether or not a meter answers on it."""
        self.gone_since = None

    def mark_success(self) -> None:
        """Record a successful reading: resets the back-off."""
        self.mark_open()
        self._backoff.reset()
        self._had_reading = True

    async def close(self) -> None:
        """Close the port when the program ends."""
        await self._close_link()
