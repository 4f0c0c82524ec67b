"""A process that writes for ever and prints each id once it is acknowledged; killed by ``test_store_kill.py``."""

import asyncio
import sys
from pathlib import Path

from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.store import open_store
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange
from eisbach.ports.store import Lease, Transaction, Write
from eisbach.testing.store_host import OTHER, SLOT

LANES = 8


async def main(path: Path, name: str) -> None:
    async with open_store(path, region="eu-central", clock=SystemClock(), cell="c1") as store:
        for slot in (SLOT, OTHER):
            if await store.lease(slot) is None:
                await store.set_lease(slot, expected=None, lease=Lease(1, "active", 0))

        async def lane(number: int) -> None:
            slot = (SLOT, OTHER)[number % 2]
            for count in range(1_000_000):
                sk = f"{name}/{number}/{count}"
                event = EventDraft("tv.test.thing.happened.v1", sk, b"{}")
                writes = [
                    Write(ItemChange("acc-1", f"{sk}/0", b"x" * 200)),
                    Write(ItemChange("acc-1", sk, b"y"), event),
                ]
                try:
                    await store.transact(Transaction(slot=slot, writes=writes))
                except Overloaded:  # a busy machine: told so, not acknowledged
                    continue
                print(slot, sk, flush=True)

        await asyncio.gather(*map(lane, range(LANES)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
