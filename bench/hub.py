"""Durable events through relay, hub and one spoke; every acknowledgement is on disk (``sync_interval: always``).

Baseline in: nats-py, one publish an event. Limit in: raw envelopes of 64 ready-made events, eight in flight.
Limit out: a bare pull consumer that decodes and acknowledges the same envelopes.
"""

import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import nats
import uvloop
from bench.figures import Row, cpu_seconds
from nats.js.api import StorageType, StreamConfig

from eisbach.bootstrap.serve import settle_process
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.disk import DiskThread
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.engines.nats.configuration import nats_configuration
from eisbach.engines.nats.event_log import JetStreamEventLog
from eisbach.hub.authoring import spoke
from eisbach.hub.relay import Relay
from eisbach.hub.runner import SpokeRunner, Surroundings
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.events import Event, EventDraft
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.ports.event_log import decode_envelope
from eisbach.ports.spoke import Effects
from eisbach.ports.store import Lease, Transaction, Write

HOST, PORT = "127.0.23.9", 8222
EVENTS, SINGLES, BASELINE = 20_000, 2_000, 5_000
FASTSTREAM = "faststream[nats]==0.7.8"
CELERY = "celery[redis]==5.7.0"
REDIS = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")  # apt-get install redis-server
UV = Path(__file__).parents[1] / ".uv/bin/uv"
TYPE = "tv.playback.progress.recorded.v1"
DATA = b'{"account":"acc-0123456789abcdef","profile":"p1","title":"big-buck-bunny","pos_s":1234,"dur_s":5400}'


async def measured(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """(wall seconds, CPU seconds of this process)."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - wall, time.process_time() - cpu


async def fill(store: SqliteStore) -> None:
    """The op log that the relay reads: ten thousand transactions of two events."""
    slot = Slot.parse("eu/de/main/7")
    await store.set_lease(slot, expected=None, lease=Lease(epoch=1, state="active", seq=0))
    for start in range(0, EVENTS, 64):
        await asyncio.gather(*[put(store, slot, n) for n in range(start, min(start + 64, EVENTS), 2)])


async def put(store: SqliteStore, slot: Slot, number: int) -> None:
    while True:
        try:
            await store.transact(Transaction(slot=slot, writes=[write(number), write(number + 1)]))
        except Overloaded:
            await asyncio.sleep(0.05)
        else:
            return


def write(number: int) -> Write:
    subject = f"acc-{number % 500}"
    return Write(ItemChange(subject, f"progress/p1/{number}", DATA), EventDraft(TYPE, subject, DATA))


async def serve(folder: Path) -> asyncio.subprocess.Process:
    text = nats_configuration(region="bench", host=HOST, port=PORT, monitor_port=PORT + 1, store=folder / "js")
    (folder / "nats.conf").write_text(text)
    server = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "nats-server", "-c", folder / "nats.conf",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await listening(PORT)
    return server


async def end(server: asyncio.subprocess.Process) -> None:
    """Stop it; one that does not want to end in 15 s is killed, so that a run never hangs at its end."""
    if server.returncode is None:
        server.terminate()
    try:
        await asyncio.wait_for(server.wait(), 15)
    except TimeoutError:
        server.kill()
        await server.wait()


async def listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                (await asyncio.open_connection(HOST, port))[1].close()
                return  # noqa: TRY300 - the loop ends here
            except OSError:
                await asyncio.sleep(0.01)


async def through_relay(store: SqliteStore, log: JetStreamEventLog) -> None:
    relay = Relay(store, log, source="bench/c1", clock=SystemClock(), rng=random.Random(1), pipelined=log)
    running = asyncio.create_task(relay.run())
    while relay.statistics().events < EVENTS:  # noqa: ASYNC110 - statistics are polled, as everywhere
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def through_spoke(log: JetStreamEventLog, folder: Path) -> None:
    handled = 0

    @spoke("bench", on=TYPE, scope="everywhere", concurrency_max=64, time_limit=timedelta(seconds=30))
    async def handler(event: Event, effects: Effects) -> None:
        nonlocal handled
        effects.put(event.subject, b"%d" % event.seq)
        handled += 1

    disk = DiskThread("bench-spokes")
    store = await SqliteSpokeStore(folder / "spokes.db", disk=disk).open()
    around = Surroundings(region="bench", log=log, store=store, clock=SystemClock(), rng=random.Random(1))
    runner = SpokeRunner(handler, around)
    running = asyncio.create_task(runner.run())
    while runner.statistics().handled < EVENTS:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.aclose()
    disk.close()


async def bare_consumer(client: nats.NATS) -> None:
    pull = await client.jetstream().pull_subscribe("ev.bench.*", durable="bare", stream="EV_bench")
    seen = 0
    while seen < EVENTS:
        for message in await pull.fetch(8, timeout=5):
            seen += len(decode_envelope(message.data).events)
            await message.ack()


async def raw_envelopes(client: nats.NATS, bodies: list[bytes]) -> None:
    js = client.jetstream()
    for start in range(0, len(bodies), 8):
        await asyncio.gather(*[js.publish("raw.envelope", body) for body in bodies[start : start + 8]])


async def singles(client: nats.NATS, body: bytes) -> None:
    js = client.jetstream()
    for _ in range(SINGLES):
        await js.publish("raw.single", body)


async def faststream(client: nats.NATS, bodies: list[bytes], folder: Path) -> dict[str, float] | None:
    """CPU and rate of the baseline, None where its environment cannot be made (no network)."""
    js = client.jetstream()
    events = [msgspec.json.encode(event) for body in bodies for event in decode_envelope(body).events][:BASELINE]
    await js.add_stream(StreamConfig(name="FAST", subjects=["fast.*"], storage=StorageType.FILE))
    for start in range(0, len(events), 64):
        await asyncio.gather(*[js.publish("fast.event", event) for event in events[start : start + 64]])
    process = await asyncio.create_subprocess_exec(
        UV, "run", "--no-project", "--quiet", "--with", FASTSTREAM, Path(__file__).with_name("baseline_faststream.py"),
        f"nats://{HOST}:{PORT}", "FAST", "fast.event", str(len(events)), folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, trouble = await process.communicate()
    if process.returncode:
        print(f"FastStream's baseline did not run: {trouble.decode()[-800:]}", file=sys.stderr)
        return None
    return json.loads(out.splitlines()[-1])


async def celery(bodies: list[bytes], folder: Path) -> dict[str, float] | None:
    """CPU and rate of the baseline, None where there is no redis-server or its environment cannot be made."""
    if REDIS is None:
        print("Celery's baseline did not run: no redis-server; apt-get install redis-server", file=sys.stderr)
        return None
    events = [msgspec.json.encode(event) for body in bodies for event in decode_envelope(body).events][:BASELINE]
    (folder / "events.jsonl").write_bytes(b"\n".join(events))
    server = await asyncio.create_subprocess_exec(
        REDIS, "--bind", HOST, "--port", str(PORT + 2), "--save", "", "--appendonly", "no", "--dir", folder,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await listening(PORT + 2)
        process = await asyncio.create_subprocess_exec(
            UV, "run", "--no-project", "--quiet", "--with", CELERY, Path(__file__).with_name("baseline_celery.py"),
            f"redis://{HOST}:{PORT + 2}/0", str(len(events)), folder, folder / "events.jsonl",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, trouble = await process.communicate()
    finally:
        await end(server)
    found = [line for line in out.splitlines() if line.startswith(b"{")]
    if not found:
        print(f"Celery's baseline did not run: {trouble.decode()[-800:]}", file=sys.stderr)
        return None
    return json.loads(found[-1])


async def main() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = await serve(folder)
        client = await nats.connect(f"nats://{HOST}:{PORT}")
        log = await JetStreamEventLog(f"nats://{HOST}:{PORT}", region="bench").open()
        try:
            await client.jetstream().add_stream(StreamConfig(name="RAW", subjects=["raw.*"], storage=StorageType.FILE))
            async with open_store(folder / "store.db", region="bench", clock=SystemClock()) as store:
                await fill(store)
                before = cpu_seconds(server.pid)
                relay_wall, relay_cpu = await measured(lambda: through_relay(store, log))
                server_cpu = cpu_seconds(server.pid) - before
            bare_wall, bare_cpu = await measured(lambda: bare_consumer(client))
            spoke_wall, spoke_cpu = await measured(lambda: through_spoke(log, folder))
            bodies = [m.data for m in await _bodies(client)]
            count = sum(len(decode_envelope(body).events) for body in bodies)
            raw_wall, raw_cpu = await measured(lambda: raw_envelopes(client, bodies))
            one_wall, one_cpu = await measured(lambda: singles(client, bodies[0][:400]))
            fast = await faststream(client, bodies, folder)
            queue = await celery(bodies, folder)
        finally:
            await log.aclose()
            await client.close()
            await end(server)
    raw, one = count / raw_wall, SINGLES / one_wall
    rate = EVENTS / relay_wall
    return [
        Row(
            figure="durable events in: op log to acknowledged on disk by the hub", measured=rate, unit="/s",
            baseline=f"{one:,.0f}/s one publish an event", limit=f"{raw:,.0f}/s raw envelopes of 64",
            goal="≥ 50 % of the limit", met=rate >= raw / 2, note=f"{rate / raw:.0%} of the limit",
        ),
        Row(
            figure="CPU per event in, relay", measured=relay_cpu / EVENTS * 1e6, unit="µs",
            baseline=f"{one_cpu / SINGLES * 1e6:.3g} µs one publish an event",
            limit=f"{raw_cpu / count * 1e6:.3g} µs raw envelopes of 64",
            note=f"and {server_cpu / EVENTS * 1e6:.2g} µs in nats-server",
        ),
        Row(
            figure="CPU per event through one spoke, inbox and an effect", measured=spoke_cpu / EVENTS * 1e6,
            unit="µs", limit=f"{bare_cpu / EVENTS * 1e6:.3g} µs bare pull consumer",
            baseline=(f"{fast['us']:.4g} µs FastStream" if fast else "FastStream: not measured")
            + (f"; {queue['us']:.4g} µs Celery + Redis" if queue else "; Celery + Redis: not measured"),
            goal="≤ 1/4 of FastStream's", met=spoke_cpu / EVENTS * 1e6 <= fast["us"] / 4 if fast else None,
            note=f"{EVENTS / spoke_wall:,.0f} events/s; bare {EVENTS / bare_wall:,.0f}/s"
            + (f"; FastStream {fast['rate']:,.0f}/s" if fast else "")
            + (f"; Celery {queue['rate']:,.0f}/s" if queue else ""),
        ),
    ]  # fmt: skip


async def _bodies(client: nats.NATS) -> list[object]:
    pull = await client.jetstream().pull_subscribe("ev.bench.*", durable="bodies", stream="EV_bench")
    found: list[object] = []
    while len(found) < EVENTS // 64:
        found += await pull.fetch(100, timeout=5)
    return found


def run() -> list[Row]:
    settle_process()  # as every process of ours does
    return uvloop.run(main())
