"""What another cell of the region still keeps of a slot whose own cell is made anew (P21).

The cell that gave a slot keeps what it left behind until its new owner has shown, a minute later, that it has the slot.
Is that one put back from an older copy, it may be all that is left of what was acknowledged before the move: no other
region needs to have it yet, and an erasure that only this cell has would be undone (seed 8517). So it is asked, and
without its answer nothing is restored, unless the operator says that the cell is lost, too.
Promises: what it has whole is taken whole, keys and lost conflicts too; of half a slot, which is no state of it, only
ops that follow what is there. May not know: how cells are reached.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from eisbach.bootstrap.restore_owners import Kept
from eisbach.cell.moving import LeaseView, LeftBehind
from eisbach.cell.slot_imports import ExportRequest
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector, covers
from eisbach.ports.moves import CopyCursor, SlotChunk

if TYPE_CHECKING:  # functions load this module, and have no SQLite
    from eisbach.engines.embedded.store import SqliteStore

__all__ = ["Keepers", "KeptSlots", "complete_from_giver", "from_keeper", "take_following"]

_ROUNDS_MAX: Final = 100_000
_NOTHING: Final = Mark(0, 0)
_LEFT: Final = ("frozen", "gone")


class Keepers(Protocol):
    """How other cells of the region are asked: ``cell.move_http.HttpCells``."""

    async def left(self, cell: str, asked: ExportRequest) -> LeftBehind:
        """A piece of what a slot has left behind in a cell.

        Raises:
            Unavailable: it does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeptSlots:
    """Slots of which other cells of the region still have something."""

    keepers: Keepers
    slots: Mapping[Slot, Kept]


async def from_keeper(store: "SqliteStore", slot: Slot, others: KeptSlots | None, *, again: bool = False) -> int:
    """What another cell has of a slot and the store has not; the number of ops and items.

    ``again``: once everybody else was asked, when more of its ops may follow.

    Raises:
        Unavailable: the cell does not answer, or is just letting go of it.
    """
    kept = others.slots.get(slot) if others is not None else None
    if others is None or kept is None:
        return 0
    # The second time the row alone is wanted, and a piece without items is a small one.
    cursor = CopyCursor(vector=dict(await store.vector(slot)), item=None) if again else CopyCursor()
    first = await _ask(others.keepers, kept, slot, cursor)
    if not first.lease.state:
        return 0
    await store.begin_import(slot, move=0, epoch=max(1, first.lease.epoch))
    if _is_whole(first.lease, kept):
        if again:
            return 0

        async def put(chunk: SlotChunk) -> object:
            return await store.import_chunk(slot, chunk, move=0)

        return await _take_whole(put, slot, others.keepers, kept, first)

    async def export(cursor: CopyCursor) -> SlotChunk:
        return (await _ask(others.keepers, kept, slot, cursor)).chunk

    return await take_following(store, slot, export)


async def take_following(store: "SqliteStore", slot: Slot, export: Callable[[CopyCursor], Awaitable[SlotChunk]]) -> int:
    """Ops of a slot that lies somewhere in part, as far as they follow what the store has; their number.

    Its items are left where they are: half of them may be missing, and those that are there may be newer than its ops.
    """
    cursor, found = CopyCursor(vector=dict(await store.vector(slot)), item=None), 0
    for _ in range(_ROUNDS_MAX):
        piece = await export(cursor)
        ops = _following(piece, await store.vector(slot))
        if ops:
            await store.apply(slot, ops)
        found += len(ops)
        if not piece.more:
            return found
        cursor = piece.cursor
    raise Unavailable(f"slot {slot} changes faster than it can be copied; try again")


def _following(piece: SlotChunk, vector: Vector) -> list[Op]:
    """Those that the vector lacks, without what comes after a gap.

    An epoch's first op says nothing of how many the one before had: only the floor tells that some of it was pruned.
    """
    heads, found = dict(vector), list[Op]()
    gaps = {origin for origin, floor in piece.floors.items() if floor > vector.get(origin, _NOTHING)}
    for op in piece.ops:
        head = heads.get(op.origin, _NOTHING)
        follows = op.seq == head.seq + 1 if op.epoch == head.epoch else op.epoch > head.epoch and op.seq == 1
        if follows and op.origin not in gaps:
            heads[op.origin] = Mark(op.epoch, op.seq)
            found.append(op)
    return found


def _is_whole(lease: LeaseView, kept: Kept) -> bool:
    """Whether the cell has the slot as it gave it away: it was not made anew since, and took no other part of it in."""
    return kept.whole and lease.state in _LEFT and lease.move == kept.move


async def complete_from_giver(
    put: Callable[[SlotChunk], Awaitable[object]], slot: Slot, keepers: Keepers, kept: Kept
) -> bool:
    """All of a slot from the cell that gave it, into an import that was committed, and that an older copy has in part.

    Returns whether the cell has anything of it: one that was made anew never will again.

    Raises:
        Unavailable: the cell does not answer, or has the slot otherwise than as it gave it.
    """
    first = await keepers.left(kept.cell, ExportRequest(slot=str(slot), move=kept.move, cursor=CopyCursor()))
    lease = first.lease
    if not lease.state:
        return False
    if not _is_whole(lease, kept):
        raise Unavailable(
            f"cell {kept.cell} was asked for slot {slot} as it gave it in move {kept.move}, and has it {lease.state} by"
            f" move {lease.move} under epoch {lease.epoch}: it was made anew since, or is an older copy itself."
            " If its newest disk is still there, put that back; else part of what the move brought may be lost"
        )
    await _take_whole(put, slot, keepers, kept, first)
    return True


async def _take_whole(
    put: Callable[[SlotChunk], Awaitable[object]], slot: Slot, keepers: Keepers, kept: Kept, first: LeftBehind
) -> int:
    found, piece = 0, first
    for _ in range(_ROUNDS_MAX):
        if not covers(piece.chunk.heads, first.chunk.heads):  # half of it with its floors would be taken for all
            raise Unavailable(f"cell {kept.cell} has just let go of what slot {slot} left behind there; try again")
        await put(piece.chunk)
        found += len(piece.chunk.ops) + len(piece.chunk.items)
        if not piece.chunk.more:
            return found
        piece = await _ask(keepers, kept, slot, piece.chunk.cursor)
    raise Unavailable(f"slot {slot} changes faster than it can be copied; try again")


async def _ask(keepers: Keepers, kept: Kept, slot: Slot, cursor: CopyCursor) -> LeftBehind:
    try:
        return await keepers.left(kept.cell, ExportRequest(slot=str(slot), move=kept.move, cursor=cursor))
    except Unavailable as error:
        raise Unavailable(
            f"cell {kept.cell} may still have what nobody else has of slot {slot}, and does not answer: {error}. Start"
            f" it, then try again; if its disk is gone, too, add --without {kept.cell}; nothing was restored"
        ) from error
