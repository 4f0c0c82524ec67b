"""A cell's disk burns once all is quiet, and it is restored from its twin, as ``eisbach restore cell/…`` does (P21).

Then its twin has all that it acknowledged: so nothing is lost, and everything that is judged is judged afterwards. The
twin goes on meanwhile, and the restored cell afterwards. May not know: other faults.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from eisbach.bootstrap.restore_cell import NewStore, Sources, restore_cell
from eisbach.engines.embedded.disk import inline
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.slots import Group, Slot
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.edge import World
from eisbach.testing.world.genesis import GROUP, REGIONS, Shape, secrets_of
from eisbach.testing.world.links import PeerLink, Ways
from eisbach.testing.world.nodes import CellNode

__all__ = ["Burning"]

_STORE: Final = "store.db"
_AGAIN_S: Final = 1.0


class Burning:
    """Of a run."""

    def __init__(
        self, shape: Shape, volumes: Volumes, world: World, ways: Ways, watch: Callable[[str], Awaitable[None]]
    ) -> None:
        """``watch``: somebody signs in at a region and uses it for a while."""
        self._shape, self._volumes, self._world, self._ways, self._watch = shape, volumes, world, ways, watch

    async def burn(self, region: str) -> str:
        """The store of the region's cell is gone and comes back; what was done."""
        cell = self._world.cells[f"{region}/c1"]
        other = next(r for r in REGIONS if r != region)
        assert cell.cell is not None
        losers = {(one.slot, *one.key, one.loser) for one in await cell.cell.store.conflicts(limit=10_000)}
        self._world.history.burnt_losers |= losers
        cell.die(power=True, why="its disk burns")
        cell.files = {name: content for name, content in cell.files.items() if not name.startswith(_STORE)}
        await self._watch(other)
        done = await self._restored(cell, other)
        self._world.history.restored.add(cell.name)
        cell.opened.clear()
        cell.start()
        await asyncio.wait_for(cell.opened.wait(), 10)
        await self._watch(region)
        return f"{cell.name} is restored from its twin: {done}"

    async def _restored(self, cell: CellNode, other: str) -> str:
        volume = self._volumes.make(cell.files)
        new = NewStore(
            path=volume.folder / _STORE, region=cell.region, cell=cell.document.cell, clock=cell.clock, disk=inline
        )
        slots = [Slot(Group.parse(GROUP), n) for n in self._shape.first(cell.region, cell.document.cell)]
        twin = PeerLink(cell, self._ways, other, token=secrets_of(cell.region).peer_token)
        found = None
        while found is None:
            try:
                found = await restore_cell(new, slots, Sources(None, {other: twin}))
            except Unavailable:  # the burnt cell's clock had been ahead: until time has reached what it wrote
                await asyncio.sleep(_AGAIN_S)
        there = {path.name: path.read_bytes() for path in sorted(volume.folder.iterdir())}
        cell.files = {name: content for name, content in there.items() if not name.endswith("-shm")}
        self._volumes.drop(volume)
        return f"{found.ops} ops, epochs {sorted(found.epochs.values())}"
