"""What the runner keeps for its spokes: inbox, held events, commands to send, dead letters, state.

One store per spoke host. The point of it is ``settle``: the inbox mark and all effects of one event are one
transaction, so that a crash leaves both or neither. May not know: hub, handlers, SQL.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

__all__ = [
    "Command",
    "DeadLetter",
    "FailedAttempt",
    "Held",
    "InboxKey",
    "InboxMark",
    "InboxRow",
    "NewCommand",
    "Settlement",
    "SpokeStore",
    "WaitingClaim",
]


class InboxKey(NamedTuple):
    """The chain in which ``prev`` links events: dense judgement is possible only within it."""

    slot: str
    origin: str
    epoch: int
    type: str


class InboxRow(NamedTuple):
    """What one spoke has accounted for in one chain."""

    watermark: int
    """Every event of the chain up to this seq."""
    above: Mapping[int, int]
    """Beyond the watermark: seq -> its ``prev``, or below 0 what the first one of the chain came after."""


class InboxMark(NamedTuple):
    """The change that accounting for one event makes."""

    key: InboxKey
    watermark: int
    above: tuple[int, int] | None
    """(seq, prev) to remember above the watermark; None when the watermark has passed it."""


class FailedAttempt(msgspec.Struct, frozen=True, array_like=True):
    """One line of an event's history."""

    at_ms: int
    reason: str
    """Exception class and message, at most 2,000 characters."""
    stack: str = ""
    """The end of the traceback, at most 4,000 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An event that waits: for its next attempt, behind such a one, or for what came before it."""

    event_id: str
    subject: str
    why: str
    """``retry``, ``behind`` (an earlier event of the subject is held), ``gap`` (``prev`` has not come yet)."""
    attempt: int
    """Attempts made so far."""
    due_ms: int
    """Wall clock."""
    event: bytes
    """JSON of the event."""
    history: Sequence[FailedAttempt] = ()
    place: int = 0
    """Order of arrival, given by the store; kept when the entry is replaced."""


class WaitingClaim(NamedTuple):
    """A claim check that something here still waits for."""

    origin: str
    """Region in which its event was written, which has the blob."""
    dataref: str


class NewCommand(NamedTuple):
    """A call to the studio that an event's handler asked for."""

    path: str
    body: bytes
    key: str
    """Idempotency key, derived from the event id and the call's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A call that has not been answered for good yet."""

    number: int
    """Order of arrival."""
    spoke: str
    event_id: str
    subject: str
    path: str
    body: bytes
    key: str
    attempt: int
    due_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Set aside for a person, with everything needed to judge and to redrive it."""

    spoke: str
    event_id: str
    kind: str
    """``event``, ``command``, or ``envelope``: bytes of the log that nobody can read."""
    subject: str
    reason: str
    at_ms: int
    body: bytes
    """JSON of the event, or of ``{path, body, key}``."""
    history: Sequence[FailedAttempt] = ()
    number: int = 0
    """Given by the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """All that becomes true together for one event of one spoke."""

    spoke: str
    event_id: str
    subject: str
    mark: InboxMark | None = None
    commands: Sequence[NewCommand] = ()
    state: Mapping[str, bytes | None] = field(default_factory=dict)
    """None deletes a key."""
    hold: Held | None = None
    """Insert, or replace the entry of the same event."""
    release: bool = False
    """Delete the event's held entry."""
    dead: DeadLetter | None = None


class SpokeStore(Protocol):
    """Durable when returned. Settlements take effect in the order in which they were asked for."""

    async def settle(self, settlement: Settlement) -> None:
        """Write all of it or nothing.

        Raises:
            Unavailable: the disk refused; nothing was written; reload what was cached and try again.
        """
        ...

    async def inbox(self, spoke: str) -> Mapping[InboxKey, InboxRow]:
        """Everything the spoke has accounted for: small, a row per chain."""
        ...

    async def held(self, spoke: str) -> Sequence[Held]:
        """Every held event, in order of arrival."""
        ...

    async def get(self, spoke: str, key: str) -> bytes | None:
        """The spoke's own state."""
        ...

    async def doubt(self, spoke: str) -> str:
        """Why this may be older than what the spoke has acknowledged, until ``asked_anew``; empty: it is not."""
        ...

    async def asked_anew(self, spoke: str) -> None:
        """The event log tells the spoke everything from its start, and has begun to."""
        ...

    async def commands(self, *, limit: int) -> Sequence[Command]:
        """The oldest command of every (spoke, subject), in order of arrival: later ones wait behind it."""
        ...

    async def command_answered(self, number: int, *, dead: DeadLetter | None = None) -> None:
        """Forget a command; with ``dead``, set it aside in the same transaction."""
        ...

    async def command_postponed(self, number: int, *, attempt: int, due_ms: int) -> None:
        """Try again at ``due_ms``."""
        ...

    async def dead_letters(self, *, spoke: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Newest first."""
        ...

    async def dead_letter(self, number: int) -> DeadLetter:
        """One of them.

        Raises:
            NotFound: no such dead letter.
        """
        ...

    async def drop(self, number: int, *, reason: str, now_ms: int) -> DeadLetter:
        """Give a dead letter up: it moves to the dropped ones, with the reason, and is never handled.

        Raises:
            NotFound: no such dead letter.
        """
        ...

    async def redrive(self, number: int, *, now_ms: int) -> DeadLetter:
        """Move a dead letter back: an event to the held ones, a command to the commands, due now.

        Raises:
            NotFound: no such dead letter.
            Invalid: it is an unreadable envelope, which no repeat makes readable.
        """
        ...

    async def claims(self) -> Collection[WaitingClaim]:
        """Of every held event and every dead letter: what a redrive would still ask for."""
        ...

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Spoke -> ``held``, ``commands``, ``dead_letters``."""
        ...

    async def aclose(self) -> None:
        """Flush and close."""
        ...
