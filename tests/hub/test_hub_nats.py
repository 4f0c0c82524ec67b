"""Relay, JetStream and a spoke: by event id everything arrives and has its effect once, whatever the hub suffers."""

import asyncio
import contextlib
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
from eisbach.testing.small_disk import SmallDisk

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


async def test_a_hub_without_room_takes_nothing_and_all_arrives_once_there_is_some(
    host: NatsHost, tmp_path: Path
) -> None:
    """What the server answers when its disk is full: the same as when it may not keep more."""
    clock, rng = SystemClock(), random.Random(5)
    host.room = "64KB"
    await host.kill()
    await host.start()
    async with open_store(tmp_path / "store.db", region="eu-central", clock=clock) as store:
        for slot in SLOTS:
            await store.set_lease(slot, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        path = Route(store)
        log = await host.open()
        relay = Relay(store, log, source="eu-central/c1", clock=clock, rng=rng, pipelined=log)
        spokes = await SqliteSpokeStore(tmp_path / "spokes.db").open()
        around = Surroundings(region="eu-central", log=log, store=spokes, clock=clock, rng=rng)
        runner = SpokeHost([handler], around, transport=path)
        running = [asyncio.create_task(part) for part in (relay.run(), runner.run())]
        try:
            await path.write(400)
            async with asyncio.timeout(20):
                while relay.statistics().failures_in_a_row == 0:
                    await asyncio.sleep(0.05)
            refused = len(path.effects)
            host.room = "8GB"
            await host.restart()
            await path.until_all_arrived()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await spokes.aclose()

    assert refused < 400
    assert len(path.acknowledged) == 400
    assert set(path.effects.values()) == {1}


async def test_a_hub_whose_disk_is_full_for_real_loses_nothing_and_takes_all_after_a_new_start_with_room(
    tmp_path: Path,
) -> None:
    """ENOSPC, not a quota: after the write that failed nats-server takes none until it is started anew."""
    clock, rng = SystemClock(), random.Random(7)
    async with contextlib.AsyncExitStack() as stack:
        disk = await stack.enter_async_context(SmallDisk(tmp_path / "jetstream", megabytes=8))
        host = NatsHost(tmp_path, host="127.0.23.5", inside=disk.inside)
        await host.start()
        stack.push_async_callback(host.aclose)
        store = await stack.enter_async_context(open_store(tmp_path / "store.db", region="eu-central", clock=clock))
        for slot in SLOTS:
            await store.set_lease(slot, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        path, log = Route(store), await host.open()
        relay = Relay(store, log, source="eu-central/c1", clock=clock, rng=rng, pipelined=log)
        spokes = await SqliteSpokeStore(tmp_path / "spokes.db").open()
        stack.push_async_callback(spokes.aclose)
        around = Surroundings(region="eu-central", log=log, store=spokes, clock=clock, rng=rng)
        running = [
            asyncio.create_task(part) for part in (relay.run(), SpokeHost([handler], around, transport=path).run())
        ]
        try:
            await path.write(100)
            await path.until_all_arrived()
            await disk.fill()
            await path.write(300)
            async with asyncio.timeout(20):
                while relay.statistics().failures_in_a_row == 0:
                    await asyncio.sleep(0.05)
            refused = len(path.effects)
            await disk.make_room()
            failures = relay.statistics().failures_in_a_row
            async with asyncio.timeout(20):
                while relay.statistics().failures_in_a_row < failures + 2:
                    await asyncio.sleep(0.05)  # room alone does not help: that is why somebody has to start it anew
            still_refused = len(path.effects)
            await host.restart()
            await path.until_all_arrived()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        said = (tmp_path / "nats.log").read_text()

    assert "no space left on device" in said
    assert 100 <= refused == still_refused < 400
    assert len(path.acknowledged) == 400
    assert set(path.effects.values()) == {1}


class RegionOfTwo:
    """A region with its store, relay, hub and spoke host; ops of the other region reach its store by pulls."""

    def __init__(self, name: str, host: NatsHost, folder: Path, store: SqliteStore) -> None:
        self.name, self.host, self.folder, self.store = name, host, folder, store
        self.effects: Counter[str] = Counter()
        self.keys: set[str] = set()

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.effects[path.removeprefix("/")] += 1

    async def run(self) -> None:
        clock, rng = SystemClock(), random.Random(6)
        log = await self.host.open()
        spokes = await SqliteSpokeStore(self.folder / f"{self.name}-spokes.db").open()
        relay = Relay(self.store, log, source=f"{self.name}/c1", clock=clock, rng=rng, pipelined=log)

        @spoke("effects", on=TYPE, scope="everywhere")
        async def everywhere(event: Event, effects: Effects) -> None:
            effects.command(f"/{event.id}", {})

        around = Surroundings(region=self.name, log=log, store=spokes, clock=clock, rng=rng)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(relay.run())
                tasks.create_task(SpokeHost([everywhere], around, transport=self).run())
        finally:
            await spokes.aclose()

    async def pull_from(self, other: "RegionOfTwo") -> None:
        while True:
            for slot in SLOTS:
                batch = await other.store.ops_after(slot, await self.store.vector(slot), limit=256)
                if batch.ops:
                    await self.store.apply(slot, batch.ops)
            await asyncio.sleep(0.02)


async def test_both_hubs_restarted_in_turn_under_load_and_a_failover_in_between(tmp_path: Path) -> None:
    """By event id everything that was acknowledged in either region is handled in both, effects once."""
    clock, acknowledged = SystemClock(), []
    async with contextlib.AsyncExitStack() as stack:
        regions = []
        for place, name in enumerate(("eu-central", "eu-west")):
            (tmp_path / name).mkdir()
            host = NatsHost(tmp_path / name, host=f"127.0.23.{14 + place}", region=name)
            await host.start()
            stack.push_async_callback(host.aclose)
            store = await stack.enter_async_context(open_store(tmp_path / f"{name}.db", region=name, clock=clock))
            for slot in SLOTS:
                await store.set_lease(slot, expected=None, lease=Lease(epoch=1, state="active", seq=0))
            regions.append(RegionOfTwo(name, host, tmp_path, store))
        central, west = regions
        running = [asyncio.create_task(part) for part in (
            central.run(), west.run(), central.pull_from(west), west.pull_from(central))]  # fmt: skip

        async def write(where: RegionOfTwo, first: int) -> None:
            for number in range(first, first + 60):
                slot = SLOTS[number % len(SLOTS)]
                change = ItemChange("a", f"k{number}", b"1")
                receipt = await where.store.transact(
                    Transaction(slot=slot, writes=[Write(change, EventDraft(TYPE, f"s{number % 9}", b"{}"))])
                )
                acknowledged.append(op_id(str(slot), where.name, *receipt.mark))
                await asyncio.sleep(0.004)

        try:
            await asyncio.gather(write(central, 0), central.host.restart())
            # Failover: the slots of eu-central are written in eu-west from now on, under a higher epoch.
            for slot in SLOTS:
                held = await west.store.lease(slot)
                await west.store.set_lease(slot, expected=held, lease=Lease(epoch=2, state="active", seq=0))
            await asyncio.gather(write(west, 60), west.host.restart())
            await asyncio.gather(write(west, 120), central.host.wipe(), west.host.restart())
            async with asyncio.timeout(60):
                while not all(set(region.effects) == set(acknowledged) for region in regions):
                    await asyncio.sleep(0.05)
                    for task in running:
                        assert not task.done(), task.exception()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    assert len(acknowledged) == len(set(acknowledged)) == 180
    assert [set(region.effects.values()) for region in regions] == [{1}, {1}]
