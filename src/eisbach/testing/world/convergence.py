"""What is still different, or waits, some time after the last fault (P3, P4). May not know: how long that may be."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from eisbach.kernel.slots import Slot
from eisbach.testing.world.nodes import HubNode

if TYPE_CHECKING:
    from eisbach.bootstrap.cell_ground import CellStore

__all__ = ["backlogs", "differences"]


async def differences(stores: "Mapping[str, Sequence[CellStore]]") -> list[str]:
    """``stores``: slot -> those of its two owners."""
    found: list[str] = []
    for text, (one, other) in stores.items():
        slot = Slot.parse(text)
        if (seen := await one.vector(slot)) != (theirs := await other.vector(slot)):
            found.append(f"slot {text}: vectors differ, {seen} {theirs}")
        elif await one.digest(slot) != await other.digest(slot):
            found.append(f"slot {text}: digests differ")
    return found


async def backlogs(hubs: Iterable[HubNode]) -> list[str]:
    """Of every spoke, in its log and in its hands."""
    found: list[str] = []
    for hub in hubs:
        assert hub.log is not None
        state = await hub.log.state()
        found += [f"spoke {name} of {hub.name} has a backlog of {s.backlog}" for name, s in state.items() if s.backlog]
        for name, spoke in hub.statistics().get("spokes", {}).items():
            if name not in state:  # wiped, and not asked for yet: a full disk has its spoke try again later
                found.append(f"spoke {name} of {hub.name} has no place in the log")
            if spoke["held"] or spoke["in_work"]:
                found.append(f"spoke {name} of {hub.name} holds {spoke['held']}")
    return found
