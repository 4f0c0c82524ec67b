"""A region that is gone without a word, is declared lost by the other one, and comes back (P12).

What is asked is asked of the production reconcilers, as ``eisbach regions evacuate --lost`` and ``regions return`` do.
While the region is away its processes do not start, whatever other faults would have them do, and its edge is not
there; the processes of the other one are in ``alone``. May not know: other faults.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final

from eisbach.bootstrap.control import OpenControl
from eisbach.control.losses import LossRecord
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.testing.world.control import ControlNode
from eisbach.testing.world.edge import World
from eisbach.testing.world.evidence import Evidence, owners
from eisbach.testing.world.genesis import REGIONS
from eisbach.testing.world.pairs import ALONE
from eisbach.testing.world.process import Process
from eisbach.testing.world.strikes import Action

__all__ = ["Losses"]

_DECLARED_BEFORE_S: Final = 0.3
"""The region is declared lost so long before it returns."""
_CLOSED_AFTER_S: Final = 0.3
_UNHEARD_S: Final = 0.25
"""Longer than anybody waits for the twin's acknowledgement."""
_CLOSE_WAIT_MS: Final = 1_500
_NOTHING: Final = Mark(0, 0)

Ask = Callable[[str, Callable[[OpenControl], Awaitable[str]]], Awaitable[None]]


class Losses:
    """Of a run."""

    def __init__(
        self,
        controls: Mapping[str, ControlNode],
        processes: Mapping[str, Process],
        world: World,
        ask: Ask,
        arrive: Callable[[str], Coroutine[Any, Any, None]],
    ) -> None:
        """Compose.

        Args:
            controls: by region.
            processes: all of them, by name.
            world: edges, cells and links.
            ask: has the control process of a region do something, if it can.
            arrive: somebody signs in at a region.
        """
        self._controls, self._processes, self._world, self._ask = controls, processes, world, ask
        self._arrive = arrive
        self.breaches: list[str] = []
        self._closed: dict[str, LossRecord] = {}

    async def lose(self, action: Action) -> None:
        """The region is away for the action's seconds. For a moment before nobody hears it, and somebody arrives."""
        region, survivor = action.region, _other(action.region)
        parted = {(region, survivor), (survivor, region)}
        self._world.network.weather.cut |= parted
        arriving = asyncio.create_task(self._arrive(region))
        await asyncio.sleep(_UNHEARD_S)
        lost = [process for process in self._processes.values() if process.region == region]
        left = [process for process in self._processes.values() if process.region == survivor]
        self._world.edges[region].up = False
        for process in lost:
            process.barred = True
            process.die(power=action.slot > 0, why="its region is lost")
        for process in left:
            process.enter(ALONE)
        await asyncio.sleep(action.seconds - _DECLARED_BEFORE_S)
        await self._ask(survivor, lambda control: self._declare(control, region, survivor))
        await asyncio.sleep(_DECLARED_BEFORE_S)
        self._world.edges[region].up = True
        self._world.network.weather.cut -= parted
        for process in left:
            process.leave(ALONE)
        for process in lost:
            process.barred = False
            process.start()
        await asyncio.sleep(_CLOSED_AFTER_S)
        await self._close(region, survivor)
        await arriving

    async def settle(self) -> list[str]:
        """Close what is still open; what was."""
        trouble: list[str] = []
        for survivor, node in self._controls.items():
            for record in await node.control.losses.records() if node.control is not None else ():
                if record.open:
                    trouble.append(f"the loss of {record.region} is open: {record.open}")
                    await self._close(record.region, survivor)
        return trouble

    async def _declare(self, control: OpenControl, region: str, survivor: str) -> str:
        record = await control.losses.declare(region)
        cells = [cell for cell in self._world.cells.values() if cell.region == survivor]
        if all(cell.cell is not None for cell in cells):
            held: dict[str, Mark] = {}
            for slot, found in (await owners(cells)).items():
                for cell in found:
                    assert cell.cell is not None
                    mark = (await cell.cell.store.vector(Slot.parse(slot))).get(region, _NOTHING)
                    held[slot] = max(mark, held.get(slot, _NOTHING))
            self.breaches += _declared(record, held, self._world)
        return f"{region} is declared lost: {sorted((s, r.held, r.head) for s, r in record.slots.items())}"

    async def _close(self, region: str, survivor: str) -> None:
        returned, other = self._controls[region], self._controls[survivor]

        async def work(control: OpenControl) -> str:
            found = await control.evacuation.perform("return", survivor, wait_ms=_CLOSE_WAIT_MS)
            if other.control is None or not any(r.region == region for r in await other.control.losses.records()):
                return f"{region} is back, and was not declared lost"
            # A slot whose cell did not answer has epoch 0, and its range stays open.
            ends = {slot: p.vector.get(region, _NOTHING) for slot, p in found.slots.items() if p.epoch}
            record = await other.control.losses.close(region, ends, wait_ms=_CLOSE_WAIT_MS)
            if not record.open:
                self._closed[region] = record
            return f"{region} is back, open are {record.open}"

        if returned.control is not None:
            await self._ask(region, work)

    def verdict(self, regions: Sequence[Evidence]) -> Iterator[str]:
        """P12: what each closed range says of what came back is what the log of the survivor holds."""
        for region, record in self._closed.items():
            (evidence,) = (one for one in regions if one.region != region)
            for slot, found in record.slots.items():
                came = sum(
                    op.slot == slot and op.origin == region and found.held < Mark(op.epoch, op.seq) <= found.until
                    for op in evidence.ops
                    if found.until is not None
                )
                told = found.returned
                if told is None or told.ops != came or told.shown + told.overtaken != told.ops:
                    yield f"P12 slot {slot}: {came} ops of {region} came back after {found.held}, its range says {told}"


def _declared(record: LossRecord, held: Mapping[str, Mark], world: World) -> Iterator[str]:
    """P12: what the lost region acknowledged is held, or lies in a range; what it acknowledged as ``peer`` is held."""
    for slot, found in record.slots.items():
        if found.held > held.get(slot, _NOTHING):
            yield f"P12 {record.region} is lost, and {found.held} of slot {slot} is called held: {held.get(slot)} is"
    for intent, ack in world.history.acknowledged():
        if ack.region != record.region:
            continue
        found_range = record.slots.get(ack.slot)
        if found_range is None:
            yield f"P12 {record.region} is lost, and there is no range for slot {ack.slot}"
        elif ack.peer and ack.mark > max(found_range.held, held.get(ack.slot, _NOTHING)):
            yield (
                f"P12 intent {intent.number} ({intent.kind}) was acknowledged as peer, and {ack.mark} of slot"
                f" {ack.slot} is lost with {record.region}: only {found_range.held} is held"
            )


def _other(region: str) -> str:
    return next(r for r in REGIONS if r != region)
