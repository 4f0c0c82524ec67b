"""What the stores and spokes hold at the end of a run, read through their ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Conflict, Item
from eisbach.testing.world.hostile import STRICT, events
from eisbach.testing.world.nodes import LEDGER, SICK, TYPES, CellNode, HubNode

__all__ = ["Evidence", "Sick", "gather", "owners"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of one region."""

    region: str
    ops: Sequence[Op]
    """Of each slot, as its owner has them."""
    logs: Mapping[str, Sequence[Op]]
    """Cell -> what was written or applied there, in commit order."""
    items: Mapping[tuple[str, str, str], Item]
    """(slot, pk, sk) -> live item."""
    conflicts: Sequence[Conflict]
    """As the slots' owners list them."""
    conflicts_left: Sequence[Conflict]
    """That another cell of the region lists, from when it owned the slot."""
    digests: Mapping[str, Sequence[str]]
    handled: Mapping[str, Sequence[str]]
    """Subject -> event ids that the spoke handled, in order."""
    outwaited: int
    """Gaps that the spoke gave up waiting for in its last life."""
    sick: "Sick | None" = None
    """None: there is no sick spoke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sick:
    """What the sick spoke of a region did."""

    handled: Mapping[str, Sequence[str]]
    outwaited: int
    dead: Sequence[str]
    """Event ids among its dead letters."""
    met: Sequence[str]
    """Hostile events that the strict spoke beside it handled."""
    refused: Sequence[str]
    """Hostile events among that one's dead letters."""


async def owners(cells: Sequence[CellNode]) -> dict[str, list[CellNode]]:
    """Slot -> the cells of a region whose lease row says that they own it; they are up."""
    found: dict[str, list[CellNode]] = {}
    for cell in cells:
        assert cell.cell is not None
        for slot, lease in (await cell.cell.store.leases()).items():
            found.setdefault(str(slot), [])
            if lease.state in ("active", "frozen", "away"):
                found[str(slot)].append(cell)
    return found


async def gather(cells: Sequence[CellNode], hub: HubNode) -> Evidence:
    """Read everything; cells and hub are up, and each slot has one owner."""
    assert hub.store is not None
    ops: list[Op] = []
    items: dict[tuple[str, str, str], Item] = {}
    digests: dict[str, Sequence[str]] = {}
    conflicts: list[Conflict] = []
    for text, (cell,) in sorted((await owners(cells)).items()):
        assert cell.cell is not None
        slot, store = Slot.parse(text), cell.cell.store
        conflicts += [one for one in await store.conflicts(limit=10_000) if one.slot == text]
        mine = list((await store.ops_after(slot, {}, limit=10_000)).ops)
        ops += mine
        for pk in sorted({op.change.pk for op in mine if op.change is not None}):
            for item in await store.query(slot, pk, limit=1000):
                items[text, *item.key] = item
        if mine:
            digests[text] = await store.digest(slot)
    others: list[Conflict] = []
    logs: dict[str, Sequence[Op]] = {}
    for cell in cells:
        assert cell.cell is not None
        others += await cell.cell.store.conflicts(limit=10_000)
        logs[cell.name] = [entry.op for entry in await cell.cell.store.log_after(0, limit=100_000)]
    subjects = sorted({op.event.subject for op in ops if op.event is not None and op.event.type in TYPES})
    spokes = hub.statistics()["spokes"]
    return Evidence(
        region=hub.region,
        ops=ops,
        logs=logs,
        items=items,
        conflicts=conflicts,
        conflicts_left=[one for one in others if one not in conflicts],
        digests=digests,
        handled=await _noted(hub, LEDGER, subjects),
        outwaited=spokes[LEDGER]["gaps_outwaited"],
        sick=None
        if SICK not in spokes
        else Sick(
            handled=await _noted(hub, SICK, subjects),
            outwaited=spokes[SICK]["gaps_outwaited"],
            dead=[letter.event_id for letter in await hub.store.dead_letters(spoke=SICK, limit=10_000)],
            met=[one for ids in (await _noted(hub, STRICT, [e.subject for e in events()])).values() for one in ids],
            refused=[letter.event_id for letter in await hub.store.dead_letters(spoke=STRICT, limit=10_000)],
        ),
    )


async def _noted(hub: HubNode, spoke: str, subjects: Sequence[str]) -> dict[str, list[str]]:
    assert hub.store is not None
    found: dict[str, list[str]] = {}
    for subject in subjects:
        kept = await hub.store.get(spoke, subject)
        found[subject] = msgspec.json.decode(kept, type=list[str]) if kept else []
    return found
