"""A cell is made anew over a link that carries ten kilobytes a second."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from test_restore_cell import SLOT, THERE, World, pruned, world
from test_slow_link import RATE, SlowLink

from eisbach.bootstrap.restore_cell import Sources, restore_cell
from eisbach.cell.pull_messages import PullAnswer, PullRequest
from eisbach.engines.embedded.disk import inline
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.limits import ITEM_BYTES_MAX
from eisbach.kernel.ops import ItemChange
from eisbach.ports.store import Transaction, Write

__all__ = ["world"]


class Link(SlowLink):
    """The way to the twin; its first answers come fast."""

    def __init__(self, world: World, *, patience_s: float, fast: int = 0) -> None:
        super().__init__(world.twin, world.clock, patience_s=patience_s)  # type: ignore[arg-type]  # only its server
        self.fast = fast

    async def owners(self) -> Mapping[str, Sequence[str]]:
        return {"eu/de/main": ["c1"] * 64}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        self.rate = RATE if len(self.took_s) >= self.fast else 100_000_000
        return await super().pull(cell, request)


async def filled(world: World) -> None:
    for number in range(80):
        change = ItemChange("acc", f"k{number}", bytes(ITEM_BYTES_MAX - 100))
        await world.there.transact(Transaction(slot=SLOT, writes=[Write(change)]))


async def made_anew(world: World, link: Link) -> None:
    new = replace(world.new(), disk=inline)
    making = asyncio.create_task(restore_cell(new, [SLOT], Sources(None, {THERE: link})))
    for _ in range(2_000):
        if making.done():
            await making
            return
        await world.clock.advance(1)
    making.cancel()
    raise AssertionError("it does not end")


@pytest.mark.parametrize("twin_pruned", [False, True], ids=["its log", "its items"])
async def test_a_cell_is_made_anew_from_its_twin_in_answers_that_the_link_carries(
    world: World, twin_pruned: bool
) -> None:
    await filled(world)
    if twin_pruned:
        await world.exchange()
        await world.clock.advance(30 * 86_400)
        await pruned(world.there, await world.there.vector(SLOT))
    link = Link(world, patience_s=300)

    await made_anew(world, link)

    assert link.lost == 0
    assert max(link.took_s) < 30
    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


async def test_a_link_that_turns_slow_costs_one_answer_and_not_the_restore(world: World) -> None:
    await filled(world)
    link = Link(world, patience_s=30, fast=4)

    await made_anew(world, link)

    assert link.lost == 1
    async with world.opened() as again:
        assert await again.digest(SLOT) == await world.there.digest(SLOT)


async def test_a_link_that_is_down_ends_a_restore_at_once(world: World) -> None:
    await filled(world)
    link = Link(world, patience_s=1)

    with pytest.raises(Unavailable):
        await made_anew(world, link)

    assert link.lost == 1
