"""What the promise suites of ``ports.store`` share: where a store lives, and short words for writes and ops.

An engine's tests give a fixture ``host`` that satisfies ``StoreHost``.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from eisbach.kernel.events import EventDraft
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Version
from eisbach.ports.store import IdempotencyKey, Item, ItemKey, Lease, Receipt, Store, Transaction, Write
from eisbach.testing.manual_clock import ManualClock

__all__ = [
    "HERE",
    "KEY",
    "OTHER",
    "SLOT",
    "THERE",
    "StoreHost",
    "an_op",
    "event",
    "exchange",
    "items",
    "owned",
    "put",
    "remove",
    "value",
    "write",
]

HERE: Final = "eu-central"
THERE: Final = "eu-west"
SLOT: Final = Slot.parse("eu/de/main/7")
OTHER: Final = Slot.parse("eu/de/main/8")
KEY: Final = IdempotencyKey("acc-1", "k1")


class StoreHost(Protocol):
    """Where stores live: one file a region, all on one manual clock."""

    clock: ManualClock

    async def open(self, region: str = HERE) -> Store:
        """The region's store; the same one while it is open."""
        ...

    async def restart(self, region: str = HERE) -> Store:
        """Close it and open it again on the same files."""
        ...


async def owned(host: StoreHost, region: str = HERE, *, slots: Sequence[Slot] = (SLOT,), epoch: int = 1) -> Store:
    """A store that owns ``slots``."""
    store = await host.open(region)
    for slot in slots:
        await store.set_lease(slot, expected=None, lease=Lease(epoch, "active", 0))
    return store


def put(sk: str = "a", value: bytes = b"1", *, pk: str = "acc-1") -> Write:
    """Set an item."""
    return Write(ItemChange(pk, sk, value))


def remove(sk: str = "a", *, pk: str = "acc-1") -> Write:
    """Leave a tombstone."""
    return Write(ItemChange(pk, sk, None))


def event(type_: str = "tv.test.thing.happened.v1", *, sk: str | None = None) -> Write:
    """An event, with an item change if ``sk`` is given."""
    change = ItemChange("acc-1", sk, b"1") if sk is not None else None
    return Write(change, EventDraft(type_, "thing", b"{}"))


async def write(store: Store, *writes: Write, slot: Slot = SLOT, key: IdempotencyKey | None = None) -> Receipt:
    """One transaction; the answer under a key is ``once``."""
    return await store.transact(Transaction(slot=slot, writes=writes, key=key, answer=b"once" if key else b""))


async def value(store: Store, sk: str = "a", *, slot: Slot = SLOT) -> bytes | None:
    """Value of an item of ``acc-1``."""
    item = await store.read(slot, ItemKey("acc-1", sk))
    return item.value if item is not None else None


def an_op(
    seq: int, value: bytes | None = b"theirs", *, at_ms: int, epoch: int = 1, sk: str = "a", base: Version | None = None
) -> Op:
    """An op of ``THERE``, stamped by hand."""
    change = ItemChange("acc-1", sk, value, base)
    return Op(str(SLOT), THERE, epoch, seq, at_ms << COUNTER_BITS, change, None)


async def exchange(one: Store, other: Store, *, slot: Slot = SLOT) -> None:
    """Pull both ways until nothing is new."""
    for source, target in ((one, other), (other, one)):
        while ops := (await source.ops_after(slot, await target.vector(slot), limit=100)).ops:
            await target.apply(slot, ops)


async def items(store: Store, *, slot: Slot = SLOT, pk: str = "acc-1") -> Sequence[Item]:
    """All live items of an account."""
    return await store.query(slot, pk, limit=1000)
