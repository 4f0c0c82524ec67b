"""The embedded store keeps what moves need, with the writer inside the event loop and in a thread of its own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eisbach.engines.embedded.disk import Disk, inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_move_clock_promises import MoveClockPromises
from eisbach.testing.store_move_promises import MovePromises


class Cells:
    """Stores of one region; the one called ``twin`` is of the other."""

    def __init__(self, folder: Path, *, disk: Disk | None = inline) -> None:
        self.clock, self.folder, self._disk = ManualClock(), folder, disk
        self._open: dict[str, tuple[SqliteStore, AsyncExitStack]] = {}

    async def open(self, cell: str) -> SqliteStore:
        if cell not in self._open:
            stack = AsyncExitStack()
            region = "eu-west" if cell == "twin" else "eu-central"
            opening = open_store(
                self.folder / f"{cell}.db", region=region, clock=self.clock, cell=cell, disk=self._disk
            )
            self._open[cell] = (await stack.enter_async_context(opening), stack)
        return self._open[cell][0]

    async def restart(self, cell: str) -> SqliteStore:
        _, stack = self._open.pop(cell)
        await stack.aclose()
        return await self.open(cell)

    async def aclose(self) -> None:
        for _, stack in self._open.values():
            await stack.aclose()


class TestSqliteMoves(MovePromises, MoveClockPromises):
    @pytest.fixture(params=["thread", "inline"])
    async def cells(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cells]:
        cells = Cells(tmp_path, disk=inline if request.param == "inline" else None)
        yield cells
        await cells.aclose()
