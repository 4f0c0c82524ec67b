"""The one way in which a cell's calls write: gate, transaction, park, durability.

Promises: what is returned is on disk; while the clock runs ahead of the twins' nothing is written (design section 3);
a slot at the cut of a move parks its writers for at most a second instead of refusing them; a refusal because the slot
went elsewhere corrects what this process believes.
May not know: HTTP, what is written.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from eisbach.cell.acknowledged import PEER_WAIT_MS, Acknowledged
from eisbach.cell.ownership import Ownership
from eisbach.hub.events import BUILT_IN
from eisbach.kernel.errors import OutcomeUnknown, SlotFrozen, SlotMoved, Unavailable
from eisbach.ports.clock import Clock
from eisbach.ports.store import Receipt, Store, Transaction

__all__ = ["Durability", "Policy", "Writer", "Written"]

PARKED_MAX_MS: Final = 1000
_PARK_STEP_S: Final = 0.02

Policy = Literal["degrade", "fail"]
Durability = Literal["local", "peer"]
"""``local``: fsynced here; ``peer``: also at the twin."""


class Written(NamedTuple):
    """Proof of a write, and how far it reaches."""

    receipt: Receipt
    durability: Durability
    """What was reached: ``local`` where ``peer`` was asked and no other region held it in time."""


class Writer:
    """One a store."""

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        *,
        clock: Clock,
        clock_is_ahead: Callable[[], str] = lambda: "",
        acknowledged: Acknowledged | None = None,
    ) -> None:
        """Compose.

        Args:
            store: where it is written.
            ownership: corrected when a slot turns out to be elsewhere.
            clock: for the park.
            clock_is_ahead: empty, or why this process must not stamp writes now.
            acknowledged: what other regions hold; None where there is none.
        """
        self._store, self._ownership, self._clock = store, ownership, clock
        self._clock_is_ahead, self._acknowledged = clock_is_ahead, acknowledged
        self.parked = 0
        """Writes that waited for a move's cut."""
        self.reached_local_only = 0
        """Writes that asked for ``peer`` and reached ``local``."""

    async def transact(
        self, transaction: Transaction, *, durability: Durability = "local", policy: Policy = "degrade"
    ) -> Written:
        """Write, as ``Store.transact``; with ``peer``, wait at most 80 ms until another region has it on disk too.

        ``policy`` says what an answer that does not come in time means: ``degrade`` returns ``local``; ``fail`` raises,
        and the same call under the same key later returns the real answer, once the other region holds it.
        Where there is no other region, ``local`` is all that can be reached and nothing fails.

        Raises:
            Unavailable: this clock is ahead of the twins'.
            SlotMoved: with the owner this process knows.
            SlotFrozen: the cut took longer than a second.
            OutcomeUnknown: policy ``fail``: it is written here, and perhaps nowhere else.
            Invalid: an event is of no known type or does not fit it; nothing was written.
        """
        for write in transaction.writes:
            if write.event is not None:
                BUILT_IN.check(write.event)
        if reason := self._clock_is_ahead():
            raise Unavailable(f"no writes here now, the other region takes them: {reason}")
        try:
            receipt = await self._store.transact(transaction)
        except (SlotFrozen, SlotMoved) as refused:
            receipt = await self._written(transaction, refused)
        acknowledged = self._acknowledged
        if durability == "local" or acknowledged is None or not acknowledged.expected:
            self.reached_local_only += durability == "peer"
            return Written(receipt, "local")
        if await acknowledged.wait(transaction.slot, receipt.mark):
            return Written(receipt, "peer")
        self.reached_local_only += 1
        if policy == "fail":
            raise OutcomeUnknown(
                f"slot {transaction.slot} {receipt.mark} is on this disk and was not heard to be on another within"
                f" {PEER_WAIT_MS} ms; repeat with the same key to learn the answer"
            )
        return Written(receipt, "local")

    async def _written(self, transaction: Transaction, refused: SlotFrozen | SlotMoved) -> Receipt:
        """After a first refusal: at a move's cut, again until it is over."""
        until = self._clock.monotonic_ms() + PARKED_MAX_MS
        self.parked += isinstance(refused, SlotFrozen)
        while True:
            if isinstance(refused, SlotMoved):
                await self._ownership.refresh()
                raise SlotMoved(
                    refused.slot,
                    asked=refused.asked,
                    owner=refused.owner or self._ownership.owner(transaction.slot),
                    epoch=refused.epoch,
                ) from refused
            if self._clock.monotonic_ms() >= until:
                raise refused
            await self._clock.sleep(_PARK_STEP_S)
            try:
                return await self._store.transact(transaction)
            except (SlotFrozen, SlotMoved) as again:
                refused = again
