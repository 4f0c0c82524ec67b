"""A cell's projection in a SQLite file of its own. Promises: ``ports.projection_store``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from eisbach.engines.embedded.disk import Disk, inline, rows, sqlite_errors
from eisbach.engines.embedded.log_beside import LogBeside
from eisbach.kernel.errors import Unavailable
from eisbach.ports.projection_store import Kept

__all__ = ["SqliteProjectionStore"]

_TO_DO: Final = (
    "stop the cell and the one that is copied (eisbach fault down), keep the file, put another cell's"
    " projection.db in its place and heal both: the hub alone gives back no more than seven days of the catalogue"
    " (docs/backup.md, A damaged file)"
)
"""Why it does not fill itself anew: titles that are older would be missing here, without a word, and viewers who get a
404 go nowhere else, while those of a cell that is down go to its twin."""


class SqliteProjectionStore:
    """One a cell."""

    def __init__(self, path: Path, *, disk: Disk = inline, vfs: str | None = None) -> None:
        self._disk, self._path = disk, path
        self._beside = LogBeside(path, real=vfs is None, file_too=True)
        with sqlite_errors(f"opening projection {path}", damaged=_TO_DO), _files(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._beside.look()
            self._database = apsw.Connection(str(path), vfs=vfs)
            self._database.execute("PRAGMA journal_mode=WAL")
            # An envelope is acknowledged after this commit, so it must be on disk: the hub would not send it again.
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS documents(kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL,"
                " hlc INTEGER NOT NULL, origin TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL,"
                " PRIMARY KEY(kind, id)) STRICT, WITHOUT ROWID"
            )
            self._database.execute("PRAGMA user_version = 1")
            self._beside.opened()

    async def load(self) -> Sequence[Kept]:
        """See ``ports.projection_store``."""
        with sqlite_errors(f"reading projection {self._path}", damaged=_TO_DO):
            found = rows(self._database, "SELECT kind, id, revision, hlc, origin, seq, body FROM documents")
        return [Kept(kind, identity, (r, h, o, s), body) for kind, identity, r, h, o, s, body in found]

    async def doubt(self) -> str:
        """See ``ports.projection_store``."""
        return self._beside.lost

    async def asked_anew(self) -> None:
        """See ``ports.projection_store``."""
        with _files(self._path):
            await self._disk(self._beside.believed)

    async def keep(self, changes: Sequence[Kept]) -> None:
        """See ``ports.projection_store``."""
        await self._disk(lambda: self._keep(changes))

    def _keep(self, changes: Sequence[Kept]) -> None:
        with sqlite_errors(f"writing projection {self._path}", damaged=_TO_DO), self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO documents VALUES(?,?,?,?,?,?,?)",
                [(c.kind, c.id, *c.version, c.body) for c in changes],
            )

    async def aclose(self) -> None:
        """Close the file."""
        self._database.close()
        self._beside.closed()


@contextmanager
def _files(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"opening projection {path}: {error}") from error
