"""What a cell knows of another region that may be lost: how far it holds its ops, how far it heard, what came back.

May not know: who declares a region lost (``control.losses``), HTTP.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from eisbach.cell.ownership import Ownership
from eisbach.kernel.limits import PULL_OPS_MAX
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.store import ItemKey, Store

__all__ = ["AskHeard", "AskReturned", "Heard", "Losses", "Returned"]

_CONFLICTS_MAX: Final = 10_000
_NOTHING: Final = Mark(0, 0)


class AskHeard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far is a region's log of a slot held here?"""

    slot: str
    region: str


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    held: Mark
    """Up to here its ops are on this disk."""
    head: Mark
    """Up to here its log went at least, when it last said so; never below ``held``. Forgotten at a restart."""
    silent_ms: int
    """Since its last answer to this process, or since this process started."""


class AskReturned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a region's ops after ``after``, up to ``until``?"""

    slot: str
    region: str
    after: Mark
    until: Mark


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """Of the ops that were missing: what is shown now, and what had been overtaken."""

    ops: int = 0
    shown: int = 0
    """Their item has their value (or is gone, as they say)."""
    overtaken: int = 0
    """Their item has a newer write."""
    conflicts: int = 0
    """Of those overtaken, kept in the conflict log: neither write knew of the other."""


class Losses:
    """One a store."""

    def __init__(
        self, store: Store, ownership: Ownership, *, heads: Callable[[str, str], Mark], silent_ms: Callable[[str], int]
    ) -> None:
        """``heads``: (region, slot) -> the last head heard; ``silent_ms``: region -> since its last answer."""
        self._store, self._ownership, self._heads, self._silent_ms = store, ownership, heads, silent_ms

    async def heard(self, asked: AskHeard) -> Heard:
        """See ``Heard``."""
        slot = self._ownership.slot(asked.slot)
        held = (await self._store.vector(slot)).get(asked.region, _NOTHING)
        head = max(held, self._heads(asked.region, asked.slot))
        return Heard(held=held, head=head, silent_ms=self._silent_ms(asked.region))

    async def returned(self, asked: AskReturned) -> Returned:
        """See ``Returned``.

        Raises:
            LogGap: the log was pruned beyond ``after``; nobody can tell any more.
        """
        slot = self._ownership.slot(asked.slot)
        kept = {
            conflict.loser for conflict in await self._store.conflicts(limit=_CONFLICTS_MAX)
            if conflict.slot == asked.slot
        }  # fmt: skip
        found = Returned()
        vector = {**await self._store.vector(slot), asked.region: asked.after}
        while ops := (await self._store.ops_after(slot, vector, limit=PULL_OPS_MAX)).ops:
            for op in ops:
                if Mark(op.epoch, op.seq) > asked.until:
                    return found
                shown = await self._shows(slot, op)
                found = Returned(
                    ops=found.ops + 1,
                    shown=found.shown + shown,
                    overtaken=found.overtaken + (not shown),
                    conflicts=found.conflicts + (op.version in kept),
                )
            vector[asked.region] = Mark(ops[-1].epoch, ops[-1].seq)
        return found

    async def _shows(self, slot: Slot, op: Op) -> bool:
        if op.change is None:
            return True
        item = await self._store.read(slot, ItemKey(op.change.pk, op.change.sk))
        if item is None:
            return op.change.value is None
        return item.version == op.version
