"""Relay, JetStream and a spoke: by event id everything arrives and has its effect once, whatever the hub suffers."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.hub.authoring import spoke
from eisbach.hub.host import SpokeHost
from eisbach.hub.relay import Relay
from eisbach.hub.runner import Surroundings
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.events import Event, EventDraft
from eisbach.kernel.ops import ItemChange, op_id
from eisbach.kernel.slots import Slot
from eisbach.ports.spoke import Effects
from eisbach.ports.store import Lease, Transaction, Write
from eisbach.testing.nats_host import NatsHost

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
TYPE = "tv.test.thing.happened.v1"
SLOTS = [Slot.parse(f"eu/de/main/{n}") for n in range(4)]


class Route:
    """Store, relay, hub and one spoke that sends a command for each event."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.acknowledged: list[str] = []
        self.effects: Counter[str] = Counter()
        self.keys: set[str] = set()

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        """The studio: one effect per key, as idempotency gives."""
        if key not in self.keys:
            self.keys.add(key)
            self.effects[path.removeprefix("/")] += 1

    async def write(self, count: int) -> None:
        for number in range(count):
            slot = SLOTS[number % len(SLOTS)]
            change = ItemChange("a", f"k{number}", b"1")
            while True:
                try:
                    transaction = Transaction(slot=slot, writes=[Write(change, EventDraft(TYPE, f"s{number}", b"{}"))])
                    receipt = await self.store.transact(transaction)
                except Overloaded:
                    continue
                break
            self.acknowledged.append(op_id(str(slot), "eu-central", *receipt.mark))
            await asyncio.sleep(0.002)

    async def until_all_arrived(self) -> None:
        async with asyncio.timeout(60):
            while set(self.effects) != set(self.acknowledged):
                await asyncio.sleep(0.05)


@spoke("effects", on=TYPE)
async def handler(event: Event, effects: Effects) -> None:
    effects.command(f"/{event.id}", {})


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[NatsHost]:
    host = NatsHost(tmp_path, host="127.0.23.4")
    await host.start()
    yield host
    await host.aclose()


async def test_kill_hang_and_wipe_of_the_hub_lose_and_double_nothing(host: NatsHost, tmp_path: Path) -> None:
    clock, rng = SystemClock(), random.Random(4)
    async with open_store(tmp_path / "store.db", region="eu-central", clock=clock) as store:
        for slot in SLOTS:
            await store.set_lease(slot, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        path = Route(store)
        log = await host.open()
        spokes = await SqliteSpokeStore(tmp_path / "spokes.db").open()
        relay = Relay(store, log, source="eu-central/c1", clock=clock, rng=rng, pipelined=log)
        around = Surroundings(region="eu-central", log=log, store=spokes, clock=clock, rng=rng)
        runner = SpokeHost([handler], around, transport=path)
        running = [asyncio.create_task(part) for part in (relay.run(), runner.run())]
        try:
            writing = asyncio.create_task(path.write(600))
            await asyncio.sleep(0.5)
            await host.restart()
            await asyncio.sleep(0.5)
            await host.kill(signal.SIGSTOP)
            await asyncio.sleep(3)
            await host.kill(signal.SIGCONT)
            await host.wipe()
            await writing
            await path.until_all_arrived()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await spokes.aclose()

    assert len(path.acknowledged) == 600
    assert set(path.effects.values()) == {1}
    assert runner.statistics()["spokes"]["effects"]["gaps_outwaited"] == 0
