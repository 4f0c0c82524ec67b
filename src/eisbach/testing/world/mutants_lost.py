"""Bugs of what is lost and what must be gone: regions, accounts, settlements, the end of an epoch."""

import asyncio
import copy
from dataclasses import replace
from typing import Any, Self

from eisbach.bootstrap import cell_parts, older_copy, older_copy_moves, restore_cell, restore_kept, restore_owners
from eisbach.bootstrap.cell_ground import Parts
from eisbach.bootstrap.older_copy import ProvableStore
from eisbach.bootstrap.older_copy_moves import RecordsWord
from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.losses import AskHeard, Heard
from eisbach.control.losses import LossCells, LossRange, RegionLosses
from eisbach.control.moves import Mover, SlotRecord
from eisbach.engines.embedded import erasing, works
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.store import SqliteStore
from eisbach.engines.embedded.store_moves import StoreMoves
from eisbach.kernel.events import EventDraft
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import StoreStatistics
from eisbach.ports.store_rules import linked
from eisbach.testing.world.planting import Patch, mutant, rewritten

__all__: list[str] = []


@mutant("chains of events begin anew with every epoch (seeds 1209, 1237, 1299, 1531 and 1761)")
def chains_end_with_their_epoch(patch: Patch) -> None:
    def unlinked(event: EventDraft, last: Mark | None, *, epoch: int) -> EventDraft:
        return linked(event, last if last is not None and last.epoch == epoch else None, epoch=epoch)

    patch(works, "linked", unlinked)


@mutant("marks go on after a settlement that failed (seeds 1572 and 1776 of the first world)")
def marks_outrun_failed_settlement(patch: Patch) -> None:
    class Unheard(set[str]):
        def __ior__(self, _spokes: object) -> Self:  # type: ignore[override]
            return self

    begin = SqliteSpokeStore.__init__

    def careless(self: SqliteSpokeStore, *given: Any, **more: Any) -> None:
        begin(self, *given, **more)
        self._stale = Unheard()

    patch(SqliteSpokeStore, "__init__", careless)


@mutant("a range of a lost region is closed before its ops have come")
def loss_closed_too_early(patch: Patch) -> None:
    close = RegionLosses._close_one

    class Deaf:
        """Whoever asks it what is held hears what it wants to hear."""

        def __init__(self, cells: LossCells, end: Mark) -> None:
            self.returned, self._end = cells.returned, end

        async def heard(self, _cell: str, _asked: AskHeard) -> Heard:
            return Heard(held=self._end, head=self._end, silent_ms=0)

    async def hasty(self: RegionLosses, *given: Any) -> LossRange:
        deaf, end = copy.copy(self), given[-1]
        if end is not None:
            deaf._cells = Deaf(self._cells, end)
        return await close(deaf, *given)

    patch(RegionLosses, "_close_one", hasty)


@mutant("a restored store takes the hub's cursor for its own")
def burnt_cursor_believed(patch: Patch) -> None:
    statistics = SqliteStore.statistics

    def published(self: SqliteStore) -> StoreStatistics:
        return replace(statistics(self), unpublished=False)

    patch(SqliteStore, "statistics", published)


@mutant("a restored cell goes on under the epoch of the burnt one")
def restored_under_the_old_epoch(patch: Patch) -> None:
    patch(restore_cell, "RESTORE_EPOCHS_SKIPPED", 0)


@mutant("a store put back from an older copy is believed")
def older_copy_believed(patch: Patch) -> None:
    async def believe(_parts: Parts, store: ProvableStore, *, cell: str, place: str) -> asyncio.Event:  # noqa: ARG001
        heard = asyncio.Event()
        heard.set()
        return heard

    patch(cell_parts, "prove", believe)


@mutant("what only the older copy of a store still has is not restored")
def older_copy_thrown_away(patch: Patch) -> None:
    async def nothing(_store: SqliteStore, _slot: Slot, _older: SqliteStore | None) -> int:
        return 0

    patch(restore_cell, "_from_older", nothing)


@mutant("backups are not read in a restore")
def backups_not_restored(patch: Patch) -> None:
    read = restore_cell._from_backups

    async def unread(store: SqliteStore, slot: Slot, _past: object, **_: bool) -> int:
        return await read(store, slot, None)

    patch(restore_cell, "_from_backups", unread)


@mutant("what an older copy had left behind in a move is not restored, though the slot has come back")
def left_behind_not_restored(patch: Patch) -> None:
    edit = ('"frozen", "away", "gone")', '"frozen", "away")')
    patch(restore_cell, "_from_older", rewritten(restore_cell._from_older, edit))
    edit = ('("importing", "gone")', '("importing",)')
    patch(restore_cell, "_from_import", rewritten(restore_cell._from_import, edit))


@mutant("a store that may be an older copy does not ask what moves have decided")
def records_not_asked(patch: Patch) -> None:
    def nothing(*_: object) -> RecordsWord:
        return RecordsWord("", frozenset(), frozenset())

    patch(older_copy, "records_say", nothing)


@mutant("a store that may be an older copy does not ask for the last evacuation or return (seed 6177)")
def return_not_asked(patch: Patch) -> None:
    patch(older_copy, "evacuation_says", lambda *_: "")


@mutant("a committed import, of which an older copy has a part, is not completed before it is the owner")
def import_not_completed(patch: Patch) -> None:
    async def nothing(*_: object) -> bool:
        return True

    patch(older_copy, "complete_from_giver", nothing)


@mutant("nobody is asked of a slot that has arrived if that is told while the twin answers (seed 577)")
def arrived_not_asked(patch: Patch) -> None:
    edit = ("_ON_ITS_WAY and not known]", "_ON_ITS_WAY and not begun.records.done()]")
    patch(older_copy, "_question", rewritten(older_copy._question, edit))


@mutant("a store that may be an older copy takes part in moves")
def unproved_takes_part(patch: Patch) -> None:
    patch(StoreMoves, "_takes_part", lambda _self: None)


@mutant("a restored cell without a row of a slot that it does not own is condemned, for ever (seeds 69 and 907)")
def made_anew_condemned(patch: Patch) -> None:
    edit = ('if lease is None or lease.state == "gone":', "if lease is None:")
    patch(older_copy_moves, "_fits", rewritten(older_copy_moves._fits, edit))


@mutant("an older copy's ops of a slot that was on its way to it are not restored")
def import_not_restored(patch: Patch) -> None:
    async def no_ops(_store: SqliteStore, _slot: Slot, _older: SqliteStore | None) -> int:
        return 0

    patch(restore_cell, "_from_import", no_ops)


@mutant("a restore does not ask the cell that gave a slot what it still keeps (seed 8517)")
def giver_not_asked(patch: Patch) -> None:
    async def nothing(*_: object, again: bool = False) -> int:  # noqa: ARG001
        return 0

    patch(restore_cell, "from_keeper", nothing)


@mutant("half of an import that was given up is taken from an older copy as if it were the whole slot")
def half_of_an_older_copy(patch: Patch) -> None:
    patch(restore_cell, "_from_older", rewritten(restore_cell._from_older, ("and piece.floors", "and not piece")))


@mutant("half of a slot, which a given-up move had brought, is restored as if it were whole")
def half_for_whole(patch: Patch) -> None:
    patch(restore_kept, "_is_whole", lambda _lease, _kept: True)


@mutant("what a slot left behind is let go of before its new owner has shown the slot")
def left_behind_let_go_unseen(patch: Patch) -> None:
    async def believed(_self: Mover, _record: SlotRecord) -> bool:
        return True

    patch(Mover, "_has_it", believed)


@mutant("a restore believes the slot map, which is behind what moves have decided")
def map_believed_in_a_restore(patch: Patch) -> None:
    edit = ("owners = {**by_map, **{Slot.parse(one.slot): one.owner for one in records}}", "owners = dict(by_map)")
    patch(restore_owners, "owners_by_record", rewritten(restore_owners.owners_by_record, edit))


@mutant("a write is called peer before another region has it")
def peer_not_waited_for(patch: Patch) -> None:
    async def hasty(_self: Acknowledged, _slot: Slot, _mark: Mark) -> bool:
        return True

    patch(Acknowledged, "wait", hasty)


@mutant("the log keeps what an erased account wrote")
def erased_bodies_kept(patch: Patch) -> None:
    patch(erasing, "scrubbed", lambda op: op)
