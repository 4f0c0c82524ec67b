"""A cell's store is made anew by the production code, as ``eisbach restore cell/…`` does (P21).

When its disk burns once all is quiet, its twin has all that it acknowledged: so nothing is lost. When it was put back
from an older copy in the middle of everything, it has what the copy, backups and twin have. Everything that is judged
is judged afterwards. May not know: other faults.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from eisbach.bootstrap import restore_owners
from eisbach.bootstrap.restore_cell import NewStore, Sources, restore_cell
from eisbach.bootstrap.restore_kept import KeptSlots
from eisbach.bootstrap.restore_owners import Whose
from eisbach.engines.embedded.disk import inline
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.slots import Group, Slot
from eisbach.testing.world.backups import RegionBackups
from eisbach.testing.world.control import ControlNode
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.genesis import GROUP, REGIONS, Shape, address, secrets_of
from eisbach.testing.world.history import History
from eisbach.testing.world.links import CellsLink, PeerLink, Ways
from eisbach.testing.world.nodes import CellNode

__all__ = ["Burning"]

_STORE: Final = "store.db"
_AGAIN_S: Final = 1.0


class Burning:
    """Of a run."""

    def __init__(
        self,
        shape: Shape,
        volumes: Volumes,
        ways: Ways,
        history: History,
        *,
        backups: Mapping[str, RegionBackups],
        controls: Mapping[str, ControlNode],
    ) -> None:
        """``backups`` and ``controls``: by region."""
        self._shape, self._volumes, self._ways = shape, volumes, ways
        self._history, self._backups, self._controls = history, backups, controls

    async def burn(self, region: str, watch: Callable[[str], Awaitable[None]]) -> str:
        """The store of the region's cell is gone and comes back; what was done.

        ``watch``: somebody signs in at a region and uses it for a while.
        """
        cell = self._ways.nodes[f"{region}/c1"]
        other = next(r for r in REGIONS if r != region)
        assert cell.cell is not None
        losers = {(one.slot, *one.key, one.loser) for one in await cell.cell.store.conflicts(limit=10_000)}
        self._history.burnt_losers |= losers
        cell.die(power=True, why="its disk burns")
        cell.files = {name: content for name, content in cell.files.items() if not name.startswith(_STORE)}
        await watch(other)
        done = await self.renew(cell)
        cell.opened.clear()
        cell.start()
        await asyncio.wait_for(cell.opened.wait(), 10)
        await watch(region)
        return done

    async def renew(self, cell: CellNode) -> str:
        """Make the store of a cell that is down anew, from whatever there is: an older copy, backups, the twin."""
        other, name = next(r for r in REGIONS if r != cell.region), cell.document.cell
        begun = [_slot(number) for number in self._shape.first(cell.region, name)]
        volume = self._volumes.make(cell.files)
        new = NewStore(
            path=volume.folder / _STORE, region=cell.region, cell=cell.document.cell, clock=cell.clock, disk=inline
        )
        twin = PeerLink(cell, self._ways, other, token=secrets_of(cell.region).peer_token)
        backups = self._backups[cell.region]
        reader = backups.reader(cell) if backups.made else None
        found = None
        while found is None:
            try:
                whose = await self._whose(cell)
                slots = [slot for slot, owner in whose.owners.items() if owner == name]
                moved = {slot: whose.owners[slot] for slot in begun if whose.owners[slot] != name}
                kept = self._kept(cell, whose)
                found = await restore_cell(new, slots, Sources(reader, {other: twin}, moved, kept, whose.epochs))
            except Unavailable:  # nobody answers, or the cell's clock had been ahead: until time has reached it
                await asyncio.sleep(_AGAIN_S)
        there = {path.name: path.read_bytes() for path in sorted(volume.folder.iterdir())}
        cell.files = {name: content for name, content in there.items() if not name.endswith("-shm")}
        self._volumes.drop(volume)
        self._history.restored.add(cell.name)
        return (
            f"{cell.name} is restored: {found.ops} ops from its twin, {found.items} items from backups, {found.older}"
            f" from an older copy, epochs {sorted(found.epochs.values())}"
        )

    def _kept(self, cell: CellNode, whose: Whose) -> KeptSlots:
        """Whoever was taken away with its disk is named with ``--without``."""
        region, name = cell.region, cell.document.cell
        there = [c for c in self._shape.cells[region] if c != name and not self._ways.nodes[f"{region}/{c}"].gone]
        link = CellsLink(
            cell, self._ways, {c: address(region, c) for c in there}, token=secrets_of(region).service_token
        )
        return KeptSlots(link, {slot: kept for slot, kept in whose.kept.items() if kept.cell in there})

    async def _whose(self, cell: CellNode) -> Whose:
        """As the command finds them: the map in force, and what the control process says of moves."""
        numbers = range(self._shape.slots)
        if not self._shape.control:
            return Whose({_slot(number): cell.document.cell for number in numbers}, {}, {})
        by_map = self._ways.maps[cell.region].slot_map().groups[GROUP]
        node = self._controls[cell.region]
        if node.control is None:
            raise Unavailable(f"{node.name} is down")
        asking = node.spawn(
            restore_owners.owners_by_record(
                {_slot(n): by_map[n] for n in numbers}, cell.document.cell, node.control.mover
            )
        )
        await asyncio.wait([asking])
        if asking.cancelled():
            raise Unavailable(f"{node.name} died")
        return asking.result()


def _slot(number: int) -> Slot:
    return Slot(Group.parse(GROUP), number)
