"""Bugs thought of by a reader of the design and of the production code, before he saw which of them are found."""

from typing import Any

import msgspec

from eisbach.bootstrap import cell_others
from eisbach.cell.moving import Freeze, Frozen, Moving, StandAside
from eisbach.control.evacuation import Evacuation, SlotProof, _Tried
from eisbach.control.moves import Mover
from eisbach.control.patience import RegionCells
from eisbach.edge import agent
from eisbach.engines.embedded import move_works, reads, works, writer
from eisbach.engines.embedded.copies import read_chunk
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.move_works import SettleWork
from eisbach.engines.embedded.slot_rows import load_slots
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.works import TransactWork
from eisbach.hub.envelopes import envelopes_of
from eisbach.hub.inbox import Inbox, Verdict
from eisbach.hub.relay import Relay
from eisbach.hub.runner import SpokeRunner
from eisbach.kernel.errors import EisbachError, Invalid, Retryable
from eisbach.kernel.slotmap import SlotMap
from eisbach.kernel.slotmap import judge as slot_map_judge
from eisbach.ports.spoke_store import Settlement
from eisbach.testing.world.planting import Patch, mutant

__all__: list[str] = []


# --- the edge's map ------------------------------------------------------------------------------------------------


@mutant("an edge takes a map that is older than its own", by="reader")
def old_map_accepted(patch: Patch) -> None:
    def forgiving(candidate: SlotMap, current: SlotMap | None, **more: Any) -> None:
        if current is None or candidate.version > current.version:
            slot_map_judge(candidate, current, **more)

    patch(agent, "judge", forgiving)


@mutant("an edge takes a map without cells or with slots that nobody has", by="reader")
def empty_map_accepted(patch: Patch) -> None:
    def only_newer(candidate: SlotMap, current: SlotMap | None, **_: Any) -> None:
        if current is not None and candidate.version <= current.version:
            raise Invalid("not newer")

    patch(agent, "judge", only_newer)


@mutant("an edge does not check who signed its map", by="reader")
def unsigned_map_accepted(patch: Patch) -> None:
    def trusting(document: bytes, _key: bytes) -> SlotMap:
        return msgspec.json.decode(msgspec.json.decode(document, type=dict[str, msgspec.Raw])["map"], type=SlotMap)

    patch(agent, "decode_signed", trusting)


@mutant("an edge keeps its map in memory only: after a restart it takes whatever comes", by="reader")
def map_not_kept(patch: Patch) -> None:
    async def forgetful(_self: agent.Agent) -> None:
        """Nothing is there."""

    patch(agent.Agent, "load", forgetful)


@mutant("a sender does not look at an asker's residency", by="reader")
def residency_not_checked(patch: Patch) -> None:
    patch(cell_others, "may_send", lambda _parts: lambda _region, _slot: True)


# --- moves and evacuation ------------------------------------------------------------------------------------------


@mutant("a move does not wait until the hub has the events of the cut", by="reader")
def hub_not_waited_for(patch: Patch) -> None:
    freeze = Moving.freeze

    async def hasty(self: Moving, asked: Freeze) -> Frozen:
        cut = await freeze(self, msgspec.structs.replace(asked, wait_ms=0))
        return Frozen(vector=cut.vector, relayed=True)

    patch(Moving, "freeze", hasty)


@mutant("an aborted move leaves the epoch as it was", by="reader")
def epoch_not_raised_by_abort(patch: Patch) -> None:
    end = Mover._end

    async def same(self: Mover, record: Any, revision: int, outcome: str, **more: Any) -> Any:
        if outcome == "aborted":
            record = msgspec.structs.replace(record, epoch=record.epoch - 1)
        return await end(self, record, revision, outcome, **more)

    patch(Mover, "_end", same)


@mutant("a frozen slot still takes viewers' writes", by="reader")
def frozen_slot_written(patch: Patch) -> None:
    decide = TransactWork.decide

    def eager(self: TransactWork, desk: Any, group: Any) -> Any:
        slot = self.slot
        if slot is None or slot.state != "frozen":
            return decide(self, desk, group)
        slot.state = "active"
        try:
            return decide(self, desk, group)
        finally:
            slot.state = "frozen"

    patch(TransactWork, "decide", eager)


@mutant("a source does not take note that its slot is gone", by="reader")
def gone_not_noted(patch: Patch) -> None:
    decide = SettleWork.decide

    def deaf(self: SettleWork, desk: Any, group: Any) -> Any:
        slot = desk.slots.get(self.slot)
        if self.owner is not None and slot is not None and slot.state == "frozen":
            return move_works._row(slot)
        return decide(self, desk, group)

    patch(SettleWork, "decide", deaf)


@mutant("a frozen slot is active again after a restart", by="reader")
def freeze_not_kept(patch: Patch) -> None:
    def thawed(*given: Any, **more: Any) -> Any:
        slots = load_slots(*given, **more)
        for slot in slots.values():
            if slot.state == "frozen":
                slot.state = "active"
        return slots

    patch(writer, "load_slots", thawed)


@mutant("the conflict log stays behind in a move", by="reader")
def conflicts_stay_behind(patch: Patch) -> None:
    def without(*given: Any, **more: Any) -> Any:
        return msgspec.structs.replace(read_chunk(*given, **more), conflicts=[])

    patch(reads, "read_chunk", without)


@mutant("a region is called evacuated before the other one has everything", by="reader")
def evacuated_without_proof(patch: Patch) -> None:
    leave = Evacuation._leave

    async def hasty(self: Evacuation, cells: RegionCells, slot: str, cell: str, other: str) -> Any:
        proof = await leave(self, cells, slot, cell, other)
        return msgspec.structs.replace(proof, proved=not proof.trouble or proof.epoch > 0)

    patch(Evacuation, "_leave", hasty)


@mutant("a region takes its slots back before it has what the other one wrote meanwhile", by="reader")
def returned_too_early(patch: Patch) -> None:
    async def hasty(_: Evacuation, cells: RegionCells, slot: str, cell: str, other: str, **_more: Any) -> _Tried:
        asked = StandAside(slot=slot, epoch=0, peer=other)
        try:
            found = await cells.vectors(cell, asked)
            if found.state == "away":
                found = await cells.stand_aside(cell, msgspec.structs.replace(asked, epoch=found.epoch + 1))
        except EisbachError as error:
            return _Tried(
                SlotProof(cell=cell, epoch=0, vector={}, other={}, proved=False, trouble=str(error)), through=False
            )
        proved = found.state == "active"
        proof = SlotProof(cell=cell, epoch=found.epoch, vector=found.vector, other=found.peer, proved=proved)
        return _Tried(proof, through=proved)

    patch(Evacuation, "_take_back", hasty)


@mutant("a return is proved by what the other region said last", by="reader")
def returned_by_hearsay(patch: Patch) -> None:
    vectors = Moving.vectors

    async def hearsay(self: Moving, asked: StandAside) -> Any:
        return await vectors(self, msgspec.structs.replace(asked, last_word=False))

    patch(Moving, "vectors", hearsay)


# --- store and twins -----------------------------------------------------------------------------------------------


@mutant("what is held back because it came from the future is forgotten in a restart", by="reader")
def held_forgotten_in_restart(patch: Patch) -> None:
    def forgetful(*given: Any, **more: Any) -> Any:
        slots = load_slots(*given, **more)
        for slot in slots.values():
            slot.released(len(slot.held))
        return slots

    patch(writer, "load_slots", forgetful)


@mutant("an idempotency key is good for a second", by="reader")
def key_kept_too_short(patch: Patch) -> None:
    patch(works, "KEY_KEPT_MS", 1000)


# --- hub -----------------------------------------------------------------------------------------------------------


@mutant("a failed publish is taken for a publish", by="reader")
def publish_failure_marked_published(patch: Patch) -> None:
    async def follow(self: Relay) -> None:
        while True:
            entries = await self._store.log_after(self._lsn, limit=512)
            for envelope in envelopes_of(entries, region=self._region, cell=self._cell):
                self._lsn = envelope.last_lsn
                try:
                    self._sequence = await self._log.append(envelope, expected=self._sequence)
                except Retryable:
                    continue
            if entries:
                self._lsn = max(self._lsn, entries[-1].lsn)
            elif self._lsn < 0:
                self._lsn = 0
            elif not await self._committed_soon():
                last = await self._log.last(f"{self._region}/{self._cell}")
                if last.sequence != self._sequence:
                    self._sequence = last.sequence

    patch(Relay, "_follow", follow)


@mutant("an event does not wait for its predecessor", by="reader")
def gap_not_waited_for(patch: Patch) -> None:
    judge = Inbox.judge

    def careless(self: Inbox, event: Any) -> Verdict:
        verdict = judge(self, event)
        return Verdict.fresh if verdict is Verdict.gap else verdict

    patch(Inbox, "judge", careless)


@mutant("events of one subject are handled side by side", by="reader")
def subjects_side_by_side(patch: Patch) -> None:
    work = SpokeRunner._work

    async def alone(self: SpokeRunner, event: Any, _previous: Any) -> None:
        await work(self, event, None)

    patch(SpokeRunner, "_work", alone)


@mutant("an inbox mark is committed before the effects it stands for", by="reader")
def mark_before_effects(patch: Patch) -> None:
    settle = SqliteSpokeStore.settle

    async def twice(self: SqliteSpokeStore, settlement: Settlement) -> None:
        if settlement.mark is not None:
            await settle(self, Settlement(spoke=settlement.spoke, event_id="", subject="", mark=settlement.mark))
        await settle(self, settlement)

    patch(SqliteSpokeStore, "settle", twice)


@mutant("an envelope whose acknowledgement the disk refused is in flight for ever (seed 213)", by="reader")
def in_flight_for_ever(patch: Patch) -> None:
    put_back = SqliteEventLog._put_back

    async def careless(self: SqliteEventLog, name: str, sequence: int, due_ms: int | None) -> None:
        try:
            await put_back(self, name, sequence, due_ms)
        except Retryable:
            self._in_flight[name].add(sequence)
            raise

    patch(SqliteEventLog, "_put_back", careless)
