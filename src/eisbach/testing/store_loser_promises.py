"""Promises of ``Store.apply`` about losers: which of two writes of an item is kept in the conflict log, and where.

A write that another one beat without knowing of it is in the log of *both* regions, so that a disk that is lost, or put
back from an older copy, takes no loser with it that nobody else has.
"""

from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.versions import Version
from eisbach.ports.store import Lease, Store
from eisbach.testing.store_host import HERE, SLOT, THERE, StoreHost, exchange, owned, put, value, write

__all__ = ["LoserPromises"]


async def _losers(store: Store) -> list[bytes | None]:
    return [one.value for one in await store.conflicts()]


class LoserPromises:
    """Two regions write one item."""

    async def test_writes_that_knew_of_each_other_are_no_conflict(self, host: StoreHost) -> None:
        here, there = await owned(host), await owned(host, THERE)
        for turn in range(6):
            await write((here, there)[turn % 2], put(value=b"%d" % turn))
            await exchange(here, there)

        assert await value(here) == b"5"
        assert await _losers(here) == await _losers(there) == []

    async def test_a_loser_that_arrives_under_several_writes_is_kept_by_both_regions(self, host: StoreHost) -> None:
        """Each of them but the first names the one before as its base; none had seen what arrives."""
        here, there = await owned(host), await owned(host, THERE)
        await write(there, put(value=b"theirs"))
        for turn in range(3):
            await host.clock.advance(0.01)
            await write(here, put(value=b"%d" % turn))

        await exchange(there, here)

        assert [await value(here), await value(there)] == [b"2", b"2"]
        assert await _losers(here) == await _losers(there) == [b"theirs"]

    async def test_own_ops_that_come_back_before_what_they_knew_of_are_no_conflict(self, host: StoreHost) -> None:
        """A store that is made anew gets both regions' ops from the twin, origin by origin."""
        here, there = await host.open(), await owned(host, THERE)
        await write(there, put(value=b"theirs"))
        (known,) = (await there.ops_after(SLOT, {}, limit=9)).ops
        first = Version(known.hlc + 1, HERE, 1)
        lost = [
            Op(str(SLOT), HERE, 1, 1, first.hlc, ItemChange("acc-1", "a", b"1", known.version), None),
            Op(str(SLOT), HERE, 1, 2, first.hlc + 1, ItemChange("acc-1", "a", b"2", first), None),
        ]
        await here.set_lease(SLOT, expected=None, lease=Lease(2, "importing", 0))

        await here.apply(SLOT, [*lost, known])

        assert [await value(here), await _losers(here)] == [b"2", []]
