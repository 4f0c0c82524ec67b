"""The hub under load: publish to effect at 500 events a second, many spokes on one log, and the drain of a backlog.

Everything is ours and real: op log, relay, NATS JetStream (``sync_interval: always``), runners, spoke store; one process,
one event loop. Latency runs from the call of ``transact`` to the commit of the effect, both group commits included.
Baseline of many spokes: one spoke in the same run. Baseline of the drain: the steady rate, its own middle.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import nats
import uvloop
from bench.figures import Row
from bench.hub import DATA, HOST, PORT, TYPE, end, serve, write

from eisbach.bootstrap.serve import settle_process
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.disk import DiskThread
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.store import open_store
from eisbach.engines.nats.event_log import JetStreamEventLog
from eisbach.hub.authoring import spoke
from eisbach.hub.relay import Relay
from eisbach.hub.runner import SpokeRunner, Surroundings
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.events import Event
from eisbach.kernel.ops import op_id
from eisbach.kernel.slots import Slot
from eisbach.ports.event_log import Envelope, encode_envelope
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.ports.spoke_store import Settlement
from eisbach.ports.store import Lease, Transaction

SLOT = Slot.parse("eu/de/main/7")
RATE, SECONDS = 500, 20
SPOKES, EVENTS, ROUNDS = (1, 4, 16), 8_000, 5
WARM = 1_600  # events a spoke before its processor time counts: consumers, files, caches
BACKLOG = 1_000_000


class TimedStore(SqliteSpokeStore):
    """Says when the effect of an event was on disk."""

    def __init__(self, path: Path, disk: DiskThread) -> None:
        super().__init__(path, disk=disk)
        self.settled: dict[str, float] = {}

    async def settle(self, settlement: Settlement) -> None:
        await super().settle(settlement)
        self.settled[settlement.event_id] = time.perf_counter()


def a_spoke(name: str) -> SpokeSpec:
    @spoke(name, on=TYPE, scope="everywhere", concurrency_max=64)
    async def handler(event: Event, effects: Effects) -> None:
        effects.put(event.subject, b"%d" % event.seq)

    return handler


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@asynccontextmanager
async def place() -> AsyncIterator[tuple[Path, JetStreamEventLog]]:
    """A NATS server of its own with an open log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = await serve(folder)
        log = await JetStreamEventLog(f"nats://{HOST}:{PORT}", region="bench").open()
        try:
            yield folder, log
        finally:
            await log.aclose()
            await end(server)


@asynccontextmanager
async def runners(log: JetStreamEventLog, store: SqliteSpokeStore, count: int) -> AsyncIterator[list[SpokeRunner]]:
    await store.open()
    around = Surroundings(region="bench", log=log, store=store, clock=SystemClock(), rng=random.Random(1))
    made = [SpokeRunner(a_spoke(f"bench-{count}-{n}"), around) for n in range(count)]
    tasks = [asyncio.create_task(runner.run()) for runner in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.aclose()


async def latency() -> tuple[float, float, str]:
    """(p50, p99) in milliseconds, and what was reached."""
    called: dict[str, float] = {}
    refused = 0
    async with (
        place() as (folder, log),
        open_store(folder / "store.db", region="bench", clock=SystemClock(), disk=DiskThread("bench-store")) as store,
    ):
        await store.set_lease(SLOT, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        relay = Relay(store, log, source="bench/c1", clock=SystemClock(), rng=random.Random(1), pipelined=log)
        relaying = asyncio.create_task(relay.run())
        spokes = TimedStore(folder / "spokes.db", DiskThread("bench-spokes"))

        async def one(number: int) -> None:
            nonlocal refused
            began = time.perf_counter()
            try:
                receipt = await store.transact(Transaction(slot=SLOT, writes=[write(number)]))
            except Overloaded:  # the disk stood still for over 50 ms: shed, as a cell would
                refused += 1
                return
            called[op_id(str(SLOT), "bench", *receipt.mark)] = began

        async with runners(log, spokes, 1) as _:
            start = time.perf_counter()
            async with asyncio.TaskGroup() as writes:
                for number in range(RATE * SECONDS):
                    # Open loop: a slow answer does not slow down the next write.
                    await asyncio.sleep(max(0.0, start + number / RATE - time.perf_counter()))
                    writes.create_task(one(number))
            reached = RATE * SECONDS / (time.perf_counter() - start)
            while len(spokes.settled) < len(called):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
    # The first second is the warm-up: connections, consumers, files.
    took = sorted((spokes.settled[name] - began) * 1000 for name, began in called.items() if began > start + 1)
    return statistics.median(took), took[int(len(took) * 0.99)], f"{reached:.0f}/s written, {refused} shed"


def ready_made(count: int) -> list[bytes]:
    """Envelopes of 64 events of one chain, as a relay would send them."""
    bodies = []
    for first in range(1, count + 1, 64):
        events = [
            Event(
                id=op_id(str(SLOT), "bench", 1, n), source="//bench/playback", type=TYPE, subject=f"acc-{n % 500}",
                time="2026-11-26T00:00:00.000Z", slot=str(SLOT), origin="bench", epoch=1, seq=n, prev=n - 1, hlc=n << 16,
                data=msgspec.Raw(DATA), cell="c1",
            )
            for n in range(first, min(first + 64, count + 1))
        ]  # fmt: skip
        last = events[-1].seq
        bodies.append(encode_envelope(Envelope(source="bench/c1", first_lsn=first, last_lsn=last, events=events)))
    return bodies


async def publish(log: JetStreamEventLog, bodies: list[bytes]) -> None:
    await log.append(
        Envelope(
            source="bench/c0", first_lsn=1, last_lsn=1, events=msgspec.json.decode(bodies[0], type=Envelope).events[:1]
        ),
        expected=0,
    )  # makes the stream
    client = await nats.connect(f"nats://{HOST}:{PORT}")
    js = client.jetstream()
    for start in range(0, len(bodies), 64):
        await asyncio.gather(*[js.publish("ev.bench.c1", body) for body in bodies[start : start + 64]])
    await client.close()


async def many_spokes() -> dict[int, float]:
    """Spokes -> CPU microseconds per delivered event (events x spokes): the medians of rounds that take turns."""
    found: dict[int, list[float]] = {count: [] for count in SPOKES}
    for _ in range(ROUNDS):
        for count in SPOKES:
            found[count].append(await _spokes_once(count))
    return {count: statistics.median(costs) for count, costs in found.items()}


async def _spokes_once(count: int) -> float:
    async with place() as (folder, log):
        await publish(log, ready_made(EVENTS))
        disk = DiskThread("bench-spokes")
        async with runners(log, SqliteSpokeStore(folder / "spokes.db", disk=disk), count) as made:
            while any(runner.statistics().handled < WARM for runner in made):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            began, before = time.process_time(), sum(runner.statistics().handled for runner in made)
            while any(runner.statistics().handled < EVENTS for runner in made):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            cost = (time.process_time() - began) / (EVENTS * count - before) * 1e6
        disk.close()
    return cost


async def drain() -> tuple[list[float], float, float]:
    """(events a second in each tenth, MiB at the first tenth, MiB at the end)."""
    async with place() as (folder, log):
        await publish(log, ready_made(BACKLOG))
        disk = DiskThread("bench-spokes")
        rates, first = [], 0.0
        async with runners(log, SqliteSpokeStore(folder / "spokes.db", disk=disk), 1) as (runner,):
            for tenth in range(1, 11):
                began, before = time.perf_counter(), runner.statistics().handled
                while (handled := runner.statistics().handled) < BACKLOG * tenth // 10:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                rates.append((handled - before) / (time.perf_counter() - began))
                first = first or rss_mib()
        disk.close()
        return rates, first, rss_mib()


async def main() -> list[Row]:
    p50, p99, reached = await latency()
    spokes = await many_spokes()
    rates, first, end = await drain()
    spread = max(spokes.values()) / min(spokes.values()) - 1
    steady = statistics.median(rates)
    worst = max(abs(rate / steady - 1) for rate in rates)
    return [
        Row(
            figure=f"publish to effect at {RATE}/s, p50", measured=p50, unit="ms", goal="≤ 8 ms", met=p50 <= 8,
            note=reached,
        ),
        Row(figure=f"publish to effect at {RATE}/s, p99", measured=p99, unit="ms", goal="≤ 25 ms", met=p99 <= 25),
        Row(
            figure="CPU per delivered event with 16 spokes", measured=spokes[16], unit="µs",
            baseline=f"{spokes[1]:.3g} µs with 1, {spokes[4]:.3g} µs with 4", goal="flat within 15 %",
            met=spread <= 0.15, note=f"spread {spread:.0%}",
        ),
        Row(
            figure=f"drain of {BACKLOG:,} events", measured=steady, unit="/s",
            baseline=" ".join(f"{rate / 1000:.1f}k" for rate in rates), goal="every tenth within 20 % of the median",
            met=worst <= 0.2, note=f"worst {worst:.0%}",
        ),
        Row(
            figure="memory during the drain", measured=end, unit="MiB", baseline=f"{first:.0f} MiB after a tenth",
            goal="flat", met=end <= first * 1.1,
        ),
    ]  # fmt: skip


def run() -> list[Row]:
    settle_process()  # as every process of ours does
    return uvloop.run(main())
