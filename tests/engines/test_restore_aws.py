"""A cell's tables as they were some time ago, under another prefix: caught up with the twin, then a new epoch.

The emulator has no point-in-time recovery: the test copies the tables' rows itself, at the times that AWS would.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from eisbach.engines.aws.clients import open_clients
from eisbach.engines.aws.store import DynamoStore, open_dynamo_store
from eisbach.engines.aws.tables import make_tables
from eisbach.kernel.errors import EpochStale
from eisbach.kernel.versions import Mark
from eisbach.ports.store import Lease
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.aws.store_host import AwsStoreHost
from eisbach.testing.store_host import HERE, SLOT, THERE, items, owned, put, value, write

pytestmark = pytest.mark.aws
Rows = list[dict[str, Any]]


@pytest.fixture
async def host(aws: AwsEmulator) -> AsyncIterator[AwsStoreHost]:
    host = AwsStoreHost(aws)
    yield host
    await host.aclose()


async def rows_of(host: AwsStoreHost, table: str) -> Rows:
    async with open_clients(host.place(HERE)) as clients:
        found: Rows = []
        async for page in clients.dynamodb.get_paginator("scan").paginate(TableName=f"eb-c1-{table}"):
            found += page["Items"]
        return found


async def restored(host: AwsStoreHost, stack: AsyncExitStack, *, log: Rows, state: Rows) -> DynamoStore:
    """As AWS gives it: new tables with old rows; the log is in this region alone until it is given a replica."""
    async with open_clients(host.place(HERE)) as clients:
        await make_tables([clients], prefix="again", cell="c1")
        for table, rows in (("log", log), ("state", state)):
            for row in rows:
                await clients.dynamodb.put_item(TableName=f"again-c1-{table}", Item=row)
    opening = open_dynamo_store(host.place(HERE), prefix="again", cell="c1", region=HERE, clock=host.clock)
    return await stack.enter_async_context(opening)


async def take(reader: DynamoStore, sender: DynamoStore) -> None:
    """What a puller does."""
    while (batch := await sender.ops_after(SLOT, await reader.vector(SLOT), limit=256)).ops:
        await reader.apply(SLOT, batch.ops)


async def history(host: AwsStoreHost) -> tuple[DynamoStore, Rows, Rows, Rows]:
    """The twin with everything; and the lost cell's log, its log a little later, and its state, at the earlier time."""
    here, there = await owned(host), await owned(host, THERE)
    for n in range(5):
        await write(here, put(f"early-{n}"), put("both", b"early %d" % n))
        await write(there, put(f"there-{n}"))
    await take(here, there)
    state, log = await rows_of(host, "state"), await rows_of(host, "log")
    await write(here, put("between"))
    later = await rows_of(host, "log")
    for n in range(5):
        await write(here, put(f"late-{n}"), put("both", b"late %d" % n))
    await take(there, here)
    return there, log, later, state


@pytest.mark.parametrize("which", ["the same second", "the log a little later"])
async def test_a_restored_cell_gets_back_what_it_acknowledged_later_and_goes_on_under_a_new_epoch(
    host: AwsStoreHost, which: str
) -> None:
    there, log, later, state = await history(host)
    async with AsyncExitStack() as stack:
        back = await restored(host, stack, log=log if which == "the same second" else later, state=state)
        assert await value(back, "both") == b"early 4"

        await take(back, there)
        lease = await back.lease(SLOT)
        assert lease == Lease(1, "active", 21), "the seq goes on where the twin knows of it"
        await back.set_lease(SLOT, expected=lease, lease=Lease(2, "active", 0))
        await write(back, put("after", b"after"))
        await take(there, back)

        assert await value(back, "both") == b"late 4"
        assert await value(there, "after") == b"after"
        assert await items(back) == await items(there)
        assert await back.digest(SLOT) == await there.digest(SLOT)
        assert (await there.vector(SLOT))[HERE] == Mark(2, 1)
        assert (await back.log_after(0, limit=1000))[-1].op.epoch == 2


async def test_in_the_wrong_order_the_twin_believes_that_the_old_epochs_tail_is_held(host: AwsStoreHost) -> None:
    """Why nothing may be written, and no epoch taken, before the twin was heard."""
    there, log, _, state = await history(host)
    async with AsyncExitStack() as stack:
        back = await restored(host, stack, log=log, state=state)
        lease = await back.lease(SLOT)
        assert lease is not None
        await back.set_lease(SLOT, expected=lease, lease=Lease(2, "active", 0))
        await write(back, put("after", b"after"))

        assert not (await there.ops_after(SLOT, await back.vector(SLOT), limit=256)).ops
        assert await value(back, "late-0") is None


async def test_an_epoch_that_the_log_has_left_is_never_taken_again(host: AwsStoreHost) -> None:
    there, log, _, state = await history(host)
    async with AsyncExitStack() as stack:
        back = await restored(host, stack, log=log, state=state)
        await take(back, there)
        found = await back.lease(SLOT)
        assert found is not None
        await back.set_lease(SLOT, expected=found, lease=Lease(7, "active", 0))
        with pytest.raises(EpochStale):
            await back.set_lease(SLOT, expected=Lease(7, "active", 0), lease=Lease(2, "active", 0))
