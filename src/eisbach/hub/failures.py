"""What is kept of a failure, and which of several counts. Pure."""

import traceback
from typing import Final

from eisbach.kernel.errors import Retryable

__all__ = ["first_of", "stack_of"]

_STACK_CHARS: Final = 4000


def stack_of(error: Exception) -> str:
    """The end of its traceback, without the marks under its lines: to find them Python parses each line anew."""
    found = traceback.TracebackException.from_exception(error)
    _unmark(found)
    return "".join(found.format())[-_STACK_CHARS:]


def _unmark(found: traceback.TracebackException) -> None:
    for frame in found.stack:
        frame.colno = None
    for other in (found.__cause__, found.__context__, *(found.exceptions or ())):
        if other is not None:
            _unmark(other)


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The retryable one if all are; else whatever is worst, so that a bug is not taken for a full disk."""
    found = [first_of(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in found if not isinstance(error, Retryable)), found[0])
