"""Whether an opening of a store file may go on: it is the last, the file is whole, and no older copy of itself (P21).

A copy that is put back (a snapshot of a machine, a file from a backup) has numbers that were given already. It is told
by its place: the machine's boot and the file's identity on it. A file that is where it was when it was opened last, and
whose write-ahead log is, too (``log_beside``), is what the last opening left; of any other nothing is known until
others have said what they hold (``bootstrap.older_copy``), and until then no transaction is written here, and no op of
another region is applied. A damage that was met is kept in the file, which opens no more.
May not know: who the others are.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import apsw

from eisbach.engines.embedded.disk import Disk, rows
from eisbach.engines.embedded.log_beside import LogBeside
from eisbach.engines.embedded.reads import Reads
from eisbach.engines.embedded.store_errors import StoreErrors
from eisbach.engines.embedded.writer import Writer
from eisbach.kernel.errors import EisbachError, FileDamaged, Unavailable

__all__ = ["StoreWhereabouts", "refuse_damaged"]

_DAMAGED: Final = "damaged"


def refuse_damaged(database: apsw.Connection) -> None:
    """A file in which a process has met a damage opens no more: its other pages would be served, and that one not.

    Raises:
        FileDamaged: what was met.
    """
    for (found,) in rows(database, "SELECT value FROM meta WHERE key = ?", (_DAMAGED,)):
        raise FileDamaged(found)


class StoreWhereabouts:
    """What ``SqliteStore`` inherits."""

    _writer: Writer
    _reads: Reads
    _errors: StoreErrors
    _disk: Disk

    def __init__(self, beside: LogBeside) -> None:
        self.beside = beside
        self.unproved = ""
        """Why no transaction is written now: what this file is has still to be found out; empty: it is known."""
        self.condemned = ""
        """Why it never will be: this is an older copy."""
        self._found_out = asyncio.Event()

    async def proved(self) -> None:
        """Return once nothing speaks against it; of an older copy never.

        Ops of other regions wait for this, too. Applied before, they would be told from the store's own by nobody: a
        process that was killed before it had its answers would find its log as long as the hub says, and go on.
        """
        if self.unproved:
            await self._found_out.wait()

    async def whereabouts(self) -> tuple[str, str]:
        """(where it was opened last and found to be no older copy, why it was found to be one)."""

        def read() -> tuple[str, str]:
            found = dict(
                rows(self._writer.database, "SELECT key, value FROM meta WHERE key IN ('place', 'older_copy')")
            )
            return found.get("place", ""), found.get("older_copy", "")

        place, self.condemned = await self._meta(read)
        return place, self.condemned

    async def stays_at(self, place: str) -> None:
        """It is no older copy, and this is where it is now; transactions are written from now on."""
        await self._note("place", place)
        try:
            await self._disk(self.beside.believed)
        except OSError as error:
            raise Unavailable(f"noting beside the store that it is no older copy: {error}") from error
        self.unproved = ""
        self._found_out.set()

    async def not_ours(self) -> str:
        """Why this opening writes no more: the file was opened again, or has gone from its name; empty: it does.

        Raises:
            FileDamaged: for good; a process that is started anew finds that on record.
        """
        if damage := self._errors.damage:
            with contextlib.suppress(EisbachError):  # a page that can be written is not sure to be left
                await self._note(_DAMAGED, damage)
            raise FileDamaged(damage)
        if lost := self.condemned or self._writer.lost():
            return lost
        with self._errors.reading():
            if self._reads.opened() == self._writer.opened:
                return ""
        return "another process has opened this cell's store; this one writes nothing more and ends"

    async def condemn(self, why: str) -> None:
        """It is an older copy, for good."""
        self.unproved = why
        await self._note("older_copy", why)
        self.condemned = why

    async def _note(self, key: str, value: str) -> None:
        def write() -> None:
            with self._writer.database:
                self._writer.database.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))

        await self._meta(write)

    async def _meta(self, work: Callable[[], Any]) -> Any:
        try:
            return await self._disk(work)
        except apsw.Error as error:
            raise self._errors.refusal(error, "noting where the store is") from error
