"""Power lost at every durable step, disks that refuse: what was acknowledged is there, what was refused is not."""

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from faulty_disk import Disk, FaultyVFS, after_power_loss, restore
from sqlite_stores import Stores

from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import OutcomeUnknown, Unavailable
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.ports.store import Store, Write
from eisbach.testing.manual_clock import settle
from eisbach.testing.store_erase_promises import until_erased
from eisbach.testing.store_host import SLOT, event, items, owned, put, value, write

SEED = 20261124


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    disk = Disk()
    vfs = FaultyVFS("faulty", disk)
    yield disk
    vfs.unregister()


@pytest.fixture
async def faulty(tmp_path: Path, disk: Disk) -> AsyncIterator[Stores]:
    stores = Stores(tmp_path / "live", vfs="faulty")
    yield stores
    disk.refuse_writes, disk.refuse_syncs = False, 0
    await stores.aclose()


async def _check(store: Store, acknowledged: int) -> None:
    """At least what was acknowledged, at most one more, dense, each with its item."""
    ops = (await store.ops_after(SLOT, {}, limit=1000)).ops
    found = [item.key.sk for item in await items(store)]
    assert [op.seq for op in ops] == list(range(1, len(ops) + 1))
    assert len(ops) % 2 == 0, "half a transaction"
    assert acknowledged <= len(ops) // 2 <= acknowledged + 1
    assert found == sorted(f"k{number}" for number in range(len(ops) // 2))


async def test_power_lost_at_any_durable_step_loses_nothing_acknowledged(
    tmp_path: Path, faulty: Stores, disk: Disk
) -> None:
    chance = random.Random(SEED)
    store = await owned(faulty)
    begun, acknowledged_at = len(disk.steps), []
    for number in range(12):
        await write(store, put(f"k{number}", b"x" * 3000), event())
        acknowledged_at.append(len(disk.steps))
        if number == 6:
            store._writer.database.wal_checkpoint(mode=2)  # the steps of a checkpoint are durable steps too

    for cut in range(begun, len(disk.steps) + 1):
        folder = tmp_path / f"cut{cut}"
        restore(folder, after_power_loss(disk.steps[:cut], chance))
        after = Stores(folder)
        await _check(await after.open(), sum(at <= cut for at in acknowledged_at))
        await after.aclose()


async def test_the_crash_test_fails_when_a_commit_is_not_synced(tmp_path: Path, faulty: Stores, disk: Disk) -> None:
    """The negative: with the syncs of the log left out, acknowledged writes do get lost."""
    store = await owned(faulty)
    await write(store, put("k0"), event())
    begun = len(disk.steps)
    await write(store, put("k1"), event())
    unsynced = disk.steps[:begun] + [step for step in disk.steps[begun:] if step.kind != "sync"]

    restore(tmp_path / "after", after_power_loss(unsynced, random.Random(SEED)))
    after = Stores(tmp_path / "after")

    with pytest.raises(AssertionError):
        await _check(await after.open(), 2)
    await after.aclose()


async def test_a_disk_that_is_full_refuses_and_the_store_goes_on_when_there_is_room(faulty: Stores, disk: Disk) -> None:
    store = await owned(faulty)
    await write(store, put("k0"), event())
    disk.refuse_writes = True
    with pytest.raises(Unavailable, match="nothing was written"):
        await write(store, put("lost"), event())
    assert await value(store, "lost") is None
    disk.refuse_writes = False

    receipt = await write(store, put("k1"), event())

    assert receipt.mark.seq == 4
    await _check(await faulty.restart(), 2)


async def test_a_write_whose_sync_failed_does_not_come_back_after_a_crash(
    tmp_path: Path, faulty: Stores, disk: Disk
) -> None:
    store = await owned(faulty)
    await write(store, put("k0"), event())
    disk.refuse_syncs = 1

    with pytest.raises(Unavailable, match="nothing was written"):
        await write(store, put("refused"), event())

    restore(
        tmp_path / "after", {p.name: p.read_bytes() for p in faulty.folder.iterdir() if not p.name.endswith("-shm")}
    )
    after = Stores(tmp_path / "after")
    assert await value(await after.open(), "refused") is None
    assert (await write(store, put("k1"), event())).mark.seq == 4
    await after.aclose()


async def test_an_op_of_another_region_whose_sync_failed_does_not_come_back_after_a_crash(
    tmp_path: Path, faulty: Stores, disk: Disk
) -> None:
    """Seed 458361: it moves no clock here, so the commit that was to overwrite it wrote the row that was there."""
    store = await owned(faulty)
    await write(store, put("k0"), event())
    op = Op(str(SLOT), "eu-west", 1, 1, 1 << COUNTER_BITS, ItemChange("account", "refused", b"1"), None)
    disk.refuse_syncs = 1

    with pytest.raises(Unavailable, match="nothing was written"):
        await store.apply(SLOT, [op])

    restore(
        tmp_path / "after", {p.name: p.read_bytes() for p in faulty.folder.iterdir() if not p.name.endswith("-shm")}
    )
    after = Stores(tmp_path / "after")
    assert "eu-west" not in await (await after.open()).vector(SLOT)
    await after.aclose()


async def test_a_disk_that_fails_twice_in_a_commit_leaves_the_outcome_unknown(faulty: Stores, disk: Disk) -> None:
    store = await owned(faulty)
    await write(store, put("k0"), event())
    disk.refuse_syncs = 2

    with pytest.raises(OutcomeUnknown, match="same key"):
        await write(store, put("maybe"), event())

    assert (await write(store, put("k1"), event())).mark.seq == 4


async def test_an_erasure_that_a_full_disk_stopped_goes_on_when_there_is_room_and_nobody_writes(
    faulty: Stores, disk: Disk
) -> None:
    """Found by the simulated world (seeds 270306, 308642): the store waited for a next commit, and there was none."""
    store = await owned(faulty)
    await write(store, put("k0"))
    writer = store._writer
    commit = writer.run_group

    def full_after_the_mark(works: Any) -> Any:
        results = commit(works)
        disk.refuse_writes = True
        return results

    writer.run_group = full_after_the_mark
    with structlog.testing.capture_logs() as said:
        await write(store, Write(ItemChange("acc-1", ERASED, b"{}")))
        writer.run_group = commit
        await settle()  # the eraser was refused
        for _ in range(3):
            await faulty.clock.advance(1.0)
            await settle()
    assert store.statistics().erasing == 1
    assert [line["event"] for line in said].count("erasure_waits") == 1, "a line a minute, not one a second"
    disk.refuse_writes = False

    await faulty.clock.advance(1.0)
    await until_erased(store)

    assert [entry.op.change.sk for entry in await store.log_after(0, limit=9) if entry.op.change] == [ERASED]
