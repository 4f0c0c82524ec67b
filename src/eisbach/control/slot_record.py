"""The documents ``moves/SLOT`` of a region's control store. May not know: who writes them, and when."""

from collections.abc import Mapping
from typing import Final

import msgspec

from eisbach.ports.control_store import ControlStore

__all__ = ["LOST", "RECORD_LOST", "SlotRecord", "SlotRecords"]

_KEYS: Final = "moves/"
LOST: Final = "lost"
"""Phase of a move whose record was lost: its end is on record again, what was left open not let go of yet."""
RECORD_LOST: Final = "the record was lost"
"""With this begins the reason of every record that was made anew."""


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document ``moves/SLOT``: whose the slot is, and what is under way."""

    slot: str
    owner: str
    epoch: int
    """Of the owner's lease; only rises."""
    move: int
    """Id of the last move; only rises."""
    phase: str
    """``queued``, ``moving``, ``settled``, or ``LOST``."""
    source: str
    target: str
    began_ms: int
    ended_ms: int = 0
    outcome: str = ""
    """``committed`` or ``aborted``, of the last move."""
    reason: str = ""
    freeze_ms: int = 0
    """From FREEZE to the outcome, as the coordinator measured it."""
    told: tuple[str, ...] = ()
    """Cells that have taken note of the outcome."""
    discarded: bool = False
    """Whether the cell that is not the owner has let go of what the slot left behind there."""
    kept: Mapping[str, int] = {}
    """Cell -> the move since which it keeps what the slot left behind, where the next move began before the discard."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        told = {self.source, self.target} <= set(self.told)
        return self.phase == "settled" and self.discarded and told and not self.kept

    @property
    def other(self) -> str:
        """Of the two cells of the last move the one that is not the owner."""
        return self.target if self.owner == self.source else self.source


class SlotRecords:
    """Those of a control store."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def get(self, slot: str) -> tuple[SlotRecord | None, int]:
        """A slot's, and its revision; None and 0: there is none."""
        found = await self._store.get(f"{_KEYS}{slot}")
        return (msgspec.json.decode(found.value, type=SlotRecord), found.revision) if found is not None else (None, 0)

    async def put(self, record: SlotRecord, *, expected: int) -> int:
        """Its new revision.

        Raises:
            VersionConflict: the one on record is not of revision ``expected``.
        """
        return await self._store.put(f"{_KEYS}{record.slot}", msgspec.json.encode(record), expected=expected)

    async def all(self) -> list[SlotRecord]:
        """Of every slot that was ever moved, by name."""
        found = [await self._store.get(key) for key in await self._store.keys(_KEYS)]
        return [msgspec.json.decode(one.value, type=SlotRecord) for one in found if one is not None]
