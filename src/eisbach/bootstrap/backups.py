"""Composes a cell's backups: the archiver that follows the store, and the calls of operators."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eisbach.bootstrap.followers import Followers
from eisbach.bootstrap.open_blobs import open_blobs
from eisbach.cell.archive_reader import ArchiveReader
from eisbach.cell.archived_elsewhere import Archive, ArchivedElsewhere
from eisbach.cell.archiver import Archiver
from eisbach.cell.backup_calls import BackupCalls
from eisbach.cell.ownership import Ownership
from eisbach.cell.routes import Route
from eisbach.cell.writing import Writer
from eisbach.engines.embedded.disk import Disk
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store
from eisbach.settings import CellProcess, Secrets

__all__ = ["Backups", "open_backups"]


class Backups:
    """Of one store; where no place or no key for them is given, the calls say so."""

    def __init__(self, store: Store, archive: Archive | None, reader: ArchiveReader | None) -> None:
        self._store, self.archive, self._reader = store, archive, reader

    def archived_lsn(self) -> int | None:
        """Up to where the store's log is archived; None where no backups are made."""
        return self.archive.archived_lsn() if self.archive is not None else None

    def follow(self, followers: Followers, status: dict[str, Callable[[], Any]]) -> None:
        """Archive for as long as the process lives, or look who does, and say so in ``/status``."""
        archive = self.archive
        if isinstance(archive, Archiver):
            followers.start("archiver", archive.run)
            status["backups"] = lambda: asdict(archive.statistics())
        elif isinstance(archive, ArchivedElsewhere):
            followers.start("archived-elsewhere", archive.run)
            status["backups"] = archive.told

    def routes(self, writer: Writer, ownership: Ownership) -> list[Route]:
        """For operators."""
        calls = BackupCalls(self._store, writer, ownership, archive=self.archive, reader=self._reader)
        return list(calls.routes())


async def open_backups(
    process: CellProcess,
    secrets: Secrets,
    store: Store,
    stack: AsyncExitStack,
    *,
    clock: Clock,
    disk: Callable[[str], Disk],
) -> Backups:
    """Of a cell's store, closed with ``stack``.

    Raises:
        Invalid: ``s3:`` without region and bucket.
    """
    kek = bytes.fromhex(secrets.backup_key)
    if not process.backups or not kek:
        return Backups(store, None, None)
    scratch = Path(process.folder) / "backups"
    blobs = await open_blobs(process.backups, stack, scratch=scratch, disk=disk("backups"))
    archive: Archive
    if process.archived_elsewhere:
        archive = ArchivedElsewhere(store, blobs, cell=process.cell, clock=clock)
    else:
        archive = Archiver(store, blobs, cell=process.cell, kek=kek, clock=clock)
    return Backups(store, archive, ArchiveReader(blobs, kek=kek, clock=clock))
