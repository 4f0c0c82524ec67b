"""What lives as long as a function's sandbox: one event loop, and what was opened on it.

A sandbox is frozen between calls and thawed whenever, so nothing runs there between two calls: whoever starts a task
in a call ends it in that call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Generic, TypeVar

__all__ = ["Context", "Sandbox", "seconds_left"]

T = TypeVar("T")
Opened = TypeVar("Opened")
Context = Any
"""The runtime's context object, which ships no types."""
_SPARE_S = 2.0


class Sandbox(Generic[Opened]):
    """One a module; opens at its first call, and anew after ``close``."""

    def __init__(self, open_: Callable[[AsyncExitStack], Awaitable[Opened]]) -> None:
        self._open = open_
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack: AsyncExitStack | None = None
        self._opened: Opened | None = None

    def run(self, work: Callable[[Opened], Coroutine[Any, Any, T]]) -> T:
        """Do ``work`` with what is open, to its end."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)  # Mangum asks for the current one
        return self._loop.run_until_complete(self._work(work))

    async def _work(self, work: Callable[[Opened], Coroutine[Any, Any, T]]) -> T:
        if self._stack is None or self._opened is None:
            stack = AsyncExitStack()
            try:
                self._opened = await self._open(stack)
            except BaseException:
                await stack.aclose()
                raise
            self._stack = stack
        return await work(self._opened)

    def close(self) -> None:
        """Close what is open: for tests; a real sandbox just ends."""
        if self._loop is not None and self._stack is not None:
            self._loop.run_until_complete(self._stack.aclose())
        if self._loop is not None:
            self._loop.close()
        self._loop = self._stack = self._opened = None


def seconds_left(context: Context) -> float:
    """Until this call should be at its end: two seconds before the runtime ends it."""
    return float(max(0.5, context.get_remaining_time_in_millis() / 1000 - _SPARE_S))
