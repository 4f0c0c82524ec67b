"""What clients asked and what they were told: the evidence that ``checks`` judges, and its Elle form.

Promises: entries are in the order of virtual time. May not know: what is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from eisbach.kernel.versions import Mark

__all__ = ["Ack", "History", "Intent", "Read", "elle"]

Kind = Literal["progress", "save", "unsave", "play", "pause", "sign_in", "read"]


class Ack(NamedTuple):
    """A write was acknowledged."""

    region: str
    slot: str
    mark: Mark
    at_s: float
    ceiling_ms: int
    """The highest hybrid time that the region's clock may have reached by then (P10)."""


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
    value: int
    begun_s: float
    ended_s: float = 0.0
    acks: list[Ack] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Codes of tries that were refused with the word that nothing was written."""
    doubts: int = 0
    """Tries whose outcome nobody told."""
    sids: list[tuple[str, str, float]] = field(default_factory=list)
    """(region, session, start position) of each answered start."""


@dataclass(slots=True)
class History:
    """Of one run."""

    intents: list[Intent] = field(default_factory=list)
    retried: set[str] = field(default_factory=set)
    """Request ids of tries that an edge sent more than once: the last hop's word says nothing of the first."""
    doubled: bool = False
    """Whether links doubled messages: then a refusal says nothing of the other copy."""
    shed_tries: list[str] = field(default_factory=list)
    """Edges that tried an answered call elsewhere: never to happen (shed is not dead)."""

    def acknowledged(self) -> Iterator[tuple[Intent, Ack]]:
        """Every acknowledgement with what it was for."""
        for intent in self.intents:
            for ack in intent.acks:
                yield intent, ack


def elle(history: History) -> str:
    """Positions as read-write registers in Elle's EDN (github.com/jepsen-io/elle, rw-register)."""
    events: list[tuple[float, int, str]] = []
    for intent in history.intents:
        if intent.kind not in ("progress", "read"):
            continue
        key = f'"{intent.account}/{intent.item}"'
        if intent.kind == "progress":
            asked = told = f"[:w {key} {intent.value}]"
            kind = ":ok" if intent.acks else ":info" if intent.doubts else ":fail"
        else:
            pos = intent.reads[-1].pos_s if intent.reads else None
            asked, told = f"[:r {key} nil]", f"[:r {key} {'nil' if pos is None else pos}]"
            kind = ":ok" if intent.reads else ":fail"
        events.append((intent.begun_s, intent.number, _event(":invoke", intent, intent.begun_s, asked)))
        events.append((intent.ended_s, intent.number, _event(kind, intent, intent.ended_s, told)))
    return "[" + "\n ".join(text for _, _, text in sorted(events)) + "]\n"


def _event(kind: str, intent: Intent, at_s: float, operation: str) -> str:
    return f"{{:type {kind}, :process {intent.client}, :time {int(at_s * 1e9)}, :f :txn, :value [{operation}]}}"
