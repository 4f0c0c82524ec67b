"""Tasks that run for ever beside the requests: relay, projection, pullers.

A bug in one of them must not take viewers' calls with it: it is logged with its trace, counted, and started anew.
One that meets a damaged file is not: it would only say so again each second. Whoever runs the process ends it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from eisbach.kernel.errors import FileDamaged
from eisbach.ports.clock import Clock

__all__ = ["Followers"]

_RESTART_S: Final = 1.0
_logger = structlog.get_logger(__name__)


class Followers:
    """One a process."""

    def __init__(self, clock: Clock, *, asleep: bool = False) -> None:
        """``asleep``: start none: a process that is frozen between calls would only steal what it reads."""
        self._clock, self._asleep, self._ending = clock, asleep, False
        self._tasks: list[asyncio.Task[None]] = []
        self.restarts: dict[str, int] = {}
        """Name -> times it was started anew since the process started."""
        self.damage = ""
        """What a follower found damaged, in a sentence; the process should end with it."""

    def start(self, name: str, follow: Callable[[], Awaitable[None]]) -> None:
        """Run ``follow`` until ``aclose``."""
        if not self._asleep:
            self._tasks.append(asyncio.create_task(self._keep(name, follow), name=name))

    def once(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """The same for work that ends; it is started anew until it has."""

        async def follow() -> None:
            await work()
            if not self._ending:
                await asyncio.Event().wait()

        self.start(name, follow)

    async def aclose(self) -> None:
        """End them all."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, name: str, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except FileDamaged as error:
                self.damage = str(error)
                return
            except Exception:  # whatever it is, the other followers and the requests go on
                _logger.exception("follower_died", name=name)
            if self._ending:  # what failed in that moment may have hidden the cancellation (``told_to_end``)
                return
            self.restarts[name] = self.restarts.get(name, 0) + 1
            await self._clock.sleep(_RESTART_S)
