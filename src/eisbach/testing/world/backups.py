"""A region's backups in the world: blobs in memory, which no fault reaches, filled by the production archiver.

A cell of the world does not archive by itself: it is told to once, in some seeds, and
what was archived then has to come back whatever happens to its disk (P21). May not know: faults, restores.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final

from eisbach.cell.archive_reader import ArchiveReader
from eisbach.cell.archiver import Archiver
from eisbach.kernel.errors import EisbachError, Invalid, NotFound
from eisbach.ports.blobs import BlobInfo
from eisbach.testing.world.history import History
from eisbach.testing.world.nodes import CellNode

__all__ = ["RegionBackups"]

_KEY: Final = bytes(range(32))


class _Blobs:
    """``ports.blobs.Blobs`` as far as backups use it."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    async def put(
        self, key: str, content: AsyncIterator[bytes] | bytes, *, sha256: str | None = None, once: bool = False
    ) -> BlobInfo:
        """See ``Blobs``."""
        if sha256 is not None or once or not isinstance(content, bytes):
            raise Invalid("backups put whole bytes, and replace them")
        self._kept[key] = content
        return self._info(key)

    async def put_file(self, key: str, path: Path) -> BlobInfo:
        """Backups are no files."""
        raise Invalid(f"{key} of {path}: the world's blobs take no files")

    async def read(self, key: str) -> bytes:
        """See ``Blobs``."""
        if key not in self._kept:
            raise NotFound(f"there is no blob {key}")
        return self._kept[key]

    async def local_path(self, key: str) -> Path:
        """Backups are no files."""
        raise Invalid(f"{key}: the world's blobs give no files")

    async def info(self, key: str) -> BlobInfo | None:
        """See ``Blobs``."""
        return self._info(key) if key in self._kept else None

    def _info(self, key: str) -> BlobInfo:
        content = self._kept[key]
        return BlobInfo(key, len(content), hashlib.sha256(content).hexdigest())

    async def keys(self, prefix: str) -> Sequence[str]:
        """See ``Blobs``."""
        return sorted(key for key in self._kept if key.startswith(prefix))

    async def delete(self, prefix: str) -> int:
        """See ``Blobs``."""
        gone = [key for key in self._kept if key.startswith(prefix)]
        for key in gone:
            del self._kept[key]
        return len(gone)


class RegionBackups:
    """Of one region."""

    def __init__(self, history: History, chance: random.Random) -> None:
        self._history, self._chance, self.blobs = history, chance, _Blobs()
        self.made = False
        """Whether there is anything in them."""

    async def make(self, cell: CellNode, slots: Iterable[str]) -> str:
        """Archive a cell's log as it is now, sometimes with a base; what was done, also when it dies."""
        if cell.cell is None:
            return f"{cell.name} is down and not archived"
        archiver = Archiver(
            cell.cell.store, self.blobs, cell=cell.document.cell, kek=_KEY, clock=cell.clock,
            entropy=self._chance.randbytes,
        )  # fmt: skip
        based = self._chance.random() < 0.5

        async def work() -> int:
            done = await archiver.archive()
            return done + (await archiver.rebase() if based else 0)

        (done,) = await asyncio.gather(cell.spawn(work()), return_exceptions=True)
        if isinstance(done, EisbachError | asyncio.CancelledError):
            return f"{cell.name} is not archived: {done!r}"[:200]
        if isinstance(done, BaseException):
            raise done
        reader = self.reader(cell)
        for slot in slots:
            for ops in (await reader.slot(slot)).log.values():
                self._history.archived |= {(op.slot, op.origin, op.epoch, op.seq) for op in ops}
        self.made = True
        return f"{cell.name} is archived: {done} ops and items"

    def reader(self, cell: CellNode) -> ArchiveReader:
        """What a restore reads."""
        return ArchiveReader(self.blobs, kek=_KEY, clock=cell.clock)
