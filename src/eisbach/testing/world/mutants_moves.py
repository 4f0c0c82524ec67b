"""The mutants of the protocol's models (``slotmove_check``): each is a bug that somebody really wrote.

Planted into the production code of moves, with one of our own; ``tests/control/test_moves.py`` plants the models'
without the world around.
"""

import asyncio
from typing import Any

import msgspec

from eisbach.cell.moving import Freeze, Moving, Settle
from eisbach.cell.slot_imports import SlotImports
from eisbach.control import slot_map
from eisbach.control.lost_moves import LostMoves
from eisbach.control.moves import Mover
from eisbach.control.slot_record import SlotRecord
from eisbach.engines.embedded import move_works, reads
from eisbach.engines.embedded.apply_work import ApplyWork
from eisbach.engines.embedded.copies import read_chunk
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Lease
from eisbach.testing.world.planting import Patch, mutant, rewritten

__all__: list[str] = []


@mutant("a move commits without the proof that the target has everything", by="model")
def commit_without_drain(patch: Patch) -> None:
    async def at_once(self: SlotImports, slot_text: str, **_: Any) -> bool:
        del self, slot_text
        return True

    patch(SlotImports, "drain", at_once)


@mutant("a freeze stops nothing: the source goes on writing", by="model")
def no_fence(patch: Patch) -> None:
    def decide(self: move_works.FreezeWork, desk: Any, group: Any) -> Any:
        del group
        return move_works._cut(desk.slots[self.slot])

    patch(move_works.FreezeWork, "decide", decide)


@mutant("the target is activated before the move has committed", by="model")
def activate_before_commit(patch: Patch) -> None:
    cut = Mover._cut

    async def early(self: Mover, record: Any, revision: int) -> str:
        await self._cells.settle(record.target, Settle(slot=record.slot, move=record.move, epoch=record.epoch + 1))
        return await cut(self, record, revision)

    patch(Mover, "_cut", early)


@mutant("a frozen slot unfreezes by a timer", by="model")
def unfreeze_by_timer(patch: Patch) -> None:
    freeze = Moving.freeze

    async def impatient(self: Moving, asked: Freeze) -> Any:
        frozen = await freeze(self, asked)
        slot = Slot.parse(asked.slot)
        lease = await self._store.lease(slot)
        if asked.wait_ms and lease is not None and lease.state == "frozen":  # it has waited long enough
            await self._store.set_lease(slot, expected=lease, lease=lease._replace(state="active"))
            await self._ownership.refresh()
        return frozen

    patch(Moving, "freeze", impatient)


@mutant("a late PREPARE wipes what a later move has brought", by="model")
def late_wipe(patch: Patch) -> None:
    def decide(self: move_works.OpenImportWork, desk: Any, group: Any) -> Lease:
        found = desk.slots.get(self.slot)
        if found is not None and found.state == "importing" and found.move == self.move:
            return move_works._row(found)
        slot = move_works._emptied(desk, group, self.slot)
        move_works._change(group, slot, Lease(self.epoch, "importing", 0, self.move))
        return move_works._row(slot)

    patch(move_works.OpenImportWork, "decide", decide)


@mutant("a frozen slot takes the twin's ops: acknowledged there, and not in the cut", by="model")
def apply_while_frozen(patch: Patch) -> None:
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

    patch(ApplyWork, "decide", eager)


@mutant("what the source of a move shows is held back by the target's clock (seeds 103753 and 105685)")
def shown_is_held_back(patch: Patch) -> None:
    patch(move_works, "_is_applied", lambda *_: False)


@mutant("keys stay behind in a move: a repeat starts anew", by="model")
def keys_stay_behind(patch: Patch) -> None:
    def without(*given: Any, **more: Any) -> Any:
        return msgspec.structs.replace(read_chunk(*given, **more), keys=[])

    patch(reads, "read_chunk", without)


@mutant("an abort after the commit: the outcome is not one compare-and-set", by="model")
def two_outcomes(patch: Patch) -> None:
    cut = Mover._cut

    async def both(self: Mover, record: Any, revision: int) -> str:
        reason = await cut(self, record, revision)
        await self._cells.settle(record.source, Settle(slot=record.slot, move=record.move, epoch=record.epoch + 2))
        return reason

    patch(Mover, "_cut", both)


@mutant("what moves had decided before the control store was lost is asked of nobody")
def lost_moves_not_asked(patch: Patch) -> None:
    async def nothing(_self: LostMoves) -> None:
        await asyncio.Event().wait()

    patch(LostMoves, "run", nothing)


@mutant("a lost control store goes on right above the map that its edge keeps")
def versions_given_again(patch: Patch) -> None:
    patch(slot_map, "_VERSIONS_SKIPPED", 0)


@mutant("an import that a lost record left open is not let go of before its source takes the slot back")
def lost_import_not_let_go(patch: Patch) -> None:
    async def nothing(_self: LostMoves, _record: SlotRecord) -> bool:
        return True

    patch(LostMoves, "_let_go", nothing)


@mutant("a move that no cell has heard of is given up under a higher epoch, which wakes a frozen source")
def unheard_abort_told(patch: Patch) -> None:
    patch(Mover, "_end", rewritten(Mover._end, ('unheard = record.phase == "queued"', "unheard = False")))
