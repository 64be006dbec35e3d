"""One port of this host, shared by the meters on it: opened when needed, again and again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kamstrup_mqtt.core.backoff import Backoff
from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links import error_messages
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Link, Opener
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link

log = logging.getLogger("kamstrup_mqtt.links")

WillAct = Callable[[float], None]
"""Told, before each wait, within how many seconds the waiting side will act again."""

SILENT_POLLS, MAX_SILENT_POLLS = 3, 96
"""Polls in a row without a byte after which a line is opened anew, the first time and at last."""

LEASE_WAIT = 30.0
"""Seconds after which a meter that waits for its turn says that it still does."""


def _ignore_wait(_seconds: float) -> None:
    pass


_RNG = random.Random()  # noqa: S311 - jitter


class _LeaseQueue:
    """Whose turn it is: one at a time, those who must be punctual before the others."""

    def __init__(self) -> None:
        self._is_leased = False
        self._punctual: list[asyncio.Future[None]] = []
        self._others: list[asyncio.Future[None]] = []

    def request(self, has_priority: bool) -> asyncio.Future[None]:
        """Done when it is one's turn; cancel it, or `release` once it is done."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_leased:
            (self._punctual if has_priority else self._others).append(turn)
        else:
            self._is_leased = True
            turn.set_result(None)
        return turn

    def release(self) -> None:
        """The turn is over."""
        for queue in (self._punctual, self._others):
            while queue:
                turn = queue.pop(0)
                if not turn.done():
                    turn.set_result(None)
                    return
        self._is_leased = False


class Port:
    """A port that several meters may share, one at a time in the order they came, aligned
    polls first.

    `gone_since`: monotonic time since when it cannot be opened, None while it can. After a loss
    or a failed open it is left alone for `first_backoff` seconds, doubled each time up to
    `backoff_cap`, and shortened by chance by up to a half, so that the meters of a house do not
    all knock at once; a good reading, not a good open, sets that back.

    A line on which `max_silent_polls` polls in a row brought not one byte is closed and opened
    anew, in case it is stuck (a bridge that takes everything and hands nothing on); then after
    twice as many, and so on, until a byte comes."""

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
        self._opener = opener
        self.gone_since: float | None = None
        self._open_timeout = open_timeout
        self._idle_timeout = idle_timeout
        self._backoff = Backoff(first_backoff, backoff_cap, rng or _RNG)
        self._leases = _LeaseQueue()
        self._link: Link | None = None
        self._failure: LinkError | None = None
        self._next_try = 0.0
        self._warned = False
        self._had_reading = False  # a good reading came since it was opened
        self._max_silent_polls = max_silent_polls
        self._reopen_after = max_silent_polls  # dead polls until it is opened anew
        self._silent_polls = 0  # polls in a row

    @property
    def is_open(self) -> bool:
        """Open, and not known to be lost."""
        return self._link is not None and self._link.loss is None

    def retry_in(self) -> float:
        """Seconds until it makes sense to ask for a turn again."""
        return max(0.0, self._next_try - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def lease(
        self,
        params: SerialParams,
        will_act: WillAct = _ignore_wait,
        *,
        has_priority: bool = False,
        holder: str | None = None,
    ) -> AsyncIterator[Link]:
        """The open line, for one meter alone, the `holder`; `has_priority`: before those that wait
        without it.

        Raises LinkError when it cannot be opened, at once while it is left alone after a failure.
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
        waiting = self._leases.request(has_priority)
        try:
            while not waiting.done():
                will_act(LEASE_WAIT)
                await asyncio.wait({waiting}, timeout=LEASE_WAIT / 2)
        except asyncio.CancelledError:
            if not waiting.cancel():
                self._leases.release()
            raise

    async def _configured_link(self, params: SerialParams) -> Link:
        if self._link is not None and self._link.loss is not None:
            await self._handle_idle_loss(self._link.loss)
        if self._link is not None and self._silent_polls >= self._reopen_after:
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
        first = self._reopen_after == self._max_silent_polls
        log.log(
            logging.INFO if first else logging.DEBUG,
            "%s: not one byte came in %d polls: it is closed and opened anew, in case it is stuck",
            self.address,
            self._silent_polls,
        )
        self._silent_polls = 0
        self._reopen_after = min(2 * self._reopen_after, MAX_SILENT_POLLS)
        await self._drop_link()

    def record_poll(self, *, was_silent: bool) -> None:
        """A poll is over; `was_silent`: not one byte came, not even an echo."""
        self._silent_polls = self._silent_polls + 1 if was_silent else 0
        if not was_silent:
            self._reopen_after = self._max_silent_polls

    async def _handle_idle_loss(self, loss: LinkError) -> None:
        if self._had_reading:
            await self._drop_link()  # opened again at once
            return
        # a bridge that takes the connection, says "in use" and closes must not be knocked at
        # without a pause
        await self._record_failure(loss)
        raise LinkError(loss.state, str(loss))

    async def _open(self, params: SerialParams) -> Link:
        if self.retry_in() > 0 and self._failure is not None:
            raise LinkError(self._failure.state, str(self._failure))
        self._warn_once()
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

    def _warn_once(self) -> None:
        warning = None if self._warned else error_messages.stable_name(self.address)
        self._warned = True
        if warning:
            log.warning("%s", warning)

    async def _record_failure(self, error: LinkError) -> None:
        now = asyncio.get_running_loop().time()
        if self.gone_since is None:
            self.gone_since = now
        self._failure = error
        self._next_try = now + self._backoff.next_pause()
        await self._drop_link()

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
            await asyncio.sleep(0)  # serial_asyncio finishes in the next turn of the loop

    def mark_open(self) -> None:
        """The line is open and stays open, whether or not a meter speaks on it."""
        self.gone_since = None

    def mark_success(self) -> None:
        """A good reading came: the back-off starts anew."""
        self.mark_open()
        self._backoff.reset()
        self._had_reading = True

    async def close(self) -> None:
        """Close the line; for the end of the program."""
        await self._drop_link()
