"""The one way in which a cell's calls write: gate, transaction, park, durability.

Promises: what is returned is on disk; while the clock runs ahead of the twins' nothing is written (design section 3);
a slot at the cut of a move parks its writers for at most a second instead of refusing them; a refusal because the slot
went elsewhere corrects what this process believes.
May not know: HTTP, what is written.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from eisbach.cell.ownership import Ownership
from eisbach.hub.events import BUILT_IN
from eisbach.kernel.errors import SlotFrozen, SlotMoved, Unavailable
from eisbach.ports.clock import Clock
from eisbach.ports.store import Receipt, Store, Transaction

__all__ = ["Durability", "Writer", "Written"]

PARKED_MAX_MS: Final = 1000
_PARK_STEP_S: Final = 0.02

Durability = Literal["local", "peer"]
"""``local``: fsynced here; ``peer``: also at the twin."""


class Written(NamedTuple):
    """Proof of a write, and how far it reaches."""

    receipt: Receipt
    durability: Durability
    """What was reached; ``local`` where ``peer`` was asked and is not built yet."""


class Writer:
    """One a store."""

    def __init__(
        self, store: Store, ownership: Ownership, *, clock: Clock, clock_is_ahead: Callable[[], str] = lambda: ""
    ) -> None:
        """``clock_is_ahead``: empty, or why this process must not stamp writes now."""
        self._store, self._ownership, self._clock = store, ownership, clock
        self._clock_is_ahead = clock_is_ahead
        self.parked = 0
        """Writes that waited for a move's cut."""
        self.reached_local_only = 0
        """Writes that asked for ``peer`` and reached ``local``."""

    async def transact(self, transaction: Transaction, *, durability: Durability = "local") -> Written:
        """Write, as ``Store.transact``.

        ``durability='peer'`` is the seam for accounts, PINs, entitlements and deletions: the answer says what was
        reached, which today is ``local`` (policy *degrade*, design section 3).

        Raises:
            Unavailable: this clock is ahead of the twins'.
            SlotMoved: with the owner this process knows.
            SlotFrozen: the cut took longer than a second.
            Invalid: an event is of no known type or does not fit it; nothing was written.
        """
        for write in transaction.writes:
            if write.event is not None:
                BUILT_IN.check(write.event)
        if reason := self._clock_is_ahead():
            raise Unavailable(f"no writes here now: {reason}; the other region takes them")
        until = self._clock.monotonic_ms() + PARKED_MAX_MS
        waited = False
        while True:
            try:
                receipt = await self._store.transact(transaction)
                self.reached_local_only += durability == "peer"
                return Written(receipt, "local")
            except SlotFrozen:
                self.parked += not waited
                waited = True
                if self._clock.monotonic_ms() >= until:
                    raise
                await self._clock.sleep(_PARK_STEP_S)
            except SlotMoved as error:
                await self._ownership.refresh()
                raise SlotMoved(
                    error.slot,
                    asked=error.asked,
                    owner=error.owner or self._ownership.owner(transaction.slot),
                    epoch=error.epoch,
                ) from error
