"""Which slots are this cell's, and who has the others.

The lease row in the store is the authority and is checked in every write; this is its reflection in memory, so that a
read need not ask the disk whose slot it is. ``owners`` is a hint for the 421: the first map from the process document,
then the signed map from the region's agent. May not know: HTTP, how the map is distributed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import structlog

from eisbach.kernel.errors import EisbachError, Invalid, SlotMoved
from eisbach.kernel.slotmap import decode_signed
from eisbach.kernel.slots import Group, Slot
from eisbach.ports.clock import Clock
from eisbach.ports.store import Lease, Store

__all__ = ["Ownership", "slots_in"]

_LOOK_EVERY_S = 10.0
_logger = structlog.get_logger(__name__)


def slots_in(groups: Mapping[str, list[int]]) -> list[Slot]:
    """The slots of ``{group: [numbers]}``."""
    return [Slot(Group.parse(group), number) for group, numbers in groups.items() for number in numbers]


class Ownership:
    """One a store."""

    def __init__(
        self, store: Store, *, cell: str, groups: Mapping[str, int], owners: Mapping[str, Mapping[str, list[int]]]
    ) -> None:
        """``groups``: group -> slot count; ``owners``: cell -> group -> slot numbers of the first map."""
        self._store, self._cell = store, cell
        self._groups = dict(groups)
        self._owners = {slot: other for other, owned in owners.items() for slot in slots_in(owned)}
        self._leases: Mapping[Slot, Lease] = {}
        self._parsed: dict[str, Slot] = {}

    async def open(self, first: list[Slot]) -> None:
        """Read the lease rows; create those of ``first`` under epoch 1 when the store never had the slot.

        A row that exists is never touched: after a move the process document of the first start is history.
        """
        self._leases = await self._store.leases()
        # Together, so that they share a group commit: a first start must not pay 64 fsyncs.
        await asyncio.gather(*(self._create(slot) for slot in first if slot not in self._leases))
        await self.refresh()

    async def _create(self, slot: Slot) -> None:
        await self._store.set_lease(slot, expected=None, lease=Lease(epoch=1, state="active", seq=0))

    async def refresh(self) -> None:
        """Read the lease rows again: after a refusal, after a move."""
        self._leases = await self._store.leases()

    def slot(self, text: str) -> Slot:
        """Parse a slot of this platform.

        Raises:
            Invalid: not a slot, an unknown group, or a number beyond the group's count.
        """
        slot = self._parsed.get(text)
        if slot is None:
            slot = Slot.parse(text)
            count = self._groups.get(str(slot.group))
            if count is None or slot.number >= count:
                raise Invalid(f"slot {text[:80]!r} is not one of this platform's: {self._groups}")
            self._parsed[text] = slot  # bounded: at most one entry per slot of the platform
        return slot

    def groups(self) -> list[str]:
        """Every group of the platform, in the order of the settings."""
        return list(self._groups)

    def count(self, group: Group) -> int:
        """How many slots a group has."""
        return self._groups[str(group)]

    def owned(self) -> list[Slot]:
        """Slots that this cell serves and that take foreign ops: active ones."""
        return [slot for slot, lease in self._leases.items() if lease.state == "active"]

    def frozen(self) -> list[Slot]:
        """Slots at the cut of a move: writes wait for its outcome, which the region's control process decides."""
        return [slot for slot, lease in self._leases.items() if lease.state == "frozen"]

    def away(self) -> list[Slot]:
        """Slots that this region has left to another for now: whoever asks for one here is sent there."""
        return [slot for slot, lease in self._leases.items() if lease.state == "away"]

    def followed(self) -> list[Slot]:
        """Slots whose foreign ops come here: those, and the ones that this region has left to another for now."""
        return [slot for slot, lease in self._leases.items() if lease.state in ("active", "away")]

    @property
    def opened(self) -> bool:
        """Whether there is any lease row: a cell whose slots have all moved away is empty, not unwell."""
        return bool(self._leases)

    def check(self, slot: Slot) -> None:
        """Silence means: this cell serves the slot. A frozen slot is still read here.

        Raises:
            SlotMoved: with the owner if it is known.
        """
        lease = self._leases.get(slot)
        if lease is None or lease.state not in ("active", "frozen"):
            raise SlotMoved(str(slot), asked=self._cell, owner=self.owner(slot), epoch=lease.epoch if lease else 0)

    def owner(self, slot: Slot) -> str | None:
        """The cell of this region that has the slot, as far as known."""
        lease = self._leases.get(slot)
        if lease is not None and lease.state in ("active", "frozen"):
            return self._cell
        if lease is not None and lease.state in ("gone", "away") and lease.owner:
            return lease.owner
        found = self._owners.get(slot)
        return None if found == self._cell else found

    async def follow_map(
        self, fetch: Callable[[], Awaitable[bytes]], key: bytes, *, clock: Clock, rng: random.Random
    ) -> None:
        """Take the region's signed map as the hint, for ever; a failure keeps the last one."""
        failures = 0
        while True:
            try:
                slot_map = decode_signed(await fetch(), key)
            except EisbachError as error:
                failures += 1
                if failures == 1:
                    _logger.info("slot_map_unavailable", cell=self._cell, error=str(error))
            else:
                failures = 0
                self._owners = {
                    Slot(Group.parse(group), number): cell
                    for group, cells in slot_map.groups.items()
                    for number, cell in enumerate(cells)
                }
            await clock.sleep(_LOOK_EVERY_S * (0.8 + 0.4 * rng.random()))
