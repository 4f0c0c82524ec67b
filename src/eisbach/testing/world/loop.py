"""An asyncio event loop in virtual time: ready callbacks run in a seeded order, and waiting costs nothing.

Idea: FoundationDB's simulator (apple.github.io/foundationdb/testing.html). Promises: the same seed gives the same
order of callbacks; time moves only when nothing can run. May not know: what runs.

A run is ten thousand callbacks, so their cost is the cost of a run: handles are our own (``asyncio.Handle`` is Python
and knows about debugging), timers lie in the heap as tuples, which are compared in C.
"""

import asyncio
import heapq
import itertools
import random
from asyncio import base_events
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final

__all__ = ["Deadlock", "SimLoop"]


STEPS_MAX: Final = 400_000
"""Callbacks of a run; twenty times what the busiest seed needs."""


class Deadlock(Exception):
    """The world stands still or spins for ever."""


class _Task(asyncio.Task[Any]):
    """Sets of tasks (a task group that ends, ``asyncio.wait``) are walked by hash: by number, not by address."""

    def __init__(self, number: int, coroutine: Any, **names: Any) -> None:
        self.number = number  # first: asyncio keeps every new task in a set
        super().__init__(coroutine, **names)

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__  # identity, in C


class _Handle:
    """``asyncio.Handle`` and ``asyncio.TimerHandle`` as far as asyncio itself uses what its loop returns."""

    __slots__ = ("args", "callback", "context", "gone", "moment")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback, self.args = callback, args
        self.context = context if context is not None else copy_context()
        self.gone = False
        self.moment = 0.0

    def cancel(self) -> None:
        """It will not run."""
        self.gone = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.gone

    def when(self) -> float:
        """Virtual seconds."""
        return self.moment


class SimLoop(base_events.BaseEventLoop):
    """No selector, no threads, no signals."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._order = random.Random(f"{seed}:order")  # noqa: S311 - the point is that it can be repeated
        self._virtual = 0.0
        self._queue: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = itertools.count()
        self._timer_numbers = itertools.count()
        self.steps = 0
        """Callbacks run so far."""
        self.set_exception_handler(self._note)
        self.set_task_factory(self._numbered)
        self.unhandled: list[str] = []
        """Exceptions that nobody waited for."""

    def _numbered(self, _loop: asyncio.AbstractEventLoop, coroutine: Any, **names: Any) -> "asyncio.Task[Any]":
        return _Task(next(self._numbers), coroutine, loop=self, **names)

    def time(self) -> float:
        """Virtual seconds since the beginning of the world."""
        return self._virtual

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # stubs bind arguments
        """See ``asyncio.AbstractEventLoop``."""
        handle = _Handle(callback, args, context)
        self._queue.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # stubs bind arguments
        """See ``asyncio.AbstractEventLoop``."""
        handle = _Handle(callback, args, context)
        handle.moment = when = self._virtual + delay
        heapq.heappush(self._timers, (when, next(self._timer_numbers), handle))
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # stubs bind arguments
        """See ``asyncio.AbstractEventLoop``."""
        handle = _Handle(callback, args, context)
        handle.moment = when
        heapq.heappush(self._timers, (when, next(self._timer_numbers), handle))
        return handle

    def _shuffle(self, batch: list[_Handle]) -> None:
        """``random.Random.shuffle`` to the bit, without two calls for each of thousands of small batches."""
        bits = self._order.getrandbits
        for last in range(len(batch) - 1, 0, -1):
            width = (last + 1).bit_length()
            chosen = bits(width)
            while chosen > last:
                chosen = bits(width)
            batch[last], batch[chosen] = batch[chosen], batch[last]

    def _run_once(self) -> None:
        timers = self._timers
        while timers and timers[0][2].gone:
            heapq.heappop(timers)
        if not self._queue and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise Deadlock(f"nothing is ready and nothing is scheduled at {self._virtual:.3f} s")
            self._virtual = max(self._virtual, timers[0][0])
        batch, self._queue = self._queue, []
        while timers and timers[0][0] <= self._virtual:
            handle = heapq.heappop(timers)[2]
            if not handle.gone:
                batch.append(handle)
        if len(batch) > 1:
            self._shuffle(batch)
        self.steps += len(batch)
        if self.steps > STEPS_MAX:
            raise Deadlock(f"{STEPS_MAX} callbacks and no end at {self._virtual:.3f} s: somebody spins without waiting")
        for handle in batch:
            if not handle.gone:
                try:
                    handle.context.run(handle.callback, *handle.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio does: it is noted, and fails the run
                    self.unhandled.append(f"callback {handle.callback!r}: {error!r}"[:300])
