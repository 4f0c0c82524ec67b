"""SQLite keeps the promises of the control store's port."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.testing.control_store_promises import ControlStorePromises


class TestSqliteControlStore(ControlStorePromises):
    @pytest.fixture
    async def reopen(self, tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[SqliteControlStore]]]:
        opened: list[SqliteControlStore] = []

        async def again() -> SqliteControlStore:
            if opened:
                await opened.pop().aclose()
            opened.append(SqliteControlStore(tmp_path / "control" / "control.db"))
            return opened[0]

        yield again
        for store in opened:
            await store.aclose()
