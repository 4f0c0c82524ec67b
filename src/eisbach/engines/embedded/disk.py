"""Where work that blocks on the disk runs: a seam, so that the simulated world can run it in its own time.

Promises: work handed to one ``Disk`` runs one piece at a time, in the order it was handed in.
May not know: what the work is.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from eisbach.kernel.errors import FileDamaged, Unavailable

if TYPE_CHECKING:
    import apsw

__all__ = ["Disk", "DiskThread", "inline", "rows", "sqlite_errors"]

T = TypeVar("T")


class Disk(Protocol):
    """Run ``work`` and return its result; cancelling the wait does not cancel the work."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run it."""
        ...


async def inline(work: Callable[[], T]) -> T:
    """In the event loop itself: for tests, the simulated world, and where fsync is cheap."""
    return work()


class DiskThread:
    """One thread: an fsync of 0.2 to 20 ms never stops the event loop."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run it after everything that was handed in before."""
        # Shielded: cancelling a pool's future drops work that has not begun.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._pool, work))

    def close(self) -> None:
        """Finish what was handed in, then end the thread."""
        self._pool.shutdown(wait=True)


def rows(database: "apsw.Connection", query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query; typed by whoever wrote the query, since SQLite's types are not known to mypy."""
    return database.execute(query, cast("Any", values)).fetchall()


@contextmanager
def sqlite_errors(doing: str, *, damaged: str = "") -> Iterator[None]:
    """Translate SQLite's refusals once, at the border: full, read-only, I/O error and lock are all 'not now'.

    ``damaged``: what to do when the file is damaged; without it that, too, is told as 'not now'.
    """
    import apsw  # here, so that what needs a thread only (a function on AWS) needs no SQLite

    try:
        yield
    except apsw.Error as error:
        said = f"{type(error).__name__}: {error}"
        if damaged and isinstance(error, apsw.CorruptError | apsw.NotADBError):
            raise FileDamaged(f"{doing}: the file is damaged ({said}); {damaged}") from error
        cure = ""
        if isinstance(error, apsw.FullError):
            cure = "; free space there, then try again"
        elif isinstance(error, apsw.IOError | apsw.ReadOnlyError):
            cure = "; mend that disk, then try again"
        raise Unavailable(f"{doing}: SQLite refused ({said}); nothing was written{cure}") from error
