"""What is kept of a failure, which of several counts, and whether it is one at all: a task may be told to end."""

import asyncio
import traceback
from typing import Final

from eisbach.kernel.errors import Retryable

__all__ = ["first_of", "stack_of", "told_to_end"]

_STACK_CHARS: Final = 4000


def stack_of(error: Exception) -> str:
    """The end of its traceback, without the marks under its lines: to find them Python parses each line anew."""
    found = traceback.TracebackException.from_exception(error)
    chain = [found]
    while chain:  # no recursion: a handler that tries again for long has a long chain
        one = chain.pop()
        for frame in one.stack:
            frame.colno = None
        chain += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]
    return "".join(found.format())[-_STACK_CHARS:]


def told_to_end() -> bool:
    """Whether this task was cancelled from outside; who begins again what failed asks before.

    A task group of which a task fails in the moment in which its own task is cancelled raises what failed, and no
    ``CancelledError`` (CPython 3.11, ``TaskGroup.__aexit__``): taken for a failure alone, the cancellation is lost.
    Wait inside the group's block where you ask this: a group whose task fails while its end is waited for leaves its
    own cancellation counted.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The retryable one if all are; else whatever is worst, so that a bug is not taken for a full disk."""
    found = [first_of(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in found if not isinstance(error, Retryable)), found[0])
