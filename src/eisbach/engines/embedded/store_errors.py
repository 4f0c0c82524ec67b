"""What SQLite's errors mean to the callers of a cell's store.

Promises: 'not now' where nothing was written and the same call may succeed later; a damaged file is told with its path
and what to do, and stays known: the process ends with it, since its twin serves all that it has, and this file only
what lies in other pages. May not know: who asks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from eisbach.kernel.errors import EisbachError, FileDamaged, Unavailable

__all__ = ["DISK_ERRORS", "FILE_DAMAGE", "StoreErrors"]

DISK_ERRORS: Final = (
    apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.BusyError, apsw.LockedError,
    apsw.NoMemError, apsw.ProtocolError, apsw.PermissionsError, apsw.InterruptError,
)  # fmt: skip
"""'Not now': nothing was written, the same call may succeed later."""
FILE_DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError)
_TO_DO: Final = (
    "the twin serves. Move it aside with its -wal and -shm, then make the cell anew: eisbach restore"
    ' (docs/backup.md, "A cell on a new disk")'
)


class StoreErrors:
    """Of one file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.damage = ""
        """The first damage that was met, in a sentence."""

    def refusal(self, error: apsw.Error, doing: str) -> EisbachError:
        """What to raise instead."""
        said = f"{type(error).__name__}: {error}"
        if not isinstance(error, FILE_DAMAGE):
            return Unavailable(f"{doing}: the disk refused ({said}); nothing was written")
        where = doing if self._path in doing else f"{self._path}, {doing}"
        found = f"{where}: the file is damaged ({said}); {_TO_DO}"
        self.damage = self.damage or found
        return FileDamaged(found)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Translate what SQLite says while a store is read."""
        try:
            yield
        except apsw.Error as error:
            raise self.refusal(error, "reading the store") from error
