"""What the judge of P10 takes for the anchor of a cell's hybrid clock: what the wall clock told the cell, no more."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from eisbach.engines.embedded.writer import Writer
from eisbach.kernel.hlc import SKEW_MAX_MS, hlc_ms
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Transaction, Write
from eisbach.testing.world.clocks import EPOCH_MS
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.genesis import GROUP, SHAPES, document, images, secrets_of
from eisbach.testing.world.links import Ways
from eisbach.testing.world.loop import SimLoop
from eisbach.testing.world.many import close_volumes, volumes
from eisbach.testing.world.network import Network
from eisbach.testing.world.nodes import CellNode, HubNode

REGION, AHEAD_MS, BACK_MS = "eu-west", 6400, 11_200
TWINS = next(shape for shape in SHAPES if shape.name == "twins")


@pytest.fixture(scope="module")
def disks() -> Iterator[Volumes]:
    yield volumes()
    close_volumes()


async def stamp_and_ceiling(disks: Volumes) -> tuple[int, int]:
    """Of a write to a cell that has just been opened; in milliseconds beyond the true time of the world."""
    network = Network(random.Random(0), lambda _phase, _fault: None)
    files, told = images(TWINS, disks), msgspec.structs.replace(document(TWINS, REGION, "c1"), peers=[])
    hub = HubNode(REGION, disks, seed="clocks", files=files[f"{REGION}/hub"])
    node = CellNode(told, secrets_of(REGION), disks, seed="clocks", files=files[f"{REGION}/c1"])
    node.ways, node.hub = Ways(network=network, nodes={}), hub
    for process in (hub, node):
        process.start()
        await process.opened.wait()
    await asyncio.sleep(3)  # it has asked hub and backups whether its store is its own
    assert node.cell is not None
    write = Write(ItemChange("somebody", "something", b"1", None))
    receipt = await node.cell.store.transact(Transaction(slot=Slot.parse(f"{GROUP}/0"), writes=[write]))
    began_ms = EPOCH_MS + node.clock.monotonic_ms()
    found = hlc_ms(receipt.hlc) - began_ms, node.ceiling_ms() - began_ms
    for process in (node, hub):
        await process.stop()
    return found


@pytest.mark.parametrize(("seen", "anchor_ms"), [(True, AHEAD_MS), (False, 0)], ids=["seen", "unseen"])
def test_a_wall_clock_that_was_ahead_only_within_an_opening_is_the_anchor_if_the_cell_has_seen_it(
    disks: Volumes, monkeypatch: pytest.MonkeyPatch, seen: bool, anchor_ms: int
) -> None:
    """The world's seeds 286302 and 307043: the judge looked before and after, and called the promised anchor a breach."""
    images(TWINS, disks)
    begin = Writer.__init__

    def opened(self: Writer, *args: Any, clock: Any, **names: Any) -> None:
        clock.offset_ms += AHEAD_MS
        if seen:
            begin(self, *args, clock=clock, **names)
        clock.offset_ms -= AHEAD_MS
        if not seen:
            begin(self, *args, clock=clock, **names)
        clock.offset_ms -= BACK_MS - AHEAD_MS

    monkeypatch.setattr(Writer, "__init__", opened)
    loop = SimLoop("clocks")
    asyncio.set_event_loop(loop)
    try:
        stamped_ms, ceiling_ms = loop.run_until_complete(stamp_and_ceiling(disks))
    finally:
        loop.close()
        asyncio.set_event_loop(None)

    assert stamped_ms <= ceiling_ms
    assert ceiling_ms == anchor_ms + SKEW_MAX_MS
