"""What the stores and spokes hold at the end of a run, read through their ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Conflict, Item
from eisbach.testing.world.nodes import LEDGER, TYPES, CellNode, HubNode

__all__ = ["Evidence", "gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of one region."""

    region: str
    ops: Sequence[Op]
    """In commit order."""
    items: Mapping[tuple[str, str, str], Item]
    """(slot, pk, sk) -> live item."""
    conflicts: Sequence[Conflict]
    digests: Mapping[str, Sequence[str]]
    handled: Mapping[str, Sequence[str]]
    """Subject -> event ids that the spoke handled, in order."""
    outwaited: int
    """Gaps that the spoke gave up waiting for in its last life."""


async def gather(cell: CellNode, hub: HubNode) -> Evidence:
    """Read everything; cell and hub are up."""
    assert cell.cell is not None
    assert hub.store is not None
    store = cell.cell.store
    ops: list[Op] = []
    lsn = 0
    while entries := await store.log_after(lsn, limit=1000):
        ops += [entry.op for entry in entries]
        lsn = entries[-1].lsn
    items: dict[tuple[str, str, str], Item] = {}
    for slot, pk in sorted({(op.slot, op.change.pk) for op in ops if op.change is not None}):
        for item in await store.query(Slot.parse(slot), pk, limit=1000):
            items[slot, *item.key] = item
    slots = sorted({op.slot for op in ops})
    handled: dict[str, list[str]] = {}
    for subject in sorted({op.event.subject for op in ops if op.event is not None and op.event.type in TYPES}):
        kept = await hub.store.get(LEDGER, subject)
        handled[subject] = msgspec.json.decode(kept, type=list[str]) if kept else []
    spokes = hub.statistics()["spokes"]
    return Evidence(
        region=cell.region,
        ops=ops,
        items=items,
        conflicts=await store.conflicts(limit=10_000),
        digests={slot: await store.digest(Slot.parse(slot)) for slot in slots},
        handled=handled,
        outwaited=spokes[LEDGER]["gaps_outwaited"],
    )
