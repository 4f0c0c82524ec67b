"""A cell on a new machine: its store from backups, brought up to its twins, opened under new epochs.

Promises: the store appears under its name only when it is whole; no slot takes a write before every other region that
may hold it was asked for what it has beyond the backups, this region's own ops included, and before an epoch that no
earlier store had is committed; nothing newer is overwritten, since all of it is merged by version.
A store that was found to be an older copy of itself (``bootstrap.older_copy``) is one source more, with what only it
still holds; it is set aside as ``.older``, and gone once the new store is there. So is another cell of the region that
a slot was moved from or to last (``restore_kept``).
The order matters: under a new epoch the twins would think the old epoch's tail was held. A failure leaves a file ending
in ``.restoring``, which the next try begins anew. May not know: how the process is stopped and started.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from eisbach.bootstrap.restore_kept import KeptSlots, from_keeper, take_following
from eisbach.cell.archive_reader import ArchiveReader, PastSlot
from eisbach.cell.paced_peer import PacedPeer
from eisbach.cell.puller import PeerTransport, PullRequest
from eisbach.engines.embedded.disk import Disk
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import Invalid, LogGap, Unavailable
from eisbach.kernel.limits import PULL_OPS_MAX, RESTORE_EPOCHS_SKIPPED
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector
from eisbach.ports.clock import Clock
from eisbach.ports.moves import COPY_ROWS_MAX, CopiedItem, CopyCursor, SlotChunk

__all__ = ["NewStore", "RestoredCell", "Sources", "holds_data", "restore_cell"]

_ROUNDS_MAX: Final = 100_000
_NOTHING: Final = Mark(0, 0)
_FILES: Final = ("", "-wal", "-shm", "-opened")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a cell's data are when its disk is gone."""

    backups: ArchiveReader | None
    """The region's; None for a cell that makes none (the studio): its twins have all of it."""
    twins: Mapping[str, PeerTransport]
    """Every other region that may hold the slots."""
    moved: Mapping[Slot, str] = field(default_factory=dict)
    """Slots that the cell's document names and another cell owns by the map: without a row that says so, the next start
    would take them under epoch 1."""
    kept: KeptSlots | None = None
    """What other cells of the region still have; None: no slot has moved."""
    epochs: Mapping[Slot, int] = field(default_factory=dict)
    """Of the records of moves, for slots that ever moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredCell:
    """What a restore has brought back."""

    slots: int
    items: int
    """From backups, tombstones included."""
    ops: int
    """From twins: what backups had not."""
    older: int
    """Items and ops from an older copy of the store, and from cells that slots were moved from or to."""
    epochs: dict[str, int]
    """Slot -> the epoch under which it takes writes now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStore:
    """The store that is to be made."""

    path: Path
    """Must not be there, or be empty."""
    region: str
    cell: str
    clock: Clock
    """Stamps nothing, but refuses what is from the future."""
    disk: Disk | None = None
    """Where blocking work runs; None: in a thread of the store's own."""

    def opening(self, path: Path) -> AbstractAsyncContextManager[SqliteStore]:
        """Open a file as this store."""
        return open_store(path, region=self.region, clock=self.clock, cell=self.cell, disk=self.disk)


async def restore_cell(
    new: NewStore, slots: Sequence[Slot], sources: Sources, *, progress: Callable[[int], None] = lambda _slots: None
) -> RestoredCell:
    """Make the store file of a cell.

    Args:
        new: which, and where.
        slots: which the cell owns by the region's slot map.
        sources: backups and twins.
        progress: told how many slots are done.

    Raises:
        Invalid: there is a store already, and it is no older copy of itself.
        Unavailable: a twin does not answer, or cannot give what is missing, or this clock is behind; nothing appeared.
        Corrupt: a backup cannot be read.
    """
    path, region = new.path, new.region
    sources = replace(sources, twins={peer: PacedPeer(asked, new.clock) for peer, asked in sources.twins.items()})
    if path.exists() and await _held(new):
        raise Invalid(f"{path} holds data; a restore fills a new store: move it away, with its -wal and -shm")
    unfinished, aside = (path.with_name(path.name + suffix) for suffix in (".restoring", ".older"))
    if path.exists() and path.stat().st_size > 0 and await _condemned(new):
        _move(path, aside)
    _remove(path)
    _remove(unfinished)
    items = ops = old = 0
    epochs: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(new.opening(unfinished))
        older = await stack.enter_async_context(new.opening(aside)) if aside.exists() else None
        for done, slot in enumerate(slots, 1):
            old += await _from_older(store, slot, older) + await from_keeper(store, slot, sources.kept)
            old += await _from_import(store, slot, older)
            archived, given = await _from_backups_and_twins(store, slot, sources)
            items, ops = items + archived, ops + given
            old += await _from_import(store, slot, older) + await from_keeper(store, slot, sources.kept, again=True)
            own = (await store.vector(slot)).get(region, _NOTHING)
            # An older copy may have an epoch of an earlier restore, under which nothing was written.
            begun = await store.lease(slot)
            known = max(own.epoch, begun.epoch if begun is not None else 0, sources.epochs.get(slot, 0))
            lease = await store.settle(slot, move=0, epoch=known + RESTORE_EPOCHS_SKIPPED, owner=None)
            assert lease.state == "active", f"slot {slot} is {lease.state} under epoch {lease.epoch} after its restore"
            # Held in an older copy, and its time has come since: only who owns a slot shows it.
            await store.release_held()
            if (await store.applied(slot)).get(region, _NOTHING) < own:
                raise Unavailable(
                    f"what {region} wrote into slot {slot} is stamped over 500 ms ahead of this machine's clock, and"
                    " would win over what is written next; set the clocks, then try again"
                )
            epochs[str(slot)] = lease.epoch
            progress(done)
        for slot, owner in sources.moved.items():
            await store.settle(slot, move=0, epoch=1, owner=owner)
    _move(unfinished, path)
    _remove(aside)
    return RestoredCell(slots=len(slots), items=items, ops=ops, older=old, epochs=epochs)


def _remove(path: Path) -> None:
    for suffix in _FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _move(path: Path, to: Path) -> None:
    """The file comes last: what is beside it is part of it."""
    _remove(to)
    for suffix in reversed(_FILES):
        if (found := path.with_name(path.name + suffix)).exists():
            found.rename(to.with_name(to.name + suffix))


async def _held(new: NewStore) -> bool:
    async with new.opening(new.path) as store:
        return await _holds_data(store)


async def _condemned(new: NewStore) -> bool:
    async with new.opening(new.path) as store:
        return bool((await store.whereabouts())[1])


async def holds_data(path: Path, *, region: str, clock: Clock) -> bool:
    """Whether there is a store with slots or ops: a cell that was refused on an empty disk leaves one without, and an
    older copy of itself counts as none.

    Raises:
        Invalid: the file is no store of this region.
    """
    if not path.exists():
        return False
    async with open_store(path, region=region, clock=clock) as store:
        return await _holds_data(store)


async def _holds_data(store: SqliteStore) -> bool:
    if (await store.whereabouts())[1]:
        return False
    return bool(await store.leases()) or store.statistics().last_lsn > 0


async def _from_older(store: SqliteStore, slot: Slot, older: SqliteStore | None) -> int:
    """All that an older copy has of a slot that it had; keys and lost conflicts too.

    Also what it had left behind in a move: since then the slot has come back, and the copy does not know of it. Not
    where that was pruned: it may be half of a given-up import, whose floors would say that the items are all there.
    """
    lease = await older.lease(slot) if older is not None else None
    if older is None or lease is None or lease.state not in ("active", "frozen", "away", "gone"):
        return 0  # half of an import may be there, which is no state of the slot
    cursor, found = CopyCursor(), 0
    for _ in range(_ROUNDS_MAX):
        piece = await older.export(slot, cursor)
        if lease.state == "gone" and piece.floors:
            return 0
        await store.begin_import(slot, move=0, epoch=lease.epoch)
        await store.import_chunk(slot, piece, move=0)
        found += len(piece.ops) + len(piece.items)
        if not piece.more:
            return found
        cursor = piece.cursor
    raise AssertionError("nobody writes an older copy: it has an end")


async def _from_import(store: SqliteStore, slot: Slot, older: SqliteStore | None) -> int:
    """Of a slot that was on its way to an older copy, or left there in part: ops, as far as they follow what is there.

    What it was given may be nowhere else, when the slot came since and its twin was cut off. Taken before the twin's,
    as they were written, so that what they lost to is listed (seed 3589).
    """
    lease = await older.lease(slot) if older is not None else None
    if older is None or lease is None or lease.state not in ("importing", "gone"):
        return 0
    if await store.lease(slot) is None:
        await store.begin_import(slot, move=0, epoch=lease.epoch)
    copy = older
    return await take_following(store, slot, lambda cursor: copy.export(slot, cursor))


async def _from_backups_and_twins(store: SqliteStore, slot: Slot, sources: Sources) -> tuple[int, int]:
    """(Items from backups, what twins had beyond them).

    Backups may begin in the middle, where they were switched on after older ops had been pruned; nothing in them tells
    once a base was made, and their vector would hide from a twin what they lack. So what came out is compared.
    """
    past = await sources.backups.slot(str(slot)) if sources.backups is not None else None
    items, ops = await _from_backups(store, slot, past), 0
    for peer, transport in sources.twins.items():
        ops += await _from_twin(store, slot, peer, transport)
    if past is not None:
        items += await _from_backups(store, slot, past, headless=True)
        for peer, transport in sources.twins.items():
            ops += await _from_twin(store, slot, peer, transport, compares=True)
    return items, ops


async def _from_backups(store: SqliteStore, slot: Slot, past: PastSlot | None, *, headless: bool = False) -> int:
    """``headless``: the other origins' part, which comes after the twins' (``PastSlot.headless``)."""
    if past is None:
        await store.begin_import(slot, move=0, epoch=1)
        return 0
    epoch = max(1, past.vector.get(store.region, _NOTHING).epoch)
    await store.begin_import(slot, move=0, epoch=epoch)
    log = {origin: ops for origin, ops in past.log.items() if (origin in past.headless) is headless}
    latest = [op for op in past.latest if (op.origin in past.headless) is headless]
    for piece in _whole_transactions(log):
        await store.import_chunk(slot, _chunk(past.floors, ops=piece), move=0)
    for first in range(0, max(1, len(latest)), COPY_ROWS_MAX):
        items = [_copied(op) for op in latest[first : first + COPY_ROWS_MAX]]
        await store.import_chunk(slot, _chunk(past.floors, items=items), move=0)
    return len(latest)


def _whole_transactions(log: Mapping[str, Sequence[Op]]) -> Iterator[list[Op]]:
    """Pieces of each origin's log, none of which ends inside a transaction; an open end waits for the twin's copy."""
    for ops in log.values():
        piece: list[Op] = []
        for op in ops:
            piece.append(op)
            if len(piece) >= PULL_OPS_MAX and not op.more:
                yield piece
                piece = []
        while piece and piece[-1].more:
            piece.pop()
        if piece:
            yield piece


def _chunk(floors: Vector, *, ops: Sequence[Op] = (), items: Sequence[CopiedItem] = ()) -> SlotChunk:
    return SlotChunk(
        floors=dict(floors), ops=list(ops), items=list(items), keys=[], conflicts=[], heads={}, cursor=CopyCursor(),
        more=False,
    )  # fmt: skip


def _copied(op: Op) -> CopiedItem:
    change = op.change
    assert change is not None, "the latest op of an item has a change"
    base_hlc, base_origin = (change.base.hlc, change.base.origin) if change.base is not None else (0, "")
    return CopiedItem(
        pk=change.pk, sk=change.sk, value=change.value, hlc=op.hlc, origin=op.origin, seq=op.seq, base_hlc=base_hlc,
        base_origin=base_origin,
    )  # fmt: skip


async def _copied_from_twin(store: SqliteStore, slot: Slot, transport: PeerTransport, owner: str) -> int:
    """All that the other region has of a slot, items and all; the number of ops and items."""
    cursor, found, text = CopyCursor(vector=dict(await store.vector(slot))), 0, str(slot)
    for _ in range(_ROUNDS_MAX):
        request = PullRequest(slots={}, copies={text: cursor}, wait_ms=0, region=store.region)
        piece = (await transport.pull(owner, request)).copies.get(text)
        if piece is None:
            raise Unavailable(f"cell {owner} of the twin's region does not give slot {slot} now; nothing was restored")
        await store.import_chunk(slot, piece, move=0)
        found += len(piece.ops) + len(piece.items)
        if not piece.more:
            return found
        cursor = piece.cursor
    raise Unavailable(f"slot {slot} changes faster than it can be copied; try again")


async def _holds_the_same(store: SqliteStore, slot: Slot, transport: PeerTransport, owner: str) -> bool:
    """Whether the other region has the same items; no, too, while it is written there, or holds ops back."""
    request = PullRequest(slots={}, digests=[str(slot)], wait_ms=0, region=store.region)
    theirs = (await transport.pull(owner, request)).digests.get(str(slot))
    return theirs is not None and theirs.buckets == list(await store.digest(slot, buckets=len(theirs.buckets)))


async def _from_twin(
    store: SqliteStore, slot: Slot, peer: str, transport: PeerTransport, *, compares: bool = False
) -> int:
    """Everything that the other region has beyond the backups; ``compares``: all of it, if items differ then."""
    owners = (await transport.owners()).get(str(slot.group), ())
    if slot.number >= len(owners):
        raise Unavailable(f"region {peer} has no owner for slot {slot}; see eisbach status there, then try again")
    owner, found = owners[slot.number], 0
    for _ in range(_ROUNDS_MAX):
        vector = dict(await store.vector(slot))
        request = PullRequest(slots={str(slot): vector}, wait_ms=0, region=store.region, anew=True)
        answer = await transport.pull(owner, request)
        if moved := answer.moved.get(str(slot)):
            owner = moved
            continue
        if answer.failed.get(str(slot)) == LogGap.code:  # the backups end before the twin's log begins, or are lost too
            found += await _copied_from_twin(store, slot, transport, owner)
            continue
        if str(slot) in answer.failed or str(slot) in answer.moved:
            why = answer.failed.get(str(slot), "its owner is not known there")
            raise Unavailable(f"region {peer} cannot give what slot {slot} misses: {why}; nothing was restored")
        batch = answer.batches.get(str(slot))
        if batch is None:
            if not compares or await _holds_the_same(store, slot, transport, owner):
                return found
            found, compares = found + await _copied_from_twin(store, slot, transport, owner), False
            continue
        await store.apply(slot, batch.ops)
        found += len(batch.ops)
    raise Unavailable(f"region {peer} writes slot {slot} faster than it can be followed; try again")
