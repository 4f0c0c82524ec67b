"""The control store in one SQLite file, served by the region's control process.

Promises: ``ports.control_store``: a put compares and sets in one transaction and is fsynced when it returns, in a file
that still has its name then.
"""

from pathlib import Path

import apsw

from eisbach.engines.embedded.disk import Disk, inline, rows, sqlite_errors
from eisbach.engines.embedded.presence import Presence
from eisbach.kernel.errors import VersionConflict
from eisbach.ports.control_store import Document

__all__ = ["SqliteControlStore"]


class SqliteControlStore:
    """A few documents; one process."""

    def __init__(self, path: Path, *, disk: Disk = inline, vfs: str | None = None, target: str = "control") -> None:
        """Open, or make an empty one; ``target``: the process whose it is, for people.

        Raises:
            FileDamaged: the file is no database, or a damaged one; the message says what to do.
            Unavailable: the disk refused.
        """
        self._disk, self._path = disk, path
        with sqlite_errors(f"opening control store {path}", damaged=_to_do(target)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = apsw.Connection(str(path), vfs=vfs)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS documents("
                "key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT, WITHOUT ROWID"
            )
            self._database.execute("PRAGMA user_version = 1")
            # Small, and a start is rare: better here than in the middle of a move.
            if (found := rows(self._database, "PRAGMA quick_check(1)")) != [("ok",)]:
                raise apsw.CorruptError(" ".join(str(found[0][0]).split()))
        self._presence = Presence(path) if vfs is None else None

    async def get(self, key: str) -> Document | None:
        """See ``ports.control_store``."""
        self._demand_presence()
        with sqlite_errors(f"reading control store {self._path}"):
            found = rows(self._database, "SELECT value, revision FROM documents WHERE key=?", (key,))
        return Document(*found[0]) if found else None

    async def put(self, key: str, value: bytes, *, expected: int) -> int:
        """See ``ports.control_store``."""
        return await self._disk(lambda: self._put(key, value, expected))

    def _put(self, key: str, value: bytes, expected: int) -> int:
        with sqlite_errors(f"writing control store {self._path}"), self._database:
            found = rows(self._database, "SELECT revision FROM documents WHERE key=?", (key,))
            revision = int(found[0][0]) if found else 0
            if revision != expected:
                raise VersionConflict(f"document {key!r} is at revision {revision}, not {expected}; read it again")
            self._database.execute("INSERT OR REPLACE INTO documents VALUES(?,?,?)", (key, value, revision + 1))
        self._demand_presence()
        return revision + 1

    def _demand_presence(self) -> None:
        if self._presence is not None:
            self._presence.demand("control")

    async def keys(self, prefix: str) -> list[str]:
        """See ``ports.control_store``."""
        with sqlite_errors(f"reading control store {self._path}"):
            query = "SELECT key FROM documents WHERE substr(key, 1, ?) = ? ORDER BY key"
            return [key for (key,) in rows(self._database, query, (len(prefix), prefix))]

    async def aclose(self) -> None:
        """Close the file."""
        self._database.close()


def _to_do(target: str) -> str:
    return (
        f"viewers do not need it, no slot moves without. Do eisbach fault down {target}, put a copy back or move it"
        f" away with -wal and -shm (keep them), then eisbach heal {target}: without it control begins from the"
        " edge's map (docs/backup.md, A control store that is lost)"
    )
