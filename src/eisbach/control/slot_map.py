"""The slot-map reconciler: makes the published map match the wanted one.

Promises: safe to run at any time, any number of times, by any number of processes: every change is one compare-and-set;
a version is published once and versions only rise; nothing is published that every edge would refuse. It changes
routing only: ownership is the lease row in the cells' stores. The data plane never waits for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from eisbach.kernel.errors import Corrupt, Invalid, VersionConflict
from eisbach.kernel.slotmap import BULK_VERSIONS_MAX, CellEntry, SlotMap, decode_signed, encode_signed, judge
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["PUBLISHED", "WANTED", "Placement", "SlotMapReconciler", "Wanted", "first_groups"]

WANTED: Final = "slot-map/wanted"
PUBLISHED: Final = "slot-map/published"
"""Without its signature, which is made anew for whoever asks: so a rotated key needs no new version."""
_VERSIONS_SKIPPED: Final = 1_000
"""More than a control process publishes in the seconds in which its edge does not ask."""


def first_groups(groups: Mapping[str, int], cells: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, list[str]]:
    """Group -> owner per slot, from cell -> group -> slot numbers; groups that no cell here serves are left out.

    Raises:
        Invalid: a slot of a served group without a cell, or with two.
    """
    owners: dict[str, list[str]] = {}
    for group, count in groups.items():
        pairs = [(number, cell) for cell, served in cells.items() for number in served.get(group, ())]
        if not pairs:
            continue
        if sorted(number for number, _ in pairs) != list(range(count)):
            raise Invalid(f"group {group}: {len(pairs)} slots have a cell, each of 0 to {count - 1} must have one")
        by_slot = dict(pairs)
        owners[group] = [by_slot[number] for number in range(count)]
    return owners


_FROM_THE_EDGE: Final = "control then begins from the edge's map (docs/backup.md, A control store that is lost)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a region's process document says."""

    region: str
    cells: Mapping[str, str]
    """Cell -> ``host:port``: where the cells are now."""
    groups: Mapping[str, Sequence[str]]
    """Group -> owner per slot: the first map; from then on the control store has the word."""
    preferred: Mapping[str, Sequence[str]]
    """Group -> preferred region per slot."""
    store: str = "control.db"
    """Where the control store is, for people."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document under ``WANTED``: what operators and moves change, by compare-and-set, and then nudge."""

    groups: dict[str, list[str]]
    """Group -> owner cell per slot."""
    states: dict[str, str] = {}
    """Cell -> state, of cells that are not ``active``."""
    bulk: bool = False
    """The next version may change more than a fifth of the slots; spent when something has been published."""


class SlotMapReconciler:
    """One per region, in its control process."""

    def __init__(self, store: ControlStore, placement: Placement, *, clock: Clock, key: bytes) -> None:
        """``key``: signs what is handed out."""
        self._store, self._placement, self._clock, self._key = store, placement, clock, key
        self._published: SlotMap | None = None
        self.refusal = ""
        """Why what is wanted is not published; empty when all is well."""

    @property
    def version(self) -> int:
        """Of the published map; 0 before the first activation."""
        return self._published.version if self._published else 0

    @property
    def document(self) -> bytes | None:
        """The published map, signed; None before the first activation."""
        return encode_signed(self._published, self._key) if self._published else None

    @property
    def cells(self) -> Mapping[str, str]:
        """Cell -> state."""
        return {name: cell.state for name, cell in self._published.cells.items()} if self._published else {}

    async def activate(self) -> bool:
        """Publish if what is published differs from what is wanted; whether it did.

        Raises:
            Corrupt: a document in the control store is none of ours; nothing was changed.
        """
        try:
            return await self._reconcile()
        except VersionConflict:
            return False  # another activation was quicker; the next one compares again
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> Corrupt:
        return Corrupt(
            f"control store of {self._placement.region} holds a document that is none of ours: {error}."
            f" {self._mended(f'put a copy of {self._placement.store} back, or move it away with its -wal and -shm')}:"
            f" {_FROM_THE_EDGE}"
        )

    def _mended(self, what: str) -> str:
        """Between these two, since a control process that ends is started again at once, over half of what was done."""
        target = f"control/{self._placement.region}"
        return f"Do eisbach fault down {target}, {what}, then eisbach heal {target}"

    async def take_up(self, document: bytes, *, where: str) -> bool:
        """Compare with the map that the region's edge keeps, signed; whether this store was empty and began from it.

        An edge has maps from this store alone, and only what was on disk. So where it keeps one and nothing was ever
        published here, the store was lost: slots belong to whom the edge sends, and versions go on well above its own,
        since the lost store may have published more, of which one may be on its way to the edge. What moves have
        decided since is asked of the cells (``lost_moves``).

        Raises:
            Corrupt: this store is an older copy, or is empty and the edge's map cannot be read; nothing was changed.
        """
        stored = await self._store.get(PUBLISHED)
        try:
            kept = decode_signed(document, self._key)
            if kept.region != self._placement.region:
                raise Invalid(f"it is region {kept.region}'s")
        except Invalid as error:
            if stored is not None:
                return False  # the edge's affair; it tells so itself
            raise Corrupt(
                f"control store of {self._placement.region} is empty, and the slot map that its edge keeps in {where}"
                f" cannot be read: {error}."
                f" {self._mended(f'put a copy of {self._placement.store} back, or move {where} away, too')}: without"
                " both, slots are laid out as at the first start"
            ) from error
        if stored is not None:
            self._refuse_an_older_copy(stored.value, kept, where)
            return False
        # Both or none: nothing counts before the map is published, and what is wanted may stand there already.
        wanted, states = await self._store.get(WANTED), {n: c.state for n, c in kept.cells.items()}
        news = Wanted(groups=kept.groups, states={n: state for n, state in states.items() if state != "active"})
        await self._store.put(WANTED, msgspec.json.encode(news), expected=wanted.revision if wanted else 0)
        first = msgspec.structs.replace(kept, version=kept.version + _VERSIONS_SKIPPED)
        await self._store.put(PUBLISHED, msgspec.json.encode(first), expected=0)
        return True

    def _refuse_an_older_copy(self, published: bytes, kept: SlotMap, where: str) -> None:
        try:
            version = msgspec.json.decode(published, type=SlotMap).version
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error
        if version < kept.version:
            raise Corrupt(
                f"control store of {self._placement.region} is an older copy: it has slot map {version}, and its"
                f" edge took map {kept.version} from it ({where})."
                f" {self._mended(f'move {self._placement.store} away with its -wal and -shm')}: {_FROM_THE_EDGE}"
            )

    async def assign(self, owners: Mapping[str, str], *, bulk: bool | None = None) -> None:
        """Want these owners, slot -> cell, and publish; safe to repeat. ``bulk`` allows a map far from the last.

        Raises:
            VersionConflict: somebody else wanted something meanwhile; call again.
            Invalid: a slot that the map does not have.
        """
        wanted = await self._wanted()
        groups = {group: list(cells) for group, cells in wanted.groups.items()}
        for slot, cell in owners.items():
            group, _, number = slot.rpartition("/")
            if not number.isdecimal() or int(number) >= len(groups.get(group, ())):
                raise Invalid(f"slot {slot[:80]!r} is not in this region's map: {sorted(groups)}")
            groups[group][int(number)] = cell
        news = msgspec.structs.replace(wanted, groups=groups, bulk=wanted.bulk if bulk is None else bulk)
        if news != wanted:
            stored = await self._store.get(WANTED)
            if stored is None or msgspec.json.decode(stored.value, type=Wanted) != wanted:
                raise VersionConflict("the wanted slot map changed meanwhile; read it again")
            await self._store.put(WANTED, msgspec.json.encode(news), expected=stored.revision)
        await self.activate()

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Group -> owner per slot, as published."""
        return self._published.groups if self._published else {}

    async def _reconcile(self) -> bool:
        wanted = await self._wanted()
        stored = await self._store.get(PUBLISHED)
        current = msgspec.json.decode(stored.value, type=SlotMap) if stored else None
        candidate = self._compose(wanted, current)
        self.refusal = ""
        if current is not None:
            self._published = current
            if _content(candidate) == _content(current):
                return False
            try:
                counts = {group: len(owners) for group, owners in current.groups.items()}
                judge(candidate, current, region=self._placement.region, slot_counts=counts)
            except Invalid as error:
                self.refusal = str(error)
                return False
        value = msgspec.json.encode(candidate)
        await self._store.put(PUBLISHED, value, expected=stored.revision if stored else 0)
        self._published = candidate
        if wanted.bulk:
            await self._spend(wanted)
        return True

    async def _spend(self, wanted: Wanted) -> None:
        """One consent, one version: else the edges' guard would be off for good after the first large change."""
        stored = await self._store.get(WANTED)
        if stored is not None and msgspec.json.decode(stored.value, type=Wanted) == wanted:
            spent = msgspec.structs.replace(wanted, bulk=False)
            await self._store.put(WANTED, msgspec.json.encode(spent), expected=stored.revision)

    async def _wanted(self) -> Wanted:
        stored = await self._store.get(WANTED)
        if stored is not None:
            return msgspec.json.decode(stored.value, type=Wanted)
        first = Wanted(groups={group: list(owners) for group, owners in self._placement.groups.items()})
        await self._store.put(WANTED, msgspec.json.encode(first), expected=0)
        return first

    def _compose(self, wanted: Wanted, current: SlotMap | None) -> SlotMap:
        place = self._placement
        cells = {
            cell: CellEntry(address=address, state=wanted.states.get(cell, "active"))
            for cell, address in place.cells.items()
        }
        version = (current.version if current else 0) + 1
        return SlotMap(
            region=place.region,
            version=version,
            issued_ms=self._clock.wall_ms(),
            cells=cells,
            groups=wanted.groups,
            preferred={group: list(place.preferred.get(group, ())) for group in wanted.groups},
            bulk=wanted.bulk,
            since={group: _since(group, owners, current, version) for group, owners in wanted.groups.items()},
            bulk_before=_bulk_before(current),
        )


def _since(group: str, owners: Sequence[str], current: SlotMap | None, version: int) -> list[int]:
    if current is None:
        return [version] * len(owners)
    known = current.since.get(group) or [current.version] * len(owners)
    return [
        known[number] if number < len(known) and current.owner(group, number) == owner else version
        for number, owner in enumerate(owners)
    ]


def _bulk_before(current: SlotMap | None) -> list[int]:
    if current is None:
        return []
    return [*current.bulk_before, *([current.version] if current.bulk else [])][-BULK_VERSIONS_MAX:]


def _content(slot_map: SlotMap) -> tuple[object, ...]:
    """What a map says, apart from which edition it is."""
    return slot_map.cells, slot_map.groups, slot_map.preferred
