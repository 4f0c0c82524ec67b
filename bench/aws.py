"""What the AWS engines cost, against two emulated regions: units that the bill counts, CPU per call, contention.

Units are counted by the engines from what DynamoDB reports (the emulator rounds as AWS documents); prices are the list
prices of ``plan/cost`` for eu-central-1. CPU is this process's only, the emulator is another one.
Baseline of a call: a thin client of aiohttp and botocore's signer with JSON of our own. Rates are the emulator's, not
AWS's: they compare one writer with several, and say nothing about a region.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import aiohttp
from bench.figures import Row
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from eisbach.engines.aws.clients import AwsClients, AwsPlace, AwsUsage, open_clients
from eisbach.engines.aws.event_log import SnsSqsEventLog
from eisbach.engines.aws.store import DynamoStore, open_dynamo_store
from eisbach.engines.aws.tables import make_tables
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Group, Slot
from eisbach.plan.cost.prices import load_prices
from eisbach.ports.store import Lease, Transaction, Write
from eisbach.testing.aws.emulator import ENVIRONMENT, REGIONS, AwsEmulator
from eisbach.testing.event_log_promises import an_envelope, take

CENTRAL, WEST = REGIONS
SLOTS = [Slot(Group("eu", "de", "main"), number) for number in range(16)]
CALLS = 1500
WRITES = 400
ONE_BY_ONE, TOGETHER = 1, 32
EVENTS = 64


def usd(usage: AwsUsage, calls: dict[str, str]) -> float:
    """List price of what ``usage`` counted; ``calls``: operation -> id of its price."""
    prices = load_prices()
    bill = [
        ("dynamodb.write", usage.write_units),
        ("dynamodb.replicated_write", usage.replicated_units),
        ("dynamodb.read", usage.read_units),
        *((price, usage.calls[operation]) for operation, price in calls.items()),
    ]
    found = [prices.get(CENTRAL, price).charge(Decimal(str(units))) for price, units in bill]
    return float(sum(charge for charge in found if charge is not None))


def minus(after: AwsUsage, before: AwsUsage) -> AwsUsage:
    return AwsUsage(
        calls=after.calls - before.calls,
        read_units=after.read_units - before.read_units,
        write_units=after.write_units - before.write_units,
        replicated_units=after.replicated_units - before.replicated_units,
    )


def copy(usage: AwsUsage) -> AwsUsage:
    return AwsUsage(usage.calls.copy(), usage.read_units, usage.write_units, usage.replicated_units)


async def progress(store: DynamoStore, number: int) -> None:
    """A durable progress write: an item of 60 bytes and its event."""
    account = f"acc-{number % 200:08d}"
    event = EventDraft("tv.playback.progress.saved.v1", account, b'{"position_s":1234}')
    change = ItemChange(account, f"progress/p1/title-{number % 50}", b"x" * 60)
    while True:
        try:
            await store.transact(Transaction(slot=SLOTS[number % 16], writes=(Write(change, event),)))
        except Overloaded:  # waited too long, or others were faster: again, it counts too
            continue
        return


async def many(stores: list[DynamoStore], total: int, callers: int) -> float:
    """Seconds for ``total`` writes by ``callers`` over the stores in turn."""

    async def caller(first: int) -> None:
        for number in range(first, total, callers):
            await progress(stores[first % len(stores)], number)

    begun = time.monotonic()
    await asyncio.gather(*map(caller, range(callers)))
    return time.monotonic() - begun


async def writes(aws: AwsEmulator) -> list[Row]:
    place, found = AwsPlace(region=CENTRAL, endpoint=aws.endpoint(CENTRAL)), []
    async with AsyncExitStack() as stack:

        async def another() -> DynamoStore:
            opening = open_dynamo_store(place, prefix="eb", cell="c3", region="eu-central", clock=SystemClock())
            return await stack.enter_async_context(opening)

        store = await another()
        for slot in SLOTS:
            await store.set_lease(slot, expected=None, lease=Lease(1, "active", 0))
        await many([store], 200, 16)
        for callers in (ONE_BY_ONE, TOGETHER):
            before, commits, cpu = copy(store.usage), store.statistics().commits, time.process_time()
            seconds = await many([store], WRITES, callers)
            used, commits = minus(store.usage, before), store.statistics().commits - commits
            cpu = time.process_time() - cpu
            calls = sum(used.calls.values())
            words = f"{callers} callers at once"
            found += [
                Row(figure=f"write units per progress write, {words}", measured=used.write_units / WRITES, unit="WRU",
                    note=f"of which {used.replicated_units / WRITES:.2f} once more in the other region; "
                    f"{WRITES / commits:.1f} writes a commit; read units not measured: the emulator reports none for batches"),
                Row(figure=f"list price of a million progress writes, {words}",
                    measured=usd(used, {}) / WRITES * 1e6, unit="USD", note="write units of both regions, eu-central-1 prices"),
                Row(figure=f"CPU per progress write, {words}", measured=cpu / WRITES * 1e6, unit="us",
                    note=f"{cpu / calls * 1e6:.0f} us an AWS call, {calls / WRITES:.2f} calls a write"),
                Row(figure=f"progress writes a second, {words}, emulator", measured=WRITES / seconds, unit="/s",
                    note=f"{commits / seconds:.0f} commits a second on one head row"),
            ]  # fmt: skip
        stores = [store]
        for count in (2, 4):
            stores += [await another() for _ in range(count - len(stores))]
            before_over = sum(one.overtaken for one in stores)
            before = [copy(one.usage) for one in stores]
            seconds = await many(stores, WRITES, count * 4)
            over = sum(one.overtaken for one in stores) - before_over
            spent = sum(minus(one.usage, was).write_units for one, was in zip(stores, before, strict=True))
            found.append(
                Row(figure=f"writes a second of {count} processes on one cell, emulator", measured=WRITES / seconds,
                    unit="/s", note=f"{over / WRITES:.2f} commits overtaken and decided again per write, "
                    f"{spent / WRITES:.1f} WRU a write (refused commits cost units on AWS, not here)"))  # fmt: skip
    return found


async def twins(aws: AwsEmulator) -> list[Row]:
    """A cut of the replication with writes on both sides, then the heal."""
    async with AsyncExitStack() as stack:
        stores = []
        for region, name in zip(REGIONS, ("eu-central", "eu-west"), strict=True):
            place = AwsPlace(region=region, endpoint=aws.endpoint(region))
            opening = open_dynamo_store(place, prefix="eb", cell="c2", region=name, clock=SystemClock())
            stores.append(await stack.enter_async_context(opening))
            await stores[-1].set_lease(SLOTS[0], expected=None, lease=Lease(1, "active", 0))
        aws.lag(0.5, spread=0.5)
        aws.cut_link(CENTRAL, WEST)
        for number in range(100):
            for store in stores:
                await progress(store, number * 16)
        aws.heal_link(CENTRAL, WEST)
        begun, ops = time.monotonic(), 0
        while await stores[0].vector(SLOTS[0]) != await stores[1].vector(SLOTS[0]):
            for store, other in zip(stores, reversed(stores), strict=True):
                if came := await store.replicated_ops(SLOTS[0], other.region):
                    await store.apply(SLOTS[0], came)
                    ops += len(came)
        seconds = time.monotonic() - begun
        same = await stores[0].digest(SLOTS[0]) == await stores[1].digest(SLOTS[0])
        lost = len(await stores[0].conflicts(limit=1000))
    dropped = aws.statistics()["replication"]["dropped"]
    return [
        Row(figure=f"from the heal of a cut to equal vectors, {ops} ops, emulator", measured=seconds, unit="s",
            goal="equal digests, nothing decided by last writer", met=same and dropped == 0,
            note=f"{lost} losers kept, {dropped} replicated writes dropped"),
    ]  # fmt: skip


async def events(aws: AwsEmulator) -> list[Row]:
    found = []
    prices = {"sns.Publish": "sns.publish"} | {
        f"sqs.{operation}": "sqs.request" for operation in ("ReceiveMessage", "DeleteMessageBatch")
    }
    for size in (1, EVENTS):
        place = AwsPlace(region=CENTRAL, endpoint=aws.endpoint(CENTRAL))
        log = await SnsSqsEventLog(place, prefix=f"hub{size}", clock=SystemClock()).open()
        reader = await log.subscribe("reader", in_flight_max=10)
        sequence = await log.append(an_envelope(1, events=size), expected=0)
        await take(reader, 1)
        before, count, cpu = copy(log.usage), 40, time.process_time()
        for turn in range(1, count + 1):
            sequence = await log.append(an_envelope(1 + turn * size, events=size), expected=sequence)
        for _ in range(count // 10):
            out = await take(reader, 10, ack=False)
            await asyncio.gather(*(delivery.ack() for delivery in out))
        cpu, used = time.process_time() - cpu, minus(log.usage, before)
        await log.aclose()
        total = count * size
        found += [
            Row(figure=f"list price of a million events through one spoke, {size} an envelope",
                measured=usd(used, prices) / total * 1e6, unit="USD",
                note=f"{used.write_units / total:.2f} WRU, {used.calls['sns.Publish'] / total:.3f} publications, "
                f"{sum(used.calls[c] for c in prices if c.startswith('sqs')) / total:.3f} SQS requests an event"),
            Row(figure=f"CPU per event in and through one spoke, {size} an envelope", measured=cpu / total * 1e6,
                unit="us"),
        ]  # fmt: skip
    return found


class Thin:
    """DynamoDB by aiohttp and botocore's signer only."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str) -> None:
        self._session, self._endpoint = session, endpoint
        keys = Credentials(ENVIRONMENT["AWS_ACCESS_KEY_ID"], ENVIRONMENT["AWS_SECRET_ACCESS_KEY"])
        self._signer = SigV4Auth(keys, "dynamodb", CENTRAL)

    async def get_item(self, **asked: object) -> object:
        headers = {"X-Amz-Target": "DynamoDB_20120810.GetItem", "Content-Type": "application/x-amz-json-1.0"}
        request = AWSRequest("POST", self._endpoint + "/", headers, json.dumps(asked).encode())
        self._signer.add_auth(request)
        sent = dict(request.headers.items())
        async with self._session.post(request.url, data=request.data, headers=sent) as answer:
            assert answer.status == 200
            return json.loads(await answer.read())


async def call_cpu(call: Callable[..., Awaitable[object]], callers: int) -> float:
    """Microseconds of CPU per GetItem."""
    asked = {"TableName": "eb-c1-state", "Key": {"pk": {"S": "head"}, "sk": {"S": "head"}}, "ConsistentRead": True}

    async def caller() -> None:
        for _ in range(CALLS // callers):
            await call(**asked)

    await call(**asked)
    begun = time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.process_time() - begun) / (CALLS // callers * callers) * 1e6


async def client_cpu(aws: AwsEmulator, clients: AwsClients) -> list[Row]:
    found = []
    async with aiohttp.ClientSession() as session:
        for callers in (1, 16):
            whole = await call_cpu(clients.dynamodb.get_item, callers)
            thin = await call_cpu(Thin(session, aws.endpoint(CENTRAL)).get_item, callers)
            found.append(
                Row(figure=f"CPU per GetItem, aiobotocore, {callers} at once", measured=whole, unit="us",
                    baseline=f"thin signed client {thin:.0f} us", note=f"{whole / thin:.1f} times")
            )  # fmt: skip
    return found


async def calls(aws: AwsEmulator, folder: Path) -> list[Row]:
    """A whole cell on DynamoDB, SNS and SQS: what the calls of a viewer write, the relay's publications included."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cell"))
    from kit import beat, device_of, opened, play, signed_in

    place = f"{CENTRAL}/eb"
    hub = {"sns.Publish": "sns.publish"}
    os.environ["AWS_ENDPOINT_URL"] = aws.endpoint(CENTRAL)
    more = {"store": f"dynamodb:{place}", "hub": f"aws:{place}", "backups": ""}
    found, price = [], {}
    async with opened(folder, **more) as cell:
        viewers = [await signed_in(cell, device_of([0, 1, 2, 3], skip=n)) for n in range(3)]

        async def counted(name: str, count: int, call: Callable[[int], Awaitable[object]]) -> None:
            store, log = copy(cell.store.usage), copy(cell.event_log.usage)
            for number in range(count):
                await call(number)
            await relayed()
            used, sent = minus(cell.store.usage, store), minus(cell.event_log.usage, log)
            price[name] = (usd(used, {}) + usd(AwsUsage(write_units=sent.write_units, calls=sent.calls), hub)) / count
            found.append(
                Row(figure=f"list price of a million of: {name}", measured=price[name] * 1e6, unit="USD",
                    note=f"{used.write_units / count:.1f} WRU of the store, {sent.write_units / count:.1f} of the hub, "
                    f"{sent.calls['sns.Publish'] / count:.2f} publications; calls one after the other")
            )  # fmt: skip

        async def relayed() -> None:
            async with asyncio.timeout(20):
                while any(relay["behind"] for relay in cell.status()["relays"].values()):  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)

        async def start(number: int) -> None:
            assert (await play(viewers[0], f"k{number}")).status in (200, 201)

        async def put(number: int) -> None:
            body = {"pos_s": number + 1, "dur_s": 100}
            assert (await viewers[1].send("PUT", "/v1/me/progress/tears", body)).status == 204

        await relayed()
        await counted("sign-in of a new viewer", 10, lambda n: signed_in(cell, device_of([0, 1, 2, 3], skip=10 + n)))
        await counted("playback start", 2, start)
        session = (await play(viewers[2], "k")).json()
        await relayed()
        await counted("heartbeat", 20, lambda n: beat(viewers[2], session, n + 1, state="playing"))
        await counted("durable progress write", 20, put)
    hour = price["playback start"] + 120 * price["heartbeat"] + 30 * price["durable progress write"]
    found.append(
        Row(figure="list price of a viewer-hour, writes of store and hub", measured=hour, unit="USD",
            goal="<= 0.00015 for the whole control plane", met=False if hour > 0.00015 else None,
            note="one start, a heartbeat each 30 s, a progress write each 2 minutes; nobody shares a commit; "
            "read units, compute and transfer are not in it")
    )  # fmt: skip
    return found


async def measure(aws: AwsEmulator, folder: Path) -> list[Row]:
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(open_clients(AwsPlace(region=region, endpoint=aws.endpoint(region))))
            for region in REGIONS
        ]
        for cell in ("c1", "c2", "c3"):
            await make_tables(both, prefix="eb", cell=cell)
        found = await writes(aws)
        found += await client_cpu(aws, both[0])
    return [*found, *await calls(aws, folder), *await events(aws), *await twins(aws)]


def run() -> list[Row]:
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        aws = AwsEmulator(Path(folder)).start()
        try:
            return asyncio.run(measure(aws, Path(folder)))
        finally:
            aws.stop()
