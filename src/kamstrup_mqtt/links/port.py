"""One port of this host, shared by the meters on it: opened when needed, again and again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kamstrup_mqtt.core.errors import LinkError, MeterError
from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.links import error_messages
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Link, Opener
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link

log = logging.getLogger("kamstrup_mqtt.links")

WillAct = Callable[[float], None]
"""Told, before each wait, within how many seconds the waiting side will act again."""

DEAD_POLLS, MOST_DEAD_POLLS = 3, 96
"""Polls in a row without a byte after which a line is opened anew, the first time and at last."""

PATIENCE = 30.0
"""Seconds after which a meter that waits for its turn says that it still does."""


def _tell_nobody(_seconds: float) -> None:
    pass


_RNG = random.Random()  # noqa: S311 - jitter


class _Turns:
    """Whose turn it is: one at a time, those who must be punctual before the others."""

    def __init__(self) -> None:
        self._taken = False
        self._punctual: list[asyncio.Future[None]] = []
        self._others: list[asyncio.Future[None]] = []

    def ask(self, first: bool) -> asyncio.Future[None]:
        """Done when it is one's turn; cancel it, or `release` once it is done."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._taken:
            (self._punctual if first else self._others).append(turn)
        else:
            self._taken = True
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
        self._taken = False


class Port:
    """A port that several meters may share, one at a time in the order they came, aligned
    polls first.

    `gone_since`: monotonic time since when it cannot be opened, None while it can. After a loss
    or a failed open it is left alone for `first_backoff` seconds, doubled each time up to
    `backoff_cap`, and shortened by chance by up to a half, so that the meters of a house do not
    all knock at once; a good reading, not a good open, sets that back.

    A line on which `dead_polls` polls in a row brought not one byte is closed and opened anew, in
    case it is stuck (a bridge that takes everything and hands nothing on); then after twice as
    many, and so on, until a byte comes.
    """

    def __init__(
        self,
        address: PortAddress,
        *,
        open_timeout: float = OPEN_TIMEOUT,
        first_backoff: float = 1.0,
        backoff_cap: float = 60.0,
        dead_polls: int = DEAD_POLLS,
        silence: float | None = None,
        rng: random.Random | None = None,
        opener: Opener = open_link,
    ) -> None:
        self.address = address
        self._opener = opener
        self.gone_since: float | None = None
        self._open_timeout = open_timeout
        self._first_backoff = first_backoff
        self._backoff_cap = backoff_cap
        self._silence = silence
        self._rng = rng or _RNG
        self._turns = _Turns()
        self._link: Link | None = None
        self._failures = 0
        self._failure: LinkError | None = None
        self._next_try = 0.0
        self._warned = False
        self._proven = False  # a good reading came since it was opened
        self._dead_polls = dead_polls
        self._patience = dead_polls  # dead polls until it is opened anew
        self._dead = 0  # polls in a row

    @property
    def healthy(self) -> bool:
        """Open, and not known to be lost."""
        return self._link is not None and self._link.lost is None

    def retry_in(self) -> float:
        """Seconds until it makes sense to ask for a turn again."""
        return max(0.0, self._next_try - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def turn(
        self,
        params: SerialParams,
        will_act: WillAct = _tell_nobody,
        *,
        first: bool = False,
        holder: str | None = None,
    ) -> AsyncIterator[Link]:
        """The open line, for one meter alone, the `holder`; `first`: before those that wait
        without it.

        Raises LinkError when it cannot be opened, at once while it is left alone after a failure.
        """
        await self._acquire(will_act, first)
        try:
            will_act(self._open_timeout + PATIENCE)
            link = await self._ready(params)
            link.holder = holder
            try:
                yield link
            except LinkError as error:
                await self._give_up(error)
                raise
            except MeterError:
                self.alive()
                raise
            self.alive()
        finally:
            self._turns.release()

    async def _acquire(self, will_act: WillAct, first: bool) -> None:
        waiting = self._turns.ask(first)
        try:
            while not waiting.done():
                will_act(PATIENCE)
                await asyncio.wait({waiting}, timeout=PATIENCE / 2)
        except asyncio.CancelledError:
            if not waiting.cancel():
                self._turns.release()
            raise

    async def _ready(self, params: SerialParams) -> Link:
        if self._link is not None and self._link.lost is not None:
            await self._lost_while_idle(self._link.lost)
        if self._link is not None and self._dead >= self._patience:
            await self._renew()
        if self._link is None:
            return await self._open(params)
        if self._link.params != params:
            try:
                await self._link.configure(params)
            except LinkError as error:
                await self._give_up(error)
                raise
        return self._link

    async def _renew(self) -> None:
        first = self._patience == self._dead_polls
        log.log(
            logging.INFO if first else logging.DEBUG,
            "%s: not one byte came in %d polls: it is closed and opened anew, in case it is stuck",
            self.address,
            self._dead,
        )
        self._dead = 0
        self._patience = min(2 * self._patience, MOST_DEAD_POLLS)
        await self._drop_link()

    def polled(self, *, dead: bool) -> None:
        """A poll is over; `dead`: not one byte came, not even an echo."""
        self._dead = self._dead + 1 if dead else 0
        if not dead:
            self._patience = self._dead_polls

    async def _lost_while_idle(self, lost: LinkError) -> None:
        if self._proven:
            await self._drop_link()  # opened again at once
            return
        # a bridge that takes the connection, says "in use" and closes must not be knocked at
        # without a pause
        await self._give_up(lost)
        raise LinkError(lost.state, str(lost))

    async def _open(self, params: SerialParams) -> Link:
        if self.retry_in() > 0 and self._failure is not None:
            raise LinkError(self._failure.state, str(self._failure))
        self._warn_once()
        try:
            self._link = await self._opener(
                self.address, params, open_timeout=self._open_timeout, silence=self._silence
            )
        except LinkError as error:
            await self._give_up(error)
            raise
        self._proven = False
        log.debug("%s is open (%s)", self.address, params)
        return self._link

    def _warn_once(self) -> None:
        warning = None if self._warned else error_messages.stable_name(self.address)
        self._warned = True
        if warning:
            log.warning("%s", warning)

    async def _give_up(self, error: LinkError) -> None:
        now = asyncio.get_running_loop().time()
        if self.gone_since is None:
            self.gone_since = now
        self._failure = error
        backoff = min(self._backoff_cap, self._first_backoff * 2 ** min(self._failures, 30))
        self._failures += 1
        self._next_try = now + backoff * self._rng.uniform(0.5, 1.0)
        await self._drop_link()

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
            await asyncio.sleep(0)  # serial_asyncio finishes in the next turn of the loop

    def alive(self) -> None:
        """The line is open and stays open, whether or not a meter speaks on it."""
        self.gone_since = None

    def good(self) -> None:
        """A good reading came: the back-off starts anew."""
        self.alive()
        self._failures = 0
        self._proven = True

    async def close(self) -> None:
        """Close the line; for the end of the program."""
        await self._drop_link()
