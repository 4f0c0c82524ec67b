"""What a twin sends is applied many ops at a time: as if they came one by one, and without making a viewer wait long."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlite_stores import Stores

from eisbach.engines.embedded import apply_work
from eisbach.engines.embedded.group import Group
from eisbach.engines.embedded.slot_rows import SlotRows
from eisbach.engines.embedded.works import Desk, Work
from eisbach.engines.embedded.writer import Writer
from eisbach.kernel.events import EventDraft
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.limits import PULL_OPS_MAX
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.versions import Version
from eisbach.testing.store_host import HERE, OTHER, SLOT, owned, put, write

T = TypeVar("T")
ORIGINS = (HERE, "eu-west", "us-east")
EVENT = EventDraft("tv.test.thing.happened.v1", "thing", b"{}")
steps = st.lists(
    st.tuples(
        st.sampled_from(ORIGINS),
        st.sampled_from(["a", "b", "c", "erased", None]),
        st.sampled_from([b"x", b"y", None]),
        st.sampled_from([-2, -1, 0, 0, 0, 0, 400, 3600_000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


def ops_of(plan: list[tuple[str, str | None, bytes | None, int, bool]], now_ms: int) -> list[Op]:
    """Of three regions, dense in each, this store's own among them (it was made anew); some from the future."""
    seqs, last, ops = dict.fromkeys(ORIGINS, 0), dict.fromkeys(ORIGINS, 0), []
    for number, (origin, sk, value, ahead_ms, known) in enumerate(plan):
        seqs[origin] += 1
        hlc = last[origin] = max(last[origin] + 1, (now_ms + ahead_ms << COUNTER_BITS) + number)
        base = next((o.version for o in reversed(ops) if known and o.change and o.change.sk == sk), None)
        change = ItemChange("acc-1", sk, b"" if sk == "erased" else value, base and Version(*base)) if sk else None
        ops.append(Op(str(SLOT), origin, 1, seqs[origin], hlc, change, EVENT if not change or known else None))
    return ops


def rows_of(path: Path) -> dict[str, list[Any]]:
    """What counts of a file: all but the times at which losers were listed."""
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    queries = {
        "items": "SELECT * FROM items ORDER BY pk, sk",
        "ops": "SELECT * FROM ops ORDER BY lsn",
        "held": "SELECT * FROM held ORDER BY lsn",
        "conflicts": "SELECT pk, sk, hlc, origin, seq, value, winner_hlc, winner_origin, winner_seq FROM conflicts",
        "clock": "SELECT hlc FROM head",
    }
    try:
        return {name: database.execute(query).fetchall() for name, query in queries.items()}
    finally:
        database.close()


def no_short_cuts(desk: Desk, group: Group, slot: SlotRows, fresh: Sequence[Op]) -> tuple[int, int]:
    """Each op the whole way."""
    done = [apply_work.take_in(desk, group, slot, op, late=False) for op in fresh]
    return sum(changed for changed, _ in done), sum(conflict for _, conflict in done)


@settings(max_examples=40)
@given(steps, st.sampled_from([1, 2]))
@example([(HERE, "a", b"x", 0, True), (HERE, "b", b"x", 0, False)], 1)  # the last one has no event
async def test_a_batch_leaves_what_its_ops_leave_each_the_whole_way(
    plan: list[tuple[str, str | None, bytes | None, int, bool]], epoch: int
) -> None:
    """Its own ops are of an epoch that a lost disk had, or of its own, which an older copy of it lacks."""
    found = []
    for short_cuts in (True, False):
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            if not short_cuts:
                patch.setattr(apply_work, "_take_in_all", no_short_cuts)
            stores = Stores(Path(folder))
            store = await owned(stores, epoch=epoch)
            applied = await store.apply(SLOT, ops_of(plan, stores.clock.wall_ms()))
            vectors = [dict(await store.vector(SLOT)), dict(await store.applied(SLOT))]
            slot = store._writer.slots[SLOT]
            before = (slot.epoch, slot.seq, dict(slot.last_events), set(slot.erased), list(slot.held))
            vectors.append(dict(await (await stores.restart()).vector(SLOT)))
            found.append((applied, before, vectors, rows_of(stores.path())))
            await stores.aclose()

    assert found[0] == found[1]


class GatedDisk:
    """Holds the next group back while the gate is closed."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, work: Callable[[], T]) -> T:
        await self.gate.wait()
        return work()


async def test_two_full_batches_are_two_groups_and_who_comes_behind_them_is_in_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, groups, run_group = GatedDisk(), list[int](), Writer.run_group
    stores = Stores(tmp_path, disk=disk)
    store = await owned(stores, slots=(SLOT, OTHER))
    now_ms = stores.clock.wall_ms() - 10_000

    def counted(self: Writer, works: Sequence[Work]) -> list[Any]:
        groups.append(len(works))
        return run_group(self, works)

    monkeypatch.setattr(Writer, "run_group", counted)

    def batch(slot: Any) -> list[Op]:
        change = ItemChange("acc-1", "a", b"1")
        return [
            Op(str(slot), "eu-west", 1, n, (now_ms << COUNTER_BITS) + n, change, None)
            for n in range(1, PULL_OPS_MAX + 1)
        ]

    disk.gate.clear()
    first = asyncio.create_task(write(store, put("earlier")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # its group is before the disk
    behind = [asyncio.create_task(store.apply(slot, batch(slot))) for slot in (SLOT, OTHER)]
    await asyncio.sleep(0)
    viewer = asyncio.create_task(write(store, put("viewer"), slot=OTHER))
    await asyncio.sleep(0)
    disk.gate.set()
    await asyncio.gather(first, *behind, viewer)

    assert groups == [1, 1, 2], "the earlier write, the first batch, and the second with the viewer's write"
    await stores.aclose()
