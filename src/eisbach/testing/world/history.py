"""What clients asked and what they were told: the evidence that ``checks`` judges, and its Elle form.

Promises: entries are in the order of virtual time. May not know: what is right.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark, Version

__all__ = ["Ack", "History", "Intent", "PutBack", "Read", "elle"]

Kind = Literal["progress", "save", "unsave", "play", "pause", "sign_in", "read", "erase"]


class Ack(NamedTuple):
    """A write was acknowledged."""

    region: str
    slot: str
    mark: Mark
    at_s: float
    ceiling_ms: int
    """The highest hybrid time that the region's clock may have reached by then (P10)."""
    value: int
    """Of the try that it answers."""
    peer: bool
    """Another region has it on its disk, too, the answer said (P12)."""


class Read(NamedTuple):
    """A read was answered."""

    pos_s: int | None
    """None: there was nothing."""
    after: tuple[str, Mark] | None
    """The last acknowledged write of the item that the reader knew of."""
    aged: bool
    """The answer said that it may be old."""


@dataclass(slots=True)
class Intent:
    """One thing that a viewer wanted, with all the tries for it."""

    number: int
    client: int
    kind: Kind
    account: str
    item: str
    """Title, or idempotency key of a start."""
    begun_s: float
    ended_s: float = 0.0
    tries: list[tuple[int, float, float]] = field(default_factory=list)
    """(value, begun, ended): the viewer plays on while it is tried, so each try sends a value of its own."""
    acks: list[Ack] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    refusals: list[tuple[str, int]] = field(default_factory=list)
    """(code, value) of tries that were refused with the word that nothing was written."""
    doubts: int = 0
    """Tries whose outcome nobody told."""
    sids: list[tuple[str, str, float]] = field(default_factory=list)
    """(region, session, start position) of each answered start."""


class PutBack(NamedTuple):
    """A machine came back with an older copy of its disk."""

    region: str
    at_s: float
    gone: Mapping[tuple[str, str, int, int], Op]
    """(slot, origin, epoch, seq) -> what the region had written and the copy has not."""


@dataclass(slots=True)
class History:
    """Of one run."""

    intents: list[Intent] = field(default_factory=list)
    arrived: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(edge or cell, request id) -> how often it took the call up: twice when the network doubled it."""
    copies: Counter[str] = field(default_factory=Counter)
    """Request id -> on how many ways it went: through each edge that was asked, and once more for each doubled message.
    One: then a refusal says that nothing was written, whatever its edge tried; else it says nothing of the others."""
    restored: set[str] = field(default_factory=set)
    """Cells whose disk has burnt: their logs are in the order in which the twin gave the slots."""
    burnt_losers: set[tuple[str, str, str, Version]] = field(default_factory=set)
    """(slot, pk, sk, loser) that conflict logs on burnt disks had: they are not restored (P21)."""
    put_back: list[PutBack] = field(default_factory=list)
    archived: set[tuple[str, str, int, int]] = field(default_factory=set)
    """What is in backups: no copy of a disk is an excuse for losing it."""
    shed_tries: list[str] = field(default_factory=list)
    """Edges that tried an answered call elsewhere: never to happen (shed is not dead)."""

    def acknowledged(self) -> Iterator[tuple[Intent, Ack]]:
        """Every acknowledgement with what it was for."""
        for intent in self.intents:
            for ack in intent.acks:
                yield intent, ack


def elle(history: History) -> str:
    """Positions as read-write registers in Elle's EDN (github.com/jepsen-io/elle, rw-register).

    Every try is a process of its own, since one whose outcome is unknown ends its process.
    """
    events: list[tuple[float, int, str]] = []
    process = 0
    for intent in history.intents:
        if intent.kind not in ("progress", "read"):
            continue
        key = f'"{intent.account}/{intent.item}"'
        acknowledged = {ack.value for ack in intent.acks}
        refused = {value for _, value in intent.refusals}
        for value, begun_s, ended_s in intent.tries:
            process += 1
            asked = told = f"[:w {key} {value}]"
            kind = ":ok" if value in acknowledged else ":fail" if value in refused else ":info"
            if intent.kind == "read":
                last = value == intent.tries[-1][0] and bool(intent.reads)
                pos = intent.reads[-1].pos_s if last else None
                asked, told = f"[:r {key} nil]", f"[:r {key} {'nil' if pos is None else pos}]"
                kind = ":ok" if last else ":fail"
            events.append((begun_s, process, _event(":invoke", process, begun_s, asked)))
            events.append((ended_s, process, _event(kind, process, ended_s, told)))
    return "[" + "\n ".join(text for _, _, text in sorted(events)) + "]\n"


def _event(kind: str, process: int, at_s: float, operation: str) -> str:
    return f"{{:type {kind}, :process {process}, :time {int(at_s * 1e9)}, :f :txn, :value [{operation}]}}"
