"""Which cells of a region have begun: an empty disk under a known name is a loss, not a first start.

Promises: one store a cell, by compare-and-set; the same store may ask again, another one is told when the first began.
May not know: how a cell is restored.
"""

import msgspec

from eisbach.kernel.errors import Denied
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["Begin", "Beginnings"]


class Begin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store says whose it is; an empty one asks to be a cell's first."""

    cell: str
    identity: str
    """Made with the store, and lost with it."""
    holds: bool = False
    """It has slots already: it was the first, or was restored. It is taken note of."""


class _Begun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    identity: str
    at_ms: int


class Beginnings:
    """One a region, in its control process."""

    def __init__(self, store: ControlStore, *, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def begin(self, asked: Begin) -> None:
        """Silence means: there was none before.

        Raises:
            Denied: ``cell_begun``: a store of this cell began before, and it was another.
            VersionConflict: two asked at once; ask again.
        """
        key = f"cells/begun/{asked.cell}"
        stored = await self._store.get(key)
        found = msgspec.json.decode(stored.value, type=_Begun) if stored else None
        if found is not None and found.identity == asked.identity:
            return
        if found is None or asked.holds:
            begun = _Begun(identity=asked.identity, at_ms=self._clock.wall_ms())
            await self._store.put(key, msgspec.json.encode(begun), expected=stored.revision if stored else 0)
        else:
            raise Denied(f"cell {asked.cell} began with another store at {found.at_ms}", code="cell_begun")
