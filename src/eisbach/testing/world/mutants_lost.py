"""Bugs of what is lost and what must be gone: regions, accounts, settlements, the end of an epoch."""

import asyncio
import copy
from dataclasses import replace
from typing import Any, Self

from eisbach.bootstrap import cell_parts, restore_cell, restore_owners
from eisbach.bootstrap.cell_ground import Parts
from eisbach.bootstrap.older_copy import ProvableStore
from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.losses import AskHeard, Heard
from eisbach.control.losses import LossCells, LossRange, RegionLosses
from eisbach.engines.embedded import erasing, works
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.store import SqliteStore
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
    patch(restore_cell, "_EPOCHS_SKIPPED", 0)


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

    async def unread(store: SqliteStore, slot: Slot, _reader: object) -> int:
        return await read(store, slot, None)

    patch(restore_cell, "_from_backups", unread)


@mutant("what an older copy had left behind in a move is not restored, though the slot has come back")
def left_behind_not_restored(patch: Patch) -> None:
    edit = ('"frozen", "away", "gone")', '"frozen", "away")')
    patch(restore_cell, "_from_older", rewritten(restore_cell._from_older, edit))


@mutant("a restore believes the slot map, which is behind what moves have decided")
def map_believed_in_a_restore(patch: Patch) -> None:
    edit = ("return {**by_map, **{Slot.parse(one.slot): one.owner for one in records}}", "return dict(by_map)")
    patch(restore_owners, "owners_by_record", rewritten(restore_owners.owners_by_record, edit))


@mutant("a write is called peer before another region has it")
def peer_not_waited_for(patch: Patch) -> None:
    async def hasty(_self: Acknowledged, _slot: Slot, _mark: Mark) -> bool:
        return True

    patch(Acknowledged, "wait", hasty)


@mutant("the log keeps what an erased account wrote")
def erased_bodies_kept(patch: Patch) -> None:
    patch(erasing, "scrubbed", lambda op: op)
