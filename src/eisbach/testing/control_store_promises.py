"""What every engine of ``ports.control_store`` promises, as tests to inherit from.

Give a fixture ``reopen``, a function that closes the store (if one is open) and opens it on the same data, and inherit
``ControlStorePromises``.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from eisbach.kernel.errors import VersionConflict
from eisbach.ports.control_store import ControlStore, Document

__all__ = ["ControlStorePromises"]

Reopen = Callable[[], Awaitable[ControlStore]]


class ControlStorePromises:
    """A few documents under compare-and-set."""

    async def test_a_document_survives_a_restart_with_its_revision(self, reopen: Reopen) -> None:
        store = await reopen()
        assert await store.put("map", b"1", expected=0) == 1
        assert await store.put("map", b"2", expected=1) == 2

        assert await (await reopen()).get("map") == Document(b"2", 2)

    async def test_an_absent_document_is_none(self, reopen: Reopen) -> None:
        assert await (await reopen()).get("map") is None

    async def test_a_stale_revision_is_refused_and_changes_nothing(self, reopen: Reopen) -> None:
        store = await reopen()
        await store.put("map", b"1", expected=0)

        for stale in (0, 2):
            with pytest.raises(VersionConflict):
                await store.put("map", b"other", expected=stale)

        assert await store.get("map") == Document(b"1", 1)

    async def test_a_document_that_is_absent_cannot_be_replaced(self, reopen: Reopen) -> None:
        store = await reopen()

        with pytest.raises(VersionConflict):
            await store.put("map", b"1", expected=1)

        assert await store.get("map") is None

    async def test_of_many_writers_at_one_revision_exactly_one_wins(self, reopen: Reopen) -> None:
        """The linearization point of a move: COMMIT and ABORT are the same compare-and-set."""
        store = await reopen()
        await store.put("slot", b"moving", expected=0)

        results = await asyncio.gather(
            *(store.put("slot", b"%d" % n, expected=1) for n in range(10)), return_exceptions=True
        )

        winners = [n for n, result in enumerate(results) if result == 2]
        assert len(winners) == 1
        assert sum(isinstance(result, VersionConflict) for result in results) == 9
        assert await store.get("slot") == Document(b"%d" % winners[0], 2)

    async def test_keys_come_by_prefix_in_order(self, reopen: Reopen) -> None:
        store = await reopen()
        for key in ("slot/b", "slot/a", "slots", "map", "slot%"):
            await store.put(key, b"", expected=0)

        assert await store.keys("slot/") == ["slot/a", "slot/b"]
        assert await store.keys("slot%") == ["slot%"]
        assert await store.keys("") == ["map", "slot%", "slot/a", "slot/b", "slots"]
