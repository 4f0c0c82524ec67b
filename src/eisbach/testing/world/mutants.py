"""Bugs planted into the production code on purpose: each must be found by the judge, else the judge is blind.

Those of who wrote code and judge, with ``mutants_lost`` and ``mutants_soaked``; ``mutants_moves``, ``mutants_read`` and
``mutants_planted`` have the others.
"""

from collections.abc import Callable
from typing import Any

from eisbach.cell import playback_calls
from eisbach.cell.position import Positions
from eisbach.cell.puller import Puller
from eisbach.domain.playback import session_id
from eisbach.edge.rules import next_hop
from eisbach.engines.embedded import apply_work, store, works, writer
from eisbach.engines.embedded.group import Group
from eisbach.engines.embedded.slot_rows import SlotRows
from eisbach.engines.embedded.writer import Writer
from eisbach.hub import relay
from eisbach.hub.envelopes import envelopes_of
from eisbach.hub.inbox import Inbox, Verdict
from eisbach.hub.intake import Intake
from eisbach.hub.relay import Relay
from eisbach.hub.runner import SpokeRunner
from eisbach.kernel import merge
from eisbach.kernel.errors import EisbachError
from eisbach.kernel.hlc import HybridClock
from eisbach.kernel.versions import Mark
from eisbach.testing.world import edge, mutants_lost, mutants_moves, mutants_planted, mutants_read, mutants_soaked
from eisbach.testing.world.planting import MUTANTS, Patch, mutant, planted

__all__ = ["MUTANTS", "planted"]

_OTHERS = (mutants_lost, mutants_moves, mutants_planted, mutants_read, mutants_soaked)
"""Importing them puts theirs into the table."""

# --- the store ---------------------------------------------------------------------------------------------------


@mutant("a write is acknowledged before it is on disk (NATS's default until today)")
def ack_before_fsync(patch: Patch) -> None:
    lazy = tuple(p.replace("synchronous=FULL", "synchronous=OFF") for p in store._PRAGMAS)
    patch(store, "_PRAGMAS", lazy)


@mutant("the write-ahead log is synced at checkpoints only")
def ack_with_normal_sync(patch: Patch) -> None:
    lazy = tuple(p.replace("synchronous=FULL", "synchronous=NORMAL") for p in store._PRAGMAS)
    patch(store, "_PRAGMAS", lazy)


@mutant("a repeated key is not looked up")
def no_dedupe(patch: Patch) -> None:
    patch(works, "_told", lambda *_: None)


@mutant("keys are remembered in memory only")
def key_not_kept(patch: Patch) -> None:
    flush = Group.flush

    def forgetful(self: Group, database: Any) -> None:
        self.keys.clear()
        flush(self, database)

    patch(Group, "flush", forgetful)


@mutant("after a restart sequence numbers begin where the rows were last saved, not where the log ends")
def reused_sequence_numbers(patch: Patch) -> None:
    logged = SlotRows.logged

    def forgetful(self: SlotRows, op: Any, *, region: str) -> None:
        seq = self.seq
        logged(self, op, region=region)
        self.seq = seq

    patch(SlotRows, "logged", forgetful)


@mutant("memory keeps what a failed commit did not write")
def memory_not_rolled_back(patch: Patch) -> None:
    def only_the_transaction(self: Writer) -> None:
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")

    patch(Writer, "_reload", only_the_transaction)


@mutant("a disk that failed in a commit is taken for one that did nothing")
def failed_sync_not_overwritten(patch: Patch) -> None:
    def hopeful(self: Writer) -> bool:
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")
        return True

    patch(Writer, "_overwritten", hopeful)


@mutant("one refused write takes its neighbours in the group with it, which are acknowledged all the same")
def neighbour_rolled_back(patch: Patch) -> None:
    decide, flush = works.TransactWork.decide, Writer._flush
    refused: list[bool] = []

    def noting(self: Any, desk: Any, group: Any) -> Any:
        try:
            return decide(self, desk, group)
        except EisbachError:
            refused.append(True)
            raise

    def skipping(self: Writer, group: Any) -> None:
        if refused:
            refused.clear()
            return
        flush(self, group)

    patch(works.TransactWork, "decide", noting)
    patch(Writer, "_flush", skipping)


@mutant("what a write has read is not checked again in the writer")
def preconditions_ignored(patch: Patch) -> None:
    decide = works.TransactWork.decide

    def trusting(self: Any, desk: Any, group: Any) -> Any:
        kept = self.transaction
        object.__setattr__(kept, "reads", {})
        return decide(self, desk, group)

    patch(works.TransactWork, "decide", trusting)


# --- twins -------------------------------------------------------------------------------------------------------


@mutant("the vector moves before the ops are in the log: the last one of a batch is skipped")
def cursor_before_apply(patch: Patch) -> None:
    decide = apply_work.ApplyWork.decide

    def hasty(self: Any, desk: Any, group: Any) -> Any:
        slot = desk.slots.get(self.slot)
        if slot is not None and len(self.ops) > 1 and not self.ops[-2].more:
            last = self.ops[-1]
            self.ops = self.ops[:-1]
            done = decide(self, desk, group)
            slot.marks[last.origin] = max(slot.marks.get(last.origin, Mark(0, 0)), Mark(last.epoch, last.seq))
            return done
        return decide(self, desk, group)

    patch(apply_work.ApplyWork, "decide", hasty)


def _judge(patch: Patch, changed: Callable[[Any, Any, Any], Any]) -> None:
    judge = merge.judge

    def mutated(stored: Any, version: Any, base: Any, **more: Any) -> Any:
        return changed(judge(stored, version, base, **more), stored, version)

    patch(writer, "judge", mutated)


@mutant("the last publisher wins (Marmot's rule)")
def last_publisher_wins(patch: Patch) -> None:
    _judge(patch, lambda verdict, stored, version: verdict._replace(wins=stored is None or stored.version != version))


@mutant("the loser of two concurrent writes is dropped without a word (DynamoDB's global tables)")
def loser_forgotten(patch: Patch) -> None:
    _judge(patch, lambda verdict, _stored, _version: verdict._replace(conflict=False))


@mutant("a tombstone is forgotten at once: an older write that comes later revives the item")
def early_tombstone_drop(patch: Patch) -> None:
    _judge(
        patch, lambda verdict, stored, _version: verdict._replace(wins=True) if stored and not stored.live else verdict
    )


@mutant("deletions are not replicated")
def deletion_not_replicated(patch: Patch) -> None:
    merging = Writer.merge

    def without(self: Writer, group: Any, slot: Any, op: Any, **more: Any) -> tuple[bool, bool]:
        if op.change is not None and op.change.value is None and op.origin != self.region:
            return False, False
        return merging(self, group, slot, op, **more)

    patch(Writer, "merge", without)


@mutant("an asker gives up at its first failure")
def puller_gives_up(patch: Patch) -> None:
    async def once(self: Puller, cell: str) -> None:
        try:
            while True:
                await self._ask(cell)
        except EisbachError:
            await self._clock.sleep(3600)

    patch(Puller, "_ask_for_ever", once)


@mutant("a slot that failed once is left out for ever")
def failing_slot_left_out(patch: Patch) -> None:
    fail = Puller._fail

    def for_ever(self: Puller, text: str, why: str) -> None:
        fail(self, text, why)
        self._failing[text] = (1, 1 << 60, 0)

    patch(Puller, "_fail", for_ever)


# --- clocks ------------------------------------------------------------------------------------------------------


def _unbounded(self: HybridClock, *, wall_ms: int, monotonic_ms: int) -> int:
    physical = self.physical_ms(wall_ms=wall_ms, monotonic_ms=monotonic_ms)
    self._last = max(self._last + 1, physical << 16)
    return self._last


@mutant("another region's clock is adopted blindly")
def clock_adopted_blindly(patch: Patch) -> None:
    patch(HybridClock, "horizon", lambda *_, **__: 1 << 63)
    patch(HybridClock, "now", _unbounded)


@mutant("a jump of the wall clock is followed")
def jump_followed(patch: Patch) -> None:
    patch(HybridClock, "physical_ms", lambda _self, *, wall_ms, monotonic_ms: wall_ms)  # noqa: ARG005
    patch(HybridClock, "now", _unbounded)


@mutant("the hybrid clock is not persisted")
def clock_not_persisted(patch: Patch) -> None:
    begin = HybridClock.__init__

    def anew(self: HybridClock, *, wall_ms: int, monotonic_ms: int, persisted: int = 0) -> None:
        begin(self, wall_ms=wall_ms, monotonic_ms=monotonic_ms, persisted=persisted and 0)

    patch(HybridClock, "__init__", anew)


@mutant("what was held back because it came from the future is never applied")
def held_for_ever(patch: Patch) -> None:
    patch(Writer, "_release_held", lambda *_: None)


# --- hub ---------------------------------------------------------------------------------------------------------


@mutant("a relay that starts begins at the end of the log")
def relay_starts_at_the_end(patch: Patch) -> None:
    resume = Relay._resume

    async def at_the_end(self: Relay) -> None:
        first = self._resumed == 0
        await resume(self)
        if first:
            self._lsn = self._store.statistics().last_lsn

    patch(Relay, "_resume", at_the_end)


@mutant("the relay publishes only what was written in its own region")
def relay_skips_foreign_ops(patch: Patch) -> None:
    def own(entries: Any, *, region: str, cell: str) -> Any:
        return envelopes_of([e for e in entries if e.op.origin == region], region=region, cell=cell)

    patch(relay, "envelopes_of", own)


@mutant("a spoke does not notice that an event comes again")
def inbox_forgets(patch: Patch) -> None:
    judge = Inbox.judge

    def fresh(self: Inbox, event: Any) -> Verdict:
        verdict = judge(self, event)
        return Verdict.fresh if verdict is Verdict.seen else verdict

    patch(Inbox, "judge", fresh)


@mutant("effects are committed without the inbox mark")
def effects_without_mark(patch: Patch) -> None:
    settlement = SpokeRunner._settlement

    def unmarked(self: SpokeRunner, event: Any, **parts: Any) -> Any:
        return settlement(self, event, **{**parts, "mark": None})

    patch(SpokeRunner, "_settlement", unmarked)


@mutant("an envelope is acknowledged before its effects are on disk")
def spoke_acknowledges_first(patch: Patch) -> None:
    acknowledge = Intake.acknowledge

    async def hasty(self: Intake, delivery: Any, _working: Any = ()) -> None:
        await acknowledge(self, delivery)

    patch(Intake, "acknowledge", hasty)


# --- cells and edge ----------------------------------------------------------------------------------------------


@mutant("a position that the caller has seen is not waited for")
def position_ignored(patch: Patch) -> None:
    async def none(self: Positions, call: Any, text: str, *, reading: bool) -> None:
        del self, call, text, reading

    patch(Positions, "wait", none)


@mutant("a session's id is not derived from account and key")
def session_id_not_derived(patch: Patch) -> None:
    count = iter(range(1 << 60))
    patch(playback_calls, "session_id", lambda account, key: session_id(account, f"{key}-{next(count)}"))


@mutant("a shed call is tried at the twin (shed is not dead)")
def shed_sent_to_the_twin(patch: Patch) -> None:
    def eager(forward: Any, tried: Any, outcome: Any) -> str | None:
        return next_hop(forward, tried, "refused" if outcome in (429, 503) else outcome)

    patch(edge, "next_hop", eager)


@mutant("a refusal behind a silent hop is passed on as if nothing had been written")
def silence_forgotten(patch: Patch) -> None:
    patch(edge, "doubtful", lambda forward, outcomes: False)  # noqa: ARG005 - the rule's own names
