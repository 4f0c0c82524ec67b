"""What a move of a slot needs from a store: freeze, copy out, copy in, settle, discard.

Held by ``eisbach.testing.store_move_promises``. Every step is fenced by move id and epoch, may arrive late,
twice or never, and is durable when it returns.
A frozen slot never unfreezes by a timer; only ``settle`` under a higher epoch ends it.
"""

from typing import NamedTuple, Protocol

import msgspec

from eisbach.kernel.limits import MIB
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector
from eisbach.ports.store import Lease

__all__ = [
    "COPY_BYTES_MAX", "COPY_ROWS_MAX", "KEYS_END", "CopiedConflict", "CopiedItem", "CopiedKey", "CopyCursor", "Cut",
    "SlotChunk", "SlotCopies",
]  # fmt: skip

COPY_ROWS_MAX = 512
"""Rows of each kind in one chunk; the ops' bound is ``kernel.limits.PULL_OPS_MAX``."""
COPY_BYTES_MAX = 2 * MIB
"""Of one chunk, nearly, where its asker does not want less."""
KEYS_END = (1 << 62, "", "")
"""``CopyCursor.key`` of who wants no keys."""


class Cut(NamedTuple):
    """Where a frozen slot ends: nothing is written, and nothing foreign applied, beyond it."""

    lease: Lease
    vector: Vector


class CopiedItem(msgspec.Struct, frozen=True, array_like=True):
    """An item as it is stored; a tombstone has no value and travels too, or what was deleted would come back."""

    pk: str
    sk: str
    value: bytes | None
    hlc: int
    origin: str
    seq: int
    base_hlc: int
    base_origin: str


class CopiedKey(msgspec.Struct, frozen=True, array_like=True):
    """An idempotency key with its answer: a repeat after the move gets the same one."""

    scope: str
    key: str
    answer: bytes
    epoch: int
    seq: int
    hlc: int
    expires_ms: int


class CopiedConflict(msgspec.Struct, frozen=True, array_like=True):
    """A row of the conflict log."""

    pk: str
    sk: str
    hlc: int
    origin: str
    seq: int
    value: bytes | None
    winner_hlc: int
    winner_origin: str
    winner_seq: int
    at_ms: int


class CopyCursor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a copy has come; kept by the importer in memory: after a crash it begins anew, every step repeats."""

    vector: dict[str, Mark] = {}
    """What the importer's log holds: ops go on from here."""
    item: tuple[str, str] | None = ("", "")
    """The last (pk, sk) copied; None once all were: later changes come as ops."""
    key: tuple[int, str, str] = (0, "", "")
    """(expiry, scope, key) of the last key copied."""
    conflict: int = 0
    """The source's number of the last conflict copied."""


class SlotChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a slot: one state of the source's file. Applying it twice, or out of order, changes nothing."""

    floors: dict[str, Mark]
    """How far the source's log was pruned: what is below comes as items only."""
    ops: list[Op]
    items: list[CopiedItem]
    keys: list[CopiedKey]
    conflicts: list[CopiedConflict]
    heads: dict[str, Mark]
    """How far the source's log goes."""
    cursor: CopyCursor
    """Where to go on."""
    more: bool
    """Whether the source has more than this now."""
    held: dict[str, Mark] | None = None
    """Per origin the lowest op that waits at the source for its time; below it everything is applied there. None: the
    source is of an earlier version and does not say."""


class SlotCopies(Protocol):
    """The part of a store that moves use."""

    async def freeze(self, slot: Slot, *, move: int, epoch: int) -> Cut:
        """Stop writes and inbound apply under ``move``; a repeat returns the same cut. Reads go on.

        What is held for its time stays held here, until ``settle`` makes the slot active: who owns it then applies it
        and lists what it beats.

        Raises:
            SlotMoved: this store does not own the slot.
            EpochStale: it is owned under another epoch, or a later move has touched it.
        """
        ...

    async def begin_import(self, slot: Slot, *, move: int, epoch: int) -> Lease:
        """Set aside whatever is left of the slot and open an empty one under ``move``; a repeat changes nothing.

        Raises:
            EpochStale: the slot is owned here, or a later move or epoch has touched it: a late or doubled PREPARE
                must not wipe what a later move brought.
        """
        ...

    async def export(self, slot: Slot, cursor: CopyCursor, bytes_max: int = COPY_BYTES_MAX) -> SlotChunk:
        """The next piece after ``cursor``; bounded in rows and in bytes, though one row of each kind, and one
        transaction of ops, is always given: every piece goes on with all of them.
        """
        ...

    async def import_chunk(self, slot: Slot, chunk: SlotChunk, *, move: int) -> Vector:
        """Log, merge and keep a piece, without conflicts (the source lists them); returns what the log holds now.

        An op that the source has applied is applied here, too, also one that was held at both until now; so what is
        written here after the move is stamped later. What the source holds is held.

        Raises:
            EpochStale: the slot is not importing under this very move.
            LogGap: the ops do not go on where the log ends; export again from ``vector``.
            Unavailable: an item, or an op that the source has applied, is stamped later than this clock may follow;
                try again.
        """
        ...

    async def settle(self, slot: Slot, *, move: int, epoch: int, owner: str | None) -> Lease:
        """The outcome that the control store committed: active here (``owner`` None), or gone to ``owner``.

        Applied only if ``epoch`` is above the row's: late and doubled notices change nothing. Returns the row.

        Raises:
            EpochStale: to be active, the slot must be owned, frozen or importing under this very move here.
        """
        ...

    async def stand_aside(self, slot: Slot, *, epoch: int, owner: str | None) -> Cut:
        """Leave an active slot to region ``owner`` (it takes foreign ops, but neither writes nor reads), or take it
        back (``owner`` None); under ``epoch``, above the row's. A repeat returns the row and the vector as they are.

        Raises:
            EpochStale: the slot is neither active nor away here, or has moved on.
        """
        ...

    async def discard(self, slot: Slot, *, move: int) -> bool:
        """Set aside the data of a slot that is gone since ``move``; whether there was any. The lease row stays."""
        ...

    async def sweep(self, *, limit: int = 1000) -> int:
        """Delete rows of what was set aside, at most ``limit``; the number deleted, 0 when nothing is left."""
        ...
