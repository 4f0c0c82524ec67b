"""The slot-map reconciler: makes the published map match the wanted one.

Promises: safe to run at any time, any number of times; a version is published once, by compare-and-set; the published
document is always whole and signed. It changes routing only: ownership is the lease row in the cells' stores.
"""

from collections.abc import Mapping, Sequence

from dataclasses import dataclass

from eisbach.kernel.errors import VersionConflict
from eisbach.kernel.slotmap import CellEntry, SlotMap, decode_signed, encode_signed
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["MAP_KEY", "Placement", "SlotMapReconciler", "first_groups"]

MAP_KEY = "slot-map"


def first_groups(groups: Mapping[str, int], cells: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, list[str]]:
    """Group -> owner per slot, from cell -> group -> slot numbers; groups that no cell here serves are left out."""
    owners: dict[str, list[str]] = {}
    for group, count in groups.items():
        by_slot = {number: cell for cell, served in cells.items() for number in served.get(group, ())}
        if by_slot:
            owners[group] = [by_slot[number] for number in range(count)]
    return owners


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a region's first map says."""

    region: str
    cells: Mapping[str, str]
    """Cell -> ``host:port``."""
    groups: Mapping[str, Sequence[str]]
    """Group -> owner per slot."""
    preferred: Mapping[str, Sequence[str]]
    """Group -> preferred region per slot."""


class SlotMapReconciler:
    """One per region, in its control process."""

    def __init__(self, store: ControlStore, placement: Placement, *, clock: Clock, key: bytes) -> None:
        self._store, self._region, self._clock, self._key = store, placement.region, clock, key
        self._cells = {cell: CellEntry(address=address) for cell, address in placement.cells.items()}
        self._groups = {group: list(owners) for group, owners in placement.groups.items()}
        self._preferred = {group: list(placement.preferred[group]) for group in placement.groups}
        self.document: bytes | None = None
        """The published document; None until the first activation."""
        self.version = 0

    async def activate(self) -> bool:
        """Publish if what is published differs from what is wanted; whether it did."""
        published = await self._store.get(MAP_KEY)
        current = decode_signed(published.value, self._key) if published else None
        # The owners of a published map win over those of the first one: moves change them, not this reconciler.
        groups = dict(current.groups) if current else self._groups
        wanted = SlotMap(
            region=self._region,
            version=(current.version if current else 0) + 1,
            issued_ms=self._clock.wall_ms(),
            cells=self._cells,
            groups=groups,
            preferred=self._preferred,
            bulk=current is None,
        )
        if current is not None and (current.cells, current.preferred) == (wanted.cells, wanted.preferred):
            self.document, self.version = published.value if published else None, current.version
            return False
        document = encode_signed(wanted, self._key)
        try:
            await self._store.put(MAP_KEY, document, expected=published.revision if published else 0)
        except VersionConflict:
            return False  # another activation was quicker; the next one compares again
        self.document, self.version = document, wanted.version
        return True
