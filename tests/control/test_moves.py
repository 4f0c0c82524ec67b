"""Moves, deterministic: real stores, real coordinator, a network that loses, doubles and crashes it at every step.

The model is the exhaustive one of the design; here its mutants are planted into the production code, and each is found.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eisbach.cell.moving import Freeze, Frozen, LeaseView, Moving, Settle
from eisbach.cell.ownership import Ownership
from eisbach.cell.slot_imports import ExportRequest, ImportProgress, PrepareImport, SlotImports
from eisbach.control.moves import Mover
from eisbach.control.slot_record import SlotRecord, SlotRecords
from eisbach.engines.embedded import move_works, reads
from eisbach.engines.embedded.apply_work import ApplyWork
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import EisbachError, Invalid, LogGap, SlotFrozen, SlotMoved, Unavailable, VersionConflict
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.ports.moves import SlotChunk
from eisbach.ports.store import IdempotencyKey, ItemKey, Lease, Transaction, Write
from eisbach.testing.manual_clock import ManualClock

SLOT = Slot.parse("eu/de/main/0")
GROUPS = {"eu/de/main": 2}


class Crashed(Exception):
    """The coordinator's process has died at this step."""


class CellUnderTest:
    def __init__(self, region: "Region", name: str, store: SqliteStore) -> None:
        self.store = store
        self.ownership = Ownership(store, cell=name, groups=GROUPS, owners={})
        rng = random.Random(1)
        self.imports = SlotImports(store, self.ownership, region, clock=region.clock, rng=rng)
        self.relayed: int | None = None
        self.hub_wiped = False
        """And the relay has not noticed yet."""
        self.asked_when: list[str] = []
        """What else had happened when the hub was asked what it has."""
        self._region = region
        self.moving = Moving(store, self.ownership, self.imports, relayed=self, clock=region.clock)

    def last_lsn(self) -> int:
        return self.store.statistics().last_lsn if self.relayed is None else self.relayed

    async def has(self, lsn: int) -> bool:
        self.asked_when = list(self._region.done)
        return self.last_lsn() >= lsn and not self.hub_wiped


class Region:
    """Two cells, a control store and the network between them: ``MoveCells`` and ``SlotSource`` at once."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.folder, self.stack = ManualClock(), folder, AsyncExitStack()
        self.cells: dict[str, CellUnderTest] = {}
        self.control = SqliteControlStore(folder / "control.db")
        self.crash_at = self.calls = 0
        self.loss = self.doubled = 0.0
        self.dice = random.Random(7)
        self.late: list[Callable[[], Any]] = []
        """Calls of the past, to be delivered again."""
        self.published: dict[str, str] = {}
        self.down: set[str] = set()
        self.done: list[str] = []
        self.acknowledged: dict[str, bytes] = {}
        self.written = self.twin_at = 0
        """Ops that the twin was told are on our disk: it may forget them."""
        self.twin_is_cut = False

    async def open(self, *names: str) -> None:
        for name in names:
            opening = open_store(
                self.folder / f"{name}.db", region="eu-central", clock=self.clock, cell=name, disk=inline
            )
            store = await self.stack.enter_async_context(opening)
            self.cells[name] = cell = CellUnderTest(self, name, store)
            await cell.ownership.open([SLOT] if name == "c1" else [])
            self.stack.push_async_callback(cell.imports.aclose)

    async def aclose(self) -> None:
        await self.stack.aclose()
        await self.control.aclose()

    def mover(self) -> Mover:
        async def publish(owners: Any) -> None:
            self.published |= owners

        return Mover(self.control, self, names=lambda: sorted(self.cells), publish=publish, clock=self.clock)

    def address(self, cell: str) -> str:
        return cell

    async def _call(self, cell: str, act: Callable[[Moving], Any], *, coordinator: bool = True) -> Any:
        number = 0
        if coordinator:
            number = self.calls = self.calls + 1
            if self.calls == self.crash_at:
                raise Crashed
            self.late.append(lambda: act(self.cells[cell].moving))
        if cell in self.down or self.dice.random() < self.loss:
            raise Unavailable("lost on the way there")
        if self.dice.random() < self.doubled:
            with contextlib.suppress(EisbachError):
                await act(self.cells[cell].moving)
        answer = await act(self.cells[cell].moving)
        if number and number == -self.crash_at:
            raise Crashed  # after the cell has done it
        if self.dice.random() < self.loss:
            raise Unavailable("lost on the way back")
        return answer

    async def look(self, cell: str, slot: str) -> LeaseView:
        return await self._call(cell, lambda m: m.look(slot))

    async def all_leases(self, cell: str) -> dict[str, LeaseView]:
        return await self._call(cell, lambda m: m.leases())

    async def prepare(self, cell: str, asked: PrepareImport) -> ImportProgress:
        return await self._call(cell, lambda m: m.prepare(asked))

    async def freeze(self, cell: str, asked: Freeze) -> Frozen:
        return await self._call(cell, lambda m: m.freeze(asked))

    async def drain(self, cell: str, asked: Freeze) -> bool:
        drained = await self._call(cell, lambda m: m.drain(asked))
        self.done.append("drain")
        return drained

    async def settle(self, cell: str, asked: Settle) -> LeaseView:
        return await self._call(cell, lambda m: m.settle(asked))

    async def discard(self, cell: str, asked: Settle) -> bool:
        return await self._call(cell, lambda m: m.discard(asked))

    async def export(self, source: str, request: ExportRequest) -> SlotChunk:
        return await self._call(source, lambda m: m.export(request), coordinator=False)

    async def digest(self, source: str, slot: str) -> list[str]:
        return await self._call(source, lambda m: m.digest(slot), coordinator=False)

    async def write(self, times: int = 1) -> None:
        """A viewer who tries every cell, as a stale router would; each write is another."""
        for _ in range(times):
            await self._write()

    async def _write(self) -> None:
        number = self.written = self.written + 1
        key, value = f"k{number % 40}", str(number).encode()
        took = []
        for name, cell in self.cells.items():
            with contextlib.suppress(SlotMoved, SlotFrozen):
                change = Write(ItemChange("a", key, value))
                once = IdempotencyKey("a", f"n{number}")
                await cell.store.transact(Transaction(slot=SLOT, writes=[change], key=once, answer=value))
                took.append(name)
        assert len(took) <= 1, f"P2: {took} both took write {number}"
        if took:
            self.acknowledged[key] = value
        if not self.twin_is_cut:
            await self.pull()

    async def pull(self) -> None:
        """The twin's next op comes to whoever believes to own the slot; applied is acknowledged."""
        seq = self.twin_at + 1
        change = ItemChange("twin", f"t{seq}", b"theirs")
        op = Op(str(SLOT), "eu-west", 1, seq, self.clock.wall_ms() << COUNTER_BITS, change, None)
        for cell in self.cells.values():
            with contextlib.suppress(SlotMoved, SlotFrozen, LogGap):
                held = (await cell.store.apply(SLOT, [op])).vector
                self.twin_at = max(self.twin_at, held["eu-west"].seq)

    async def leases(self) -> dict[str, Lease | None]:
        return {name: await cell.store.lease(SLOT) for name, cell in self.cells.items()}

    async def check(self) -> str:
        """I1 and I2: one owner, and every acknowledged write is there; the owner."""
        found = await self.leases()
        active = [name for name, lease in found.items() if lease is not None and lease.state == "active"]
        assert len(active) == 1, f"owners {active} of {found}"
        store = self.cells[active[0]].store
        for key, value in self.acknowledged.items():
            item = await store.read(SLOT, ItemKey("a", key))
            assert item is not None, f"{key} is lost at {active[0]}"
            assert item.value == value, f"{key}: acknowledged {value!r}, {active[0]} has {item.value!r}"
        for value in self.acknowledged.values():
            once = IdempotencyKey("a", f"n{value.decode()}")
            again = Transaction(slot=SLOT, writes=[Write(ItemChange("again", "x", b""))], key=once)
            assert (await store.transact(again)).answer == value, f"P5: key of {value!r} was forgotten in the move"
        for seq in range(1, self.twin_at + 1):
            item = await store.read(SLOT, ItemKey("twin", f"t{seq}"))
            assert item is not None, f"op {seq} of the twin was acknowledged, {active[0]} lacks it"
        return active[0]


async def record(mover: Mover) -> SlotRecord:
    return (await mover.records())[0]


async def run_to_end(region: Region, mover: Mover, *, seconds: float = 200, writing: bool = True) -> SlotRecord:
    """Passes of the coordinator, anew after every crash, with viewers who write between them."""
    running: asyncio.Task[Any] | None = None
    for _ in range(int(seconds / 0.02)):
        if running is None or running.done():
            if running is not None and running.exception() is not None:
                assert isinstance(running.exception(), Crashed), running.exception()
                region.crash_at = 0
                mover = region.mover()  # a new process, without memory
            running = asyncio.create_task(mover.activate())
        await region.clock.advance(0.02)
        if writing:
            await region.write()
        found = await record(mover)
        if found.phase == "settled" and {found.source, found.target} <= set(found.told):
            await asyncio.gather(running, return_exceptions=True)
            return found
    raise AssertionError(f"no end within {seconds} s: {await record(mover)}, {await region.leases()}")


async def moved(region: Region, *, to: str = "c2", writing: bool = True) -> SlotRecord:
    mover = region.mover()
    owner = next(n for n, lease in (await region.leases()).items() if lease is not None and lease.state == "active")
    await mover.request(SLOT, owner=owner, target=to)
    return await run_to_end(region, mover, writing=writing)


async def test_a_slot_moves_under_writes_and_every_acknowledged_write_is_at_the_new_owner(region: Region) -> None:
    await region.write(100)

    found = await moved(region)

    assert (found.outcome, found.owner, found.epoch) == ("committed", "c2", 2)
    assert await region.check() == "c2"
    assert region.published == {str(SLOT): "c2"}
    assert found.freeze_ms <= 100


async def test_with_the_twin_cut_a_slot_moves_and_pulls_on_from_where_the_source_had_come(region: Region) -> None:
    await region.write(10)
    region.twin_is_cut, held = True, region.twin_at

    found = await moved(region)
    region.twin_is_cut = False
    await region.write()

    assert found.outcome == "committed"
    assert region.twin_at == held + 1, "the new owner goes on with the very next op"
    await region.check()


async def test_there_and_back_again_and_epochs_strictly_rise(region: Region) -> None:
    epochs = []
    for turn in range(4):
        await region.write()
        epochs.append((await moved(region, to="c2" if turn % 2 == 0 else "c1")).epoch)
        await region.check()

    assert epochs == [2, 3, 4, 5]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_coordinator_that_dies_at_any_step_is_followed_by_one_that_ends_the_move(
    tmp_path: Path, *, after: bool
) -> None:
    step, crashed = 1, 0
    while True:
        region = Region(tmp_path / str(step))
        await region.open("c1", "c2")
        await region.write(20)
        region.crash_at = -step if after else step

        found = await moved(region)

        assert found.outcome in ("committed", "aborted")
        assert found.epoch == 2
        assert await region.check() == found.owner
        reached = region.crash_at == 0
        await region.aclose()
        if not reached:
            break  # the move ends before this step
        crashed += 1
        step += 1
    assert crashed >= 8, f"only {crashed} steps: PREPARE, look, FREEZE, DRAIN and both outcomes are more"


@pytest.mark.parametrize("seed", range(12))
async def test_lost_doubled_and_late_messages_neither_lose_a_write_nor_make_two_owners(
    region: Region, seed: int
) -> None:
    region.dice, region.loss, region.doubled = random.Random(seed), 0.2, 0.2
    for _ in range(3):
        await region.write(10)
        await moved(region, to="c2" if await region.check() == "c1" else "c1")
        for again in random.Random(seed).sample(region.late, k=min(20, len(region.late))):
            with contextlib.suppress(EisbachError):
                await again()
            await region.write()
        await region.check()


async def test_a_target_that_dies_after_the_freeze_lets_the_source_write_on_within_a_second(region: Region) -> None:
    await region.write()
    drain = region.drain

    async def dead(cell: str, asked: Freeze) -> bool:
        region.down.add("c2")
        return await drain(cell, asked)

    region.drain = dead  # type: ignore[method-assign]
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c2")
    task = asyncio.create_task(run_to_end(region, mover, seconds=20, writing=False))
    frozen_ms = 0
    while not region.down or (await region.leases())["c1"].state == "frozen":  # type: ignore[union-attr]
        frozen = (await region.leases())["c1"].state == "frozen"  # type: ignore[union-attr]
        before = region.clock.monotonic_ms()
        await asyncio.sleep(0)
        frozen_ms += region.clock.monotonic_ms() - before if frozen else 0
    region.down.clear()

    found = await task

    assert (found.outcome, found.owner, found.epoch) == ("aborted", "c1", 2)
    assert frozen_ms <= 1000
    await region.write()
    assert await region.check() == "c1"


async def test_a_hub_that_lacks_events_of_the_cut_keeps_the_slot_where_it_is(region: Region) -> None:
    await region.write()
    region.cells["c1"].relayed = 0

    found = await moved(region, writing=False)

    assert (found.outcome, found.owner) == ("aborted", "c1")
    assert "hub" in found.reason
    await region.check()


async def test_a_hub_that_was_wiped_a_moment_ago_is_not_believed_to_have_the_cut(region: Region) -> None:
    """P3: the source may be taken away before its relay looks again, and the target's may have looked already."""
    await region.write()
    region.cells["c1"].hub_wiped = True

    found = await moved(region, writing=False)

    assert (found.outcome, found.owner) == ("aborted", "c1")
    assert "hub" in found.reason
    await region.check()


async def test_the_hub_is_asked_for_the_cut_when_the_target_has_it(region: Region) -> None:
    """P3: a hub that is wiped after that is filled by the target, which publishes what it has when it finds out."""
    await region.write()

    found = await moved(region, writing=False)

    assert found.outcome == "committed"
    assert "drain" in region.cells["c1"].asked_when


async def test_with_the_coordinator_gone_a_frozen_slot_stays_frozen_and_readable(region: Region) -> None:
    await region.write()
    await region.cells["c1"].moving.freeze(Freeze(slot=str(SLOT), move=1, epoch=1))

    await region.clock.advance(3600)

    with pytest.raises(SlotFrozen):
        await region.cells["c1"].store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("a", "x", b""))]))
    region.cells["c1"].ownership.check(SLOT)
    assert await region.cells["c1"].store.read(SLOT, ItemKey("a", "k1")) is not None


async def test_an_operator_may_give_up_a_move_and_only_one_outcome_wins(region: Region) -> None:
    await region.write()
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c2")

    aborted = await mover.abort(SLOT, "no")

    with pytest.raises(VersionConflict):  # the commit that was on its way
        await SlotRecords(region.control).put(msgspec.structs.replace(aborted, owner="c2"), expected=1)
    with pytest.raises(Invalid):
        await mover.abort(SLOT, "again")
    assert (await run_to_end(region, mover)).owner == await region.check() == "c1"


async def test_a_slot_that_is_evacuated_during_its_copy_is_given_up_at_once(region: Region) -> None:
    """Found by the simulated world, seed 1801: the move waited two minutes for a copy that nobody would send."""
    await region.write(5)
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c2")
    await region.cells["c1"].store.stand_aside(SLOT, epoch=5, owner="eu-west")
    await region.cells["c1"].ownership.refresh()

    for _ in range(5):
        await mover.activate()

    found = await record(mover)
    assert (found.outcome, found.owner) == ("aborted", "c1")
    assert "away" in found.reason
    await region.cells["c1"].store.stand_aside(SLOT, epoch=6, owner=None)
    assert (await run_to_end(region, mover, seconds=5, writing=False)).told == ("c1", "c2")


async def test_a_second_move_of_a_slot_under_way_is_refused(region: Region) -> None:
    mover = region.mover()
    await mover.request(SLOT, owner="c1", target="c2")

    with pytest.raises(VersionConflict, match="on its way to c2"):
        await mover.request(SLOT, owner="c1", target="c2")


async def test_a_minute_after_the_move_the_source_has_let_go_of_the_data_and_kept_the_lease_row(region: Region) -> None:
    await region.write()
    await moved(region)
    mover = region.mover()
    await mover.activate()
    await region.clock.advance(61)

    sweep = asyncio.create_task(mover.activate())
    await region.clock.advance(1)
    await sweep

    assert (await record(mover)).done
    assert await region.cells["c1"].store.read(SLOT, ItemKey("a", "k1")) is None
    lease = (await region.leases())["c1"]
    assert lease is not None
    assert (lease.state, lease.owner, lease.epoch) == ("gone", "c2", 2)
    assert await region.check() == "c2"


async def test_a_slot_that_moves_on_within_the_minute_is_let_go_of_everywhere_it_was(region: Region) -> None:
    """P22: an account that is erased at its new owner would stay for ever where the slot was first."""
    await region.open("c3")
    await region.write()
    await moved(region, writing=False)
    await region.clock.advance(5)
    await moved(region, to="c3", writing=False)
    mover = region.mover()
    await mover.activate()
    await region.clock.advance(61)
    region.down.add("c1")

    for _ in range(2):  # the second time c1 is there
        sweep = asyncio.create_task(mover.activate())
        await region.clock.advance(1)
        await sweep
        assert not await region.cells["c2"].store.vector(SLOT)
        assert (await record(mover)).done == (not region.down)
        region.down.clear()

    assert not await region.cells["c1"].store.vector(SLOT)
    assert (await region.leases())["c1"] is not None


async def test_a_slot_that_comes_back_within_the_minute_is_not_let_go_of_where_it_is(region: Region) -> None:
    await region.open("c3")
    await region.write(3)
    for to in ("c2", "c3", "c1"):
        await moved(region, to=to, writing=False)
        await region.clock.advance(1)
    mover = region.mover()
    await mover.activate()
    await region.clock.advance(61)

    sweep = asyncio.create_task(mover.activate())
    await region.clock.advance(1)
    await sweep

    assert (await record(mover)).done
    assert await region.check() == "c1"
    assert not await region.cells["c2"].store.vector(SLOT)
    assert await region.cells["c1"].store.vector(SLOT)


# --- mutants: each is a bug that somebody really wrote; the scenario above it must notice ---------------------------


def _no_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(self: SlotImports, slot_text: str, **_: Any) -> bool:
        return True

    monkeypatch.setattr(SlotImports, "drain", at_once)


def _no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(self: move_works.FreezeWork, desk: Any, group: Any) -> Any:
        return move_works._cut(desk.slots[self.slot])

    monkeypatch.setattr(move_works.FreezeWork, "decide", decide)


def _early_activate(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Mover._cut

    async def early(self: Mover, record: SlotRecord, revision: int) -> str:
        await self._cells.settle(record.target, Settle(slot=record.slot, move=record.move, epoch=record.epoch + 1))
        return await cut(self, record, revision)

    monkeypatch.setattr(Mover, "_cut", early)


def _timer_unfreeze(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze = Moving.freeze

    async def impatient(self: Moving, asked: Freeze) -> Frozen:
        frozen = await freeze(self, asked)
        slot = Slot.parse(asked.slot)
        lease = await self._store.lease(slot)
        assert lease is not None
        if asked.wait_ms and lease.state == "frozen":  # it has waited long enough
            await self._store.set_lease(slot, expected=lease, lease=lease._replace(state="active"))
        return frozen

    monkeypatch.setattr(Moving, "freeze", impatient)


def _late_wipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(self: move_works.OpenImportWork, desk: Any, group: Any) -> Lease:
        slot = move_works._emptied(desk, group, self.slot)
        move_works._change(group, slot, Lease(self.epoch, "importing", 0, self.move))
        return move_works._row(slot)

    monkeypatch.setattr(move_works.OpenImportWork, "decide", decide)


def _apply_while_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = ApplyWork.decide

    def eager(self: ApplyWork, desk: Any, group: Any) -> Any:
        slot = desk.slots.get(self.slot)
        if slot is None or slot.state != "frozen":
            return decide(self, desk, group)
        slot.state = "active"
        try:
            return decide(self, desk, group)
        finally:
            slot.state = "frozen"

    monkeypatch.setattr(ApplyWork, "decide", eager)


def _keys_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    read = reads.read_chunk

    def without(*given: Any, **more: Any) -> SlotChunk:
        return msgspec.structs.replace(read(*given, **more), keys=[])

    monkeypatch.setattr(reads, "read_chunk", without)


def _two_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome is written without a compare: an abort after the commit."""
    cut = Mover._cut

    async def both(self: Mover, record: SlotRecord, revision: int) -> str:
        await cut(self, record, revision)
        await self._cells.settle(record.source, Settle(slot=record.slot, move=record.move, epoch=record.epoch + 2))
        return ""

    monkeypatch.setattr(Mover, "_cut", both)


@pytest.mark.parametrize(
    "mutate", [_no_drain, _no_fence, _early_activate, _timer_unfreeze, _late_wipe, _two_outcomes, _apply_while_frozen,
     _keys_stay_behind],
    ids=lambda mutate: mutate.__name__.strip("_"),
)  # fmt: skip
async def test_each_mutant_of_the_protocol_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutate: Callable[[pytest.MonkeyPatch], None]
) -> None:
    mutate(monkeypatch)
    found = ""
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        region = Region(folder)
        await region.open("c1", "c2")
        try:
            region.dice, region.loss, region.doubled = random.Random(seed), 0.1, 0.2
            await _hard_times(region, seed)
        except AssertionError as error:
            found = str(error)
        finally:
            with contextlib.suppress(Exception):
                await region.stack.aclose()
            await region.control.aclose()
        if found:
            break
    assert found, f"{mutate.__name__} survived 20 seeds"


async def _hard_times(region: Region, seed: int) -> None:
    export = region.export

    async def slow_and_written(source: str, request: ExportRequest) -> SlotChunk:
        chunk = await export(source, request)
        await region.write()
        return chunk

    region.export = slow_and_written  # type: ignore[method-assign]
    freeze = region.freeze

    async def written_at_the_cut(cell: str, asked: Freeze) -> Frozen:
        await region.write()
        frozen = await freeze(cell, asked)
        await region.write()
        return frozen

    region.freeze = written_at_the_cut  # type: ignore[method-assign]
    for _ in range(2):
        await moved(region, to="c2" if await region.check() == "c1" else "c1")
        for again in random.Random(seed).sample(region.late, k=min(20, len(region.late))):
            with contextlib.suppress(EisbachError):
                await again()
            await region.write()
        await region.check()
