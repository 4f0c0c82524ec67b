"""Stores in one folder, a file a region, on one manual clock."""

from contextlib import AsyncExitStack
from pathlib import Path

from eisbach.engines.embedded.disk import Disk, inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.testing.manual_clock import ManualClock


class Stores:
    """``testing.store_host.StoreHost`` for the embedded store."""

    def __init__(self, folder: Path, *, disk: Disk | None = inline, vfs: str | None = None) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self._disk, self._vfs = disk, vfs
        self._open: dict[str, tuple[SqliteStore, AsyncExitStack]] = {}

    def path(self, region: str = "eu-central") -> Path:
        return self.folder / f"{region}.db"

    async def open(self, region: str = "eu-central") -> SqliteStore:
        if region not in self._open:
            stack = AsyncExitStack()
            opening = open_store(
                self.path(region), region=region, clock=self.clock, cell="c1", disk=self._disk, vfs=self._vfs
            )
            self._open[region] = (await stack.enter_async_context(opening), stack)
        return self._open[region][0]

    async def restart(self, region: str = "eu-central") -> SqliteStore:
        await self.close(region)
        return await self.open(region)

    async def close(self, region: str = "eu-central") -> None:
        _, stack = self._open.pop(region)
        await stack.aclose()

    async def aclose(self) -> None:
        for region in list(self._open):
            await self.close(region)
