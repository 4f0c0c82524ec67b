"""Composes a cell's backups: the archiver that follows the store, and the calls of operators."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eisbach.bootstrap.followers import Followers
from eisbach.cell.archive_reader import ArchiveReader
from eisbach.cell.archiver import Archiver
from eisbach.cell.backup_calls import BackupCalls
from eisbach.cell.ownership import Ownership
from eisbach.cell.routes import Route
from eisbach.cell.writing import Writer
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.disk import Disk
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store
from eisbach.settings import CellProcess, Secrets

__all__ = ["Backups"]


class Backups:
    """Of one store; where no folder or no key for them is given, the calls say so."""

    def __init__(
        self, process: CellProcess, secrets: Secrets, store: Store, *, clock: Clock, disk: Callable[[str], Disk]
    ) -> None:
        self._store = store
        self.archiver: Archiver | None = None
        self._reader: ArchiveReader | None = None
        kek = bytes.fromhex(secrets.backup_key)
        if process.backups and kek:
            blobs = FileBlobs(Path(process.backups), disk=disk("backups"))
            self.archiver = Archiver(store, blobs, cell=process.cell, kek=kek, clock=clock)
            self._reader = ArchiveReader(blobs, kek=kek, clock=clock)

    def archived_lsn(self) -> int | None:
        """Up to where the store's log is archived; None where no backups are made."""
        return self.archiver.statistics().archived_lsn if self.archiver is not None else None

    def follow(self, followers: Followers, status: dict[str, Callable[[], Any]]) -> None:
        """Archive for as long as the process lives, and say so in ``/status``."""
        if (archiver := self.archiver) is not None:
            followers.start("archiver", archiver.run)
            status["backups"] = lambda: asdict(archiver.statistics())

    def routes(self, writer: Writer, ownership: Ownership) -> list[Route]:
        """For operators."""
        calls = BackupCalls(self._store, writer, ownership, archiver=self.archiver, reader=self._reader)
        return list(calls.routes())
