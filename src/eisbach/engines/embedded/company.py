"""When a large group was just answered, the next one waits for company.

Whoever was answered comes again, one after the other, and a commit costs what ten writes do, whoever is in it. Without
this, many callers fall into two halves that wait for each other's commit. PostgreSQL's ``commit_delay`` and
``commit_siblings``, but for as long as more come. May not know: works, the disk.
"""

import asyncio
from collections.abc import Sized
from typing import Final

from eisbach.ports.clock import Clock

__all__ = ["Company"]

_CROWD: Final = 8
"""Fewer in a group wait for nobody."""
_WAIT_MS: Final = 4


class Company:
    """Of one writer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._expected = self._answered_ms = 0

    def answered(self, group: int, queue: Sized) -> None:
        """A group of so many was answered; those in the queue came meanwhile."""
        self._expected = group + len(queue) if group >= _CROWD else 0
        self._answered_ms = self._clock.monotonic_ms()

    async def wait(self, queue: Sized) -> None:
        """Return when all are back, or nobody more comes within a millisecond, or after four."""
        expected, self._expected = self._expected, 0
        if not expected or self._clock.monotonic_ms() - self._answered_ms > _WAIT_MS:
            return
        for _ in range(_WAIT_MS):
            came = len(queue)
            if came >= expected:
                return
            await asyncio.sleep(0.001)  # the loop's time: a clock that a rehearsal froze must not stop writes
            if len(queue) == came:
                return
