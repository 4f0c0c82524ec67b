"""A deadline on the port's clock, so that simulated and manual time bound what real time would."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from eisbach.ports.clock import Clock

__all__ = ["within"]

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled at the deadline and when the caller is.

    Raises:
        TimeoutError: it was not done in time.
    """
    task = asyncio.ensure_future(work)
    end = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        end.cancel()
        task.cancel()
        await asyncio.gather(end, task, return_exceptions=True)
