"""Hands out the exclusive use of one port."""

from __future__ import annotations

import asyncio


class LeaseQueue:
    """Grants one lease at a time, in the order of the requests; those with priority come first."""

    __slots__ = ("_is_leased", "_normal", "_priority")

    def __init__(self) -> None:
        self._is_leased = False
        self._priority: list[asyncio.Future[None]] = []
        self._normal: list[asyncio.Future[None]] = []

    def request(self, *, has_priority: bool) -> asyncio.Future[None]:
        """Return a future that resolves when the caller owns the port.

        The caller cancels it, or calls `release` after it has resolved.
        """
        lease: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_leased:
            (self._priority if has_priority else self._normal).append(lease)
        else:
            self._is_leased = True
            lease.set_result(None)
        return lease

    def release(self) -> None:
        """End the lease and grant the next one."""
        for waiting in (self._priority, self._normal):
            while waiting:
                lease = waiting.pop(0)
                if not lease.done():
                    lease.set_result(None)
                    return
        self._is_leased = False
