"""CPU per durable write of the store: 5,000 accounts over 32 slots, an item of 60 bytes and an event, as a progress op.

Baseline: the bare engine, apsw's ``executemany`` of the same two rows in groups of the same size, WAL and FULL.
Limit: 35 us of a durable progress write all in (issue 3) leave about 20 for HTTP and relay apart from the store.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
from bench.figures import Row

from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Group, Slot
from eisbach.ports.store import Lease, Transaction, Write

SLOTS = [Slot(Group("eu", "de", "main"), number) for number in range(32)]
ACCOUNTS = 5000
BODY = b"x" * 150
TOTALS = {1: 1500, 64: 16_000, 256: 16_128}  # whole groups, so that no division rounds
ROUNDS = 3


def keys(seed: int = 1) -> Iterator[tuple[int, str, str]]:
    """(slot number, pk, sk) of progress writes."""
    chance = random.Random(seed)
    while True:
        account = chance.randrange(ACCOUNTS)
        yield account % 32, f"acc-{account:08d}", f"progress/p1/title-{account % 50}"


def raw(path: Path, group: int, total: int) -> float:
    """CPU microseconds a write of the bare engine."""
    database = apsw.Connection(str(path))
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-16384", "wal_autocheckpoint=4000"):
        database.execute(f"PRAGMA {pragma}")
    database.execute(
        "CREATE TABLE items(slot INTEGER, pk TEXT, sk TEXT, value BLOB, hlc INTEGER, origin TEXT, seq INTEGER,"
        " base_hlc INTEGER, base_origin TEXT, PRIMARY KEY(slot, pk, sk)) WITHOUT ROWID;"
        "CREATE TABLE ops(lsn INTEGER PRIMARY KEY, slot INTEGER, origin TEXT, epoch INTEGER, seq INTEGER, body BLOB);"
        "CREATE UNIQUE INDEX ops_by_id ON ops(slot, origin, epoch, seq)"
    )
    source, lsn = keys(), 0
    begun = time.process_time()
    for _ in range(total // group):
        items, ops = [], []
        for _ in range(group):
            lsn += 1
            place = next(source)
            items.append((*place, BODY[:60], lsn, "eu-central", lsn, lsn, "eu-central"))
            ops.append((lsn, place[0], "eu-central", 1, lsn, BODY))
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT OR REPLACE INTO items VALUES(?,?,?,?,?,?,?,?,?)", items)
        database.executemany("INSERT INTO ops VALUES(?,?,?,?,?,?)", ops)
        database.execute("COMMIT")
    used = time.process_time() - begun
    database.close()
    return used / total * 1e6


async def through_store(store: SqliteStore, group: int, total: int) -> float:
    """CPU microseconds a write through ``transact``, callers and event loop included."""
    source = keys()

    async def caller(count: int) -> None:
        for _ in range(count):
            number, pk, sk = next(source)
            event = EventDraft("tv.playback.progress.saved.v1", pk, b'{"position_s":1234}')
            transaction = Transaction(slot=SLOTS[number], writes=(Write(ItemChange(pk, sk, BODY[:60]), event),))
            while True:
                try:
                    await store.transact(transaction)
                except Overloaded:  # over 50 ms in the queue on a busy machine: again, its CPU counts too
                    continue
                break

    begun = time.process_time()
    await asyncio.gather(*(caller(total // group) for _ in range(group)))
    return (time.process_time() - begun) / total * 1e6


async def one(folder: Path, group: int, total: int) -> tuple[float, float]:
    """(CPU a write, writes per commit) in a fresh file."""
    async with open_store(folder / "store.db", region="eu-central", clock=SystemClock(), cell="bench") as store:
        for slot in SLOTS:
            await store.set_lease(slot, expected=None, lease=Lease(1, "active", 0))
        before = store.statistics().commits
        used = await through_store(store, group, total)
        return used, total / (store.statistics().commits - before)


def run() -> list[Row]:
    found: list[Row] = []
    for group, total in TOTALS.items():
        bare, stored = [], []
        shared = 0.0
        for _ in range(ROUNDS):  # turn by turn, so that a busy moment hits both
            with tempfile.TemporaryDirectory() as folder:
                bare.append(raw(Path(folder) / "raw.db", group, total))
                used, shared = asyncio.run(one(Path(folder), group, total))
                stored.append(used)
        cpu, base = min(stored), min(bare)
        found.append(
            Row(
                figure=f"CPU per durable write, {group} at a time",
                measured=cpu,
                unit="us",
                baseline=f"raw executemany {base:.1f} us",
                goal="<= 35 us, <= 2.5 x raw" if group == 64 else "",
                met=cpu <= 35 and cpu <= 2.5 * base if group == 64 else None,
                note=f"{cpu / base:.2f} x raw, {shared:.0f} a commit",
            )
        )
    return found
