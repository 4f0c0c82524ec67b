"""Who waits for the one writer of a store: admitted up to a bound, taken in groups, answered once each.

Promises: in order; over the bound, and after 50 ms for works that are ``limited``, the caller is refused with what it
waited for; a caller that has gone away is passed over. May not know: event loops, disks, tables: an engine gives each
work its future and runs the groups.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from eisbach.kernel.errors import EisbachError, Overloaded
from eisbach.kernel.limits import WRITER_QUEUE_MAX, WRITER_QUEUE_WAIT_MAX

__all__ = ["Answer", "GroupQueue", "Waiting"]

_WAIT_MAX_MS: Final = int(WRITER_QUEUE_WAIT_MAX.total_seconds() * 1000)


class Answer(Protocol):
    """What the caller awaits: a future of the engine's event loop."""

    def done(self) -> bool:
        """Answered, or nobody waits any more."""
        ...

    def set_result(self, result: Any, /) -> None:
        """It was done."""
        ...

    def set_exception(self, exception: Any, /) -> None:
        """It was refused."""
        ...


class Waiting(Protocol):
    """A work, as far as waiting goes."""

    limited: bool
    """Whether it is refused after 50 ms in the queue."""
    since_ms: int
    future: Any
    """An ``Answer``."""


Work = TypeVar("Work", bound=Waiting)


class GroupQueue(Generic[Work]):
    """The queue of one store."""

    def __init__(self, waits_for: str) -> None:
        self.refused = 0
        """Works that were refused here or by the writer."""
        self._waits_for = waits_for
        self._works: deque[Work] = deque()

    def __len__(self) -> int:
        return len(self._works)

    def put(self, work: Work, now_ms: int, answer: Answer) -> None:
        """Let a work wait.

        Raises:
            Overloaded: too many wait.
        """
        if len(self._works) >= WRITER_QUEUE_MAX:
            self.refused += 1
            raise Overloaded(
                f"{len(self)} writes wait for {self._waits_for}, at most {WRITER_QUEUE_MAX} may; try again later",
                retry_after=WRITER_QUEUE_WAIT_MAX,
            )
        work.since_ms, work.future = now_ms, answer
        self._works.append(work)

    def every(self, asked: Callable[[Work], bool]) -> bool:
        """Whether all that waits is so."""
        return all(map(asked, self._works))

    def next_group(self, now_ms: int, takes: Callable[[Work], bool]) -> list[Work]:
        """What waits, as long as ``takes`` has room for it; those that waited too long are refused now, before they
        cost anything.
        """
        group: list[Work] = []
        works = self._works
        while works:
            work = works[0]
            if work.limited and (late := now_ms - work.since_ms) > _WAIT_MAX_MS:
                refused = Overloaded(
                    f"the write waited {late} ms for {self._waits_for}, at most {_WAIT_MAX_MS}; try again later",
                    retry_after=WRITER_QUEUE_WAIT_MAX,
                )
                self.answer([works.popleft()], [refused])
                continue
            if not takes(work):
                break
            group.append(works.popleft())
        return group

    def answer(self, group: Sequence[Work], results: Sequence[Any]) -> None:
        """Tell each caller its result, or why not."""
        for work, result in zip(group, results, strict=True):
            future = work.future
            if isinstance(result, Exception):
                self.refused += isinstance(result, EisbachError)
                if not future.done():
                    future.set_exception(result)
            elif not future.done():
                future.set_result(result)
