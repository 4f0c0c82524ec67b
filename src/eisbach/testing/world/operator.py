"""The operator of a run: asks for moves and evacuations at the times of the plan, and brings regions back.

What is asked is asked of the production reconcilers, as the control process's calls would. May not know: faults.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from eisbach.bootstrap.control import OpenControl
from eisbach.kernel.errors import EisbachError, VersionConflict
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector, covers
from eisbach.testing.world.control import ControlNode
from eisbach.testing.world.edge import World
from eisbach.testing.world.evidence import owners
from eisbach.testing.world.genesis import GROUP, REGIONS
from eisbach.testing.world.losses import Losses
from eisbach.testing.world.nodes import CellNode
from eisbach.testing.world.process import Process
from eisbach.testing.world.strikes import Action

__all__ = ["Operator"]

_EVACUATION_WAIT_MS = 1_500
_EMPTY_EVERY_S = 0.15
_NOTHING = Mark(0, 0)


class Operator:
    """One a run."""

    def __init__(
        self,
        controls: Mapping[str, ControlNode],
        processes: Mapping[str, Process],
        world: World,
        record: Callable[[str], None],
        arrive: Callable[[str], Coroutine[Any, Any, None]],
    ) -> None:
        self._controls, self._cells, self._record = controls, list(world.cells.values()), record
        self._history = world.history
        self.losses = Losses(controls, processes, world, self._ask, arrive)
        self.breaches: list[str] = []
        """Proofs that did not hold (P12)."""

    async def act(self, action: Action) -> None:
        """Do it when its time has come; what cannot be done then is not done."""
        await asyncio.sleep(action.at_s - asyncio.get_running_loop().time())
        if action.kind == "move":
            await self._move(action)
            return
        if action.kind == "empty":
            await self._empty(action)
            return
        if action.kind == "lose":
            await self.losses.lose(action)
            return
        await self._perform(action.region, "evacuate")
        await asyncio.sleep(action.seconds)
        await self._perform(action.region, "return")

    async def recover(self) -> list[str]:
        """Bring back whatever is away; what is not settled yet."""
        trouble = await self.losses.settle()
        for region, node in self._controls.items():
            if node.control is None:
                return [f"{node.name} is not up"]
            last = await node.control.evacuation.last()
            if last is not None and not (last.action == "return" and last.proved):
                await self._perform(region, "return")
                trouble.append(f"{region} is on its way back")
            trouble += [
                f"move {one.move} of slot {one.slot} is {one.phase}, told {one.told}"
                for one in await node.control.mover.records()
                if one.phase != "settled" or not {one.source, one.target} <= set(one.told)
            ]
        return trouble

    async def _move(self, action: Action) -> None:
        async def work(control: OpenControl) -> str:
            groups = control.reconciler.groups[GROUP]
            known = {one.slot: one.owner for one in await control.mover.records()}
            slot = f"{GROUP}/{action.slot}"
            owner = known.get(slot, groups[action.slot])
            target = next(cell for cell in sorted(set(groups) | {"c1", "c2"}) if cell != owner)
            await control.mover.request(Slot.parse(slot), owner=owner, target=target)
            return f"slot {slot} is to move from {owner} to {target}"

        await self._ask(action.region, work)

    async def _empty(self, action: Action) -> None:
        """Everything moves away from the region's first cell; when all have heard of it, it is gone with its disk."""
        loop, until_s = asyncio.get_running_loop(), action.at_s + action.seconds
        node, leaver = self._controls[action.region], next(c for c in self._cells if c.region == action.region)
        while loop.time() < until_s:
            await self._ask(action.region, lambda control: _move_away(control, leaver.document.cell))
            await asyncio.sleep(_EMPTY_EVERY_S)
            if node.control is not None and await _is_empty(node.control, leaver.document.cell):
                leaver.gone = leaver.barred = True
                leaver.die(power=True, why="it is empty, and taken away with its disk")
                return

    async def _perform(self, region: str, what: str) -> None:
        other = next(r for r in REGIONS if r != region)

        async def work(control: OpenControl) -> str:
            owed = await self._owed(region, other) if what == "return" else {}
            found = await control.evacuation.perform(what, other, wait_ms=_EVACUATION_WAIT_MS)
            self.breaches += [
                f"P12 return of {region} is called proved, but {mark} of slot {slot}, which {other} had acknowledged"
                f" before, is not in {proof.vector}"
                for slot, mark in owed.items()
                if (proof := found.slots.get(slot)) and proof.proved and proof.vector.get(other, _NOTHING) < mark
            ]
            for slot, proof in found.slots.items():
                have, need = (proof.other, proof.vector) if what == "evacuate" else (proof.vector, proof.other)
                if proof.proved and not covers(have, need):
                    self.breaches.append(
                        f"P12 {what} of {region} is called proved, but {need} is not in {have} ({slot})"
                    )
            if found.proved:
                await self._check(*((region, other) if what == "evacuate" else (other, region)), what=what)
            trouble = sorted({one.trouble for one in found.slots.values() if not one.proved})
            return f"{what} of {region}: {'proved' if found.proved else trouble}"

        await self._ask(region, work)

    async def _owed(self, region: str, other: str) -> dict[str, Mark]:
        """Slot that is left -> the last op that the other region has acknowledged: its return must have that. Nothing
        of one whose disk has burnt or was put back: what nobody had pulled may be gone with it.
        """
        forgetful = {one.region for one in self._history.put_back}
        if other in forgetful or any(c.region == other and c.name in self._history.restored for c in self._cells):
            return {}
        left: set[str] = set()
        for node in self._cells:
            if node.region == region and node.cell is not None:
                leases = await node.cell.store.leases()
                left |= {str(slot) for slot, lease in leases.items() if lease.state == "away"}
        marks: dict[str, Mark] = {}
        for _, ack in self._history.acknowledged():
            if ack.region == other and ack.slot in left:
                marks[ack.slot] = max(ack.mark, marks.get(ack.slot, _NOTHING))
        return marks

    async def _check(self, left: str, serving: str, *, what: str) -> None:
        """The proof says that ``serving`` holds all that ``left`` does; look at both disks (P12)."""
        cells = {region: [c for c in self._cells if c.region == region] for region in (left, serving)}
        if what == "return" or any(c.cell is None for found in cells.values() for c in found):
            return  # while the other one serves, it goes on writing
        theirs, ours = await owners(cells[left]), await owners(cells[serving])
        for slot in theirs.keys() & ours.keys():
            # In the middle of a move the old owner may not have heard yet that it is none any more.
            held = [await _vector(server, slot) for server in ours[slot]]
            for leaver in theirs[slot]:
                wanted = await _vector(leaver, slot)
                if not any(covers(one, wanted) for one in held):
                    self.breaches.append(f"P12 {left} was proved to be evacuated, but {serving} lacks ops of {slot}")

    async def _ask(self, region: str, work: Callable[[OpenControl], Awaitable[str]]) -> None:
        node = self._controls[region]

        async def run() -> None:
            if node.control is None:
                self._record(f"operator: {node.name} is down")
                return
            try:
                self._record(f"operator: {await work(node.control)}")
            except EisbachError as error:
                self._record(f"operator: refused ({type(error).__name__}: {error})"[:200])

        task = node.spawn(run())
        await asyncio.wait([task])


async def _move_away(control: OpenControl, cell: str) -> str:
    known = {one.slot: one for one in await control.mover.records()}
    asked: list[str] = []
    for number, owner in enumerate(control.reconciler.groups[GROUP]):
        slot = f"{GROUP}/{number}"
        now = known[slot].owner if slot in known else owner
        if now == cell and (slot not in known or known[slot].phase == "settled"):
            target = next(name for name in sorted(control.reconciler.groups[GROUP]) if name != cell)
            with contextlib.suppress(VersionConflict):  # not everybody has heard of the last move yet
                await control.mover.request(Slot.parse(slot), owner=now, target=target)
                asked.append(slot)
    return f"{cell} is being emptied: {asked}"


async def _is_empty(control: OpenControl, cell: str) -> bool:
    records = await control.mover.records()
    moved = {one.slot for one in records if one.owner != cell and one.phase == "settled"}
    begun = {f"{GROUP}/{n}" for n, owner in enumerate(control.reconciler.groups[GROUP]) if owner == cell}
    heard = all({one.source, one.target} <= set(one.told) for one in records)
    return heard and begun <= moved and len(moved) == len(records) > 0


async def _vector(cell: CellNode, slot: str) -> Vector:
    assert cell.cell is not None
    return await cell.cell.store.vector(Slot.parse(slot))
