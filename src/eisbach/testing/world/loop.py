"""An asyncio event loop in virtual time: ready callbacks run in a seeded order, and waiting costs nothing.

Idea: FoundationDB's simulator (apple.github.io/foundationdb/testing.html). Promises: the same seed gives the same
order of callbacks; time moves only when nothing can run. May not know: what runs.
"""

import asyncio
import heapq
import itertools
import random
from asyncio import base_events
from typing import Any, Final

__all__ = ["Deadlock", "SimLoop"]


STEPS_MAX: Final = 400_000
"""Callbacks of a run; twenty times what the busiest seed needs."""


class Deadlock(Exception):
    """The world stands still or spins for ever."""


class _Task(asyncio.Task[Any]):
    """Sets of tasks (a task group that ends, ``asyncio.wait``) are walked by hash: by number, not by address."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(base_events.BaseEventLoop):
    """No selector, no threads, no signals."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._order = random.Random(f"{seed}:order")  # noqa: S311 - the point is that it can be repeated
        self._virtual = 0.0
        self.steps = 0
        """Callbacks run so far."""
        self.set_exception_handler(self._note)
        self._numbers = itertools.count()
        self.set_task_factory(self._numbered)
        self.unhandled: list[str] = []
        """Exceptions that nobody waited for."""

    def _numbered(self, _loop: asyncio.AbstractEventLoop, coroutine: Any, **names: Any) -> "asyncio.Task[Any]":
        task = _Task(coroutine, loop=self, **names)
        task.number = next(self._numbers)
        return task

    def time(self) -> float:
        """Virtual seconds since the beginning of the world."""
        return self._virtual

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def _run_once(self) -> None:
        scheduled: list[Any] = self._scheduled  # type: ignore[attr-defined]
        ready: Any = self._ready  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not scheduled:
                raise Deadlock(f"nothing is ready and nothing is scheduled at {self._virtual:.3f} s")
            self._virtual = max(self._virtual, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._virtual:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        batch = list(ready)
        ready.clear()
        if len(batch) > 1:
            self._order.shuffle(batch)
        self.steps += len(batch)
        if self.steps > STEPS_MAX:
            raise Deadlock(f"{STEPS_MAX} callbacks and no end at {self._virtual:.3f} s: somebody spins without waiting")
        for handle in batch:
            if not handle._cancelled:
                handle._run()
