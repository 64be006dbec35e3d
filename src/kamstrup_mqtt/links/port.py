"""One port of this host, shared by the meters on it: opened when needed, again and again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kamstrup_mqtt.address import PortAddress
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.model import SerialParams


class Port:
    """A port that several meters may share.

    `gone_since`: monotonic time since when it cannot be opened, None while it can.
    """

    def __init__(
        self,
        address: PortAddress,
        *,
        open_timeout: float = 10.0,
        first_backoff: float = 1.0,
        backoff_cap: float = 60.0,
        silence: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.address = address
        self.gone_since: float | None = None
        raise NotImplementedError

    @asynccontextmanager
    async def turn(self, params: SerialParams) -> AsyncIterator[Link]:
        """The open link, for one meter alone. Raises LinkError when it cannot be opened."""
        raise NotImplementedError
        yield

    def good(self) -> None:
        """A good reading came: the back-off starts anew."""

    async def close(self) -> None:
        """Close the link; for the end of the program."""
