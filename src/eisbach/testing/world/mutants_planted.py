"""Bugs planted by somebody who knew design and production code, and neither judge, nor world, nor other mutants.

Each is what he would have typed: words of a function's source exchanged for others. All were written down before one
was run (26 November 2026). When the source moves on, planting fails loudly instead of planting nothing.
"""

from typing import Any, Final

from eisbach.cell.moving import Moving
from eisbach.cell.ownership import Ownership
from eisbach.cell.position import Positions
from eisbach.cell.puller import Puller
from eisbach.control.evacuation import Evacuation
from eisbach.control.moves import Mover
from eisbach.edge import agent
from eisbach.engines.embedded import apply_work, move_works, reads, works, writer
from eisbach.engines.embedded.apply_work import ApplyWork, take_in
from eisbach.engines.embedded.copies import read_chunk
from eisbach.engines.embedded.slot_rows import SlotRows
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.store import SqliteStore
from eisbach.engines.embedded.works import TransactWork
from eisbach.engines.embedded.writer import Writer
from eisbach.hub import relay
from eisbach.hub.envelopes import envelopes_of
from eisbach.hub.inbox import Inbox
from eisbach.hub.relay import Relay
from eisbach.hub.runner import SpokeRunner
from eisbach.kernel import merge, slotmap
from eisbach.testing.world.planting import Edit, Patch, mutant, rewritten

__all__: list[str] = []


def _planted(name: str, bug: str, *places: tuple[Any, str, Any, tuple[Edit, ...]]) -> None:
    """Put a mutant into the table; a place is (who has the name, name, function, edits)."""

    def plant(patch: Patch) -> None:
        for owner, attribute, function, edits in places:
            patch(owner, attribute, rewritten(function, *edits))

    plant.__name__ = name.replace("-", "_")
    mutant(bug, by="stranger")(plant)


def _in(owner: type, attribute: str, *edits: Edit) -> tuple[Any, str, Any, tuple[Edit, ...]]:
    return owner, attribute, vars(owner)[attribute], edits


def _of(module: Any, function: Any, *edits: Edit) -> tuple[Any, str, Any, tuple[Edit, ...]]:
    """A function as ``module`` knows it."""
    return module, function.__name__, function, edits


# --- the store ---------------------------------------------------------------------------------------------------

_planted(
    "only-this-group-saved",
    "a save of the small rows saves those of its own group only",
    _in(Writer, "_flush", ("save_slots(database, self._unsaved)", "save_slots(database, group.touched)")),
)
_planted(
    "replayed-not-unsaved",
    "what was replayed from the log at a start is taken for saved: two starts lose it",
    _in(
        Writer,
        "_load",
        ("{slot.number: slot for slot in self.slots.values()} if self.last_lsn > self._rows_lsn else {}", "{}"),
    ),
)
_planted(
    "key-after-reads",
    "a key is looked up after the preconditions: a repeat is refused for what it changed itself",
    _in(
        TransactWork,
        "decide",
        (
            "if transaction.key is not None and (told :=",
            "if False and (told :=",
        ),
        (
            "return self._write(desk, group, slot)",
            "return transaction.key and _told(desk, group, slot, transaction) or self._write(desk, group, slot)",
        ),
    ),
)
_planted(
    "key-of-a-neighbour",
    "of two calls under one key in one group commit both are written",
    _of(works, works._told, ("row = group.keys.get((slot.number, scope, key))", "row = None")),
)
_planted(
    "any-base-knew",
    "a write that replaced anything is taken to have known of everything",
    _of(writer, merge.judge, ("(base is not None and base[:2] >= mine[:2])", "base is not None")),
)
_planted(
    "loser-read-after-put",
    "the conflict log keeps the winner's value as the loser's",
    _in(
        Writer,
        "merge",
        ("loser = (*stored.version, group.value(self.database, place))", "loser = (*stored.version, change.value)"),
    ),
)
_planted(
    "seq-of-every-epoch",
    "the sequence number follows own ops of every epoch, not of the one in force",
    _in(SlotRows, "logged", ("if op.epoch == self.epoch:\n            self.seq", "if op.epoch:\n            self.seq")),
)

# --- held back, clocks -------------------------------------------------------------------------------------------

_planted(
    "position-from-the-log",
    "a position counts as shown when its op is logged, though it is held back",
    _in(Positions, "_missing", ("self._store.applied(slot)", "self._store.vector(slot)")),
)
_planted(
    "below-held-inclusive",
    "a held op is told as applied: one too far",
    _in(SlotRows, "hold", ("Mark(held.mark.epoch, held.mark.seq - 1)", "held.mark")),
)
_planted(
    "future-overtaken",
    "ops that come behind a held one are applied before it",
    _of(apply_work, take_in, ("(slot.held or desk.is_future(op.hlc))", "desk.is_future(op.hlc)")),
)
_planted(
    "held-asleep-after-restart",
    "what is held wakes nobody after a restart",
    _in(Writer, "_load", ("{slot.number: slot for slot in self.slots.values() if slot.held}", "{}")),
)
_planted(
    "waker-not-armed-again",
    "the timer for held ops rings once",
    _in(SqliteStore, "_wake_when_due", ("        self._waking = None\n", "")),
)
_planted(
    "skew-of-the-slow",
    "of two clocks the one that is behind stops writing",
    _in(Puller, "_heard", ("max(0, -self._skew_ms - half)", "max(0, self._skew_ms - half)")),
)

_LSN: Final = "    lsn = self._cuts.setdefault((asked.slot, asked.move), self._store.statistics().last_lsn)\n"

# --- moves, evacuation, twins ------------------------------------------------------------------------------------

_planted(
    "import-not-saved",
    "what an import brought is not saved with it, and not replayed at a start",
    _in(
        move_works.ImportWork,
        "decide",
        ("    group.save = True  # what lies below zero is not replayed at a start\n", ""),
    ),
)
_planted(
    "settle-again",
    "an outcome that is told twice begins the sequence anew",
    _in(move_works.SettleWork, "decide", ("slot.epoch >= self.epoch:", "slot.epoch > self.epoch:")),
)
_planted(
    "activate-any-import",
    "an activation does not look under which move the copy was made",
    _in(
        move_works.SettleWork,
        "decide",
        ('(slot.state == "importing" and slot.move == self.move)', 'slot.state == "importing"'),
    ),
)
_planted(
    "no-overlap-of-keys",
    "a copy goes on behind the last key: one of the same millisecond stays behind",
    _of(
        reads,
        read_chunk,
        ('key=key if more_keys else (max(0, key[0] - _KEY_OVERLAP_MS), "", ""),', "key=key,"),
    ),
)
_planted(
    "reads-at-the-target",
    "the target of a move answers reads while it copies",
    _in(Ownership, "check", ('("active", "frozen")', '("active", "frozen", "importing")')),
)
_planted(
    "settled-unknown-to-readers",
    "who is settled goes on answering reads as before",
    _in(Moving, "settle", ("    await self._ownership.refresh()\n", "")),
)
_planted(
    "relay-look-before-freeze",
    "the end of the log that the hub must have is read before the freeze",
    _in(
        Moving,
        "freeze",
        (
            "    cut = await",
            f"{_LSN}    cut = await",
        ),
        (
            f"{_LSN}    until",
            "    until",
        ),
    ),
)
_planted(
    "move-on-before-gone",
    "a slot moves on before its last owner has heard that it is gone",
    _in(Mover, "request", ("not {found.source, found.target} <= set(found.told)", "False")),
)
_planted(
    "proof-before-the-stop",
    "a slot is proved by what it held before its writes were stopped",
    _in(
        Evacuation,
        "_leave",
        (
            'if found.state != "away":\n            found =',
            'before = found\n        if found.state != "away":\n            found =',
        ),
        ("covers(found.peer, found.vector)", "covers(before.peer, before.vector)"),
    ),
)
_planted(
    "return-unheard",
    "a region that has heard nothing of the other yet takes its slots back",
    _in(Evacuation, "_take_back", ("bool(found.peer or not found.vector) and ", "")),
)
_planted(
    "target-pulls-early",
    "the target of a move pulls from the twin before it is the owner",
    _in(ApplyWork, "decide", ('if slot.state == "importing" and slot.move:', "if False:")),
    _in(Ownership, "followed", ('("active", "away")', '("active", "away", "importing")')),
)
_planted(
    "moved-answer-ignored",
    "an asker does not learn from the answer that a slot has moved, and asks for the map once",
    _in(
        Puller,
        "_take_in",
        (
            "in answer.moved.items():",
            "in ():",
        ),
    ),
    _in(Puller, "_look", ("and not stale", "")),
)

# --- hub ---------------------------------------------------------------------------------------------------------

_planted(
    "idle-relay-deaf",
    "a relay without news does not notice that the log was wiped",
    _in(Relay, "_follow", ("last.sequence != self._sequence", "last.sequence > self._sequence")),
)
_planted(
    "wiped-hub-without-moved-in",
    "a wiped hub does not get what moves have brought",
    _in(
        Relay,
        "_resume",
        ("sequence > 0\n        lsn = IMPORTED_LSN_MIN", "sequence > 0\n        lsn = 0"),
    ),
)
_planted(
    "last-lsn-too-early",
    "an envelope says that it has the event of the next one",
    _of(
        relay,
        envelopes_of,
        ("        event = event_of", "        last = lsn\n        event = event_of"),
    ),
)
_planted(
    "knows-is-begun",
    "an event does not wait for a predecessor that waits itself",
    _in(Inbox, "knows_predecessor", ("chain.rests_on(seq)", "0 if chain.knows(seq) else None")),
)
_planted(
    "seen-is-done",
    "a repeat of an event in work is acknowledged at once",
    _in(SpokeRunner, "_admit", ("return self._working.get(event.id)", "return None")),
)
_planted(
    "inbox-read-while-writing",
    "a runner that starts again reads its inbox before its former self's mark is in it",
    _in(SqliteSpokeStore, "inbox", ("while self._writing is not None and not self._writing.done():", "while False:")),
)

# --- edge --------------------------------------------------------------------------------------------------------

_planted(
    "same-version-taken",
    "an edge takes another map of the version in force",
    _of(agent, slotmap.judge, ("candidate.version <= current.version", "candidate.version < current.version")),
)
_planted(
    "map-file-after-nginx",
    "an edge's map is on disk only after nginx has it: a crash in between goes back",
    _in(
        agent.Agent,
        "_put",
        ("        write_whole(self._map_file, document)\n        self.document", "        self.document"),
        ("    self._written = True", "    write_whole(self._map_file, document)\n    self._written = True"),
    ),
)
