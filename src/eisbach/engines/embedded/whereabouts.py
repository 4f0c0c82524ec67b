"""Where a store file was opened last, and whether it may be an older copy of itself (P21).

A copy that is put back (a snapshot of a machine, a file from a backup) has numbers that were given already. It is told
by its place: the machine's boot and the file's identity on it. A file that is where it was when it was opened last is
what the last opening left; of any other nothing is known until others have said what they hold
(``bootstrap.older_copy``), and until then no transaction is written here. May not know: who the others are.
"""

import ctypes
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from eisbach.engines.embedded.disk import Disk, rows
from eisbach.engines.embedded.writer import Writer, refusal

__all__ = ["StoreWhereabouts", "place_of"]

_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
"""Of ``struct statx`` (linux/stat.h): the mask of what is told comes first, the time of birth after 80 bytes."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def place_of(path: Path) -> str:
    """The boot of this machine and the file on it; empty where the system does not tell boots and files apart."""
    try:
        boot, found, born = _BOOT.read_text().strip(), path.stat(), _born(path)
    except (OSError, AttributeError):
        return ""
    return f"{boot} {found.st_dev} {found.st_ino} {born}" if born else ""


def _born(path: Path) -> str:
    """When the file was created; empty where the file system does not say. Its number alone is given again at once when
    a file is removed. Python's ``os.stat`` has no such time on Linux.
    """
    statx = ctypes.CDLL(None, use_errno=True).statx
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, bytes(path), 0, _STATX_BTIME, answer) != 0:
        return ""
    mask, seconds, nanoseconds = struct.unpack_from("=I76xqI", answer)
    return f"{seconds}.{nanoseconds:09d}" if mask & _STATX_BTIME else ""


class StoreWhereabouts:
    """What ``SqliteStore`` inherits."""

    _writer: Writer
    _disk: Disk
    unproved = ""
    """Why no transaction is written now: what this file is has still to be found out; empty: it is known."""
    condemned = ""
    """Why it never will be: this is an older copy."""

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
        self.unproved = ""

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
            raise refusal(error, "noting where the store is") from error
