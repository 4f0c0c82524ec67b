"""Baseline: FastStream over the same NATS server, with the inbox and effect that a user would write.

Run by ``bench.hub`` in an environment of its own (FastStream is no dependency of ours). Prints one JSON line.
One message an event, as FastStream delivers; durable pull consumer with explicit acknowledgements; per event one SQLite
transaction (WAL, synchronous=FULL, as ours) with the inbox row and the effect.
Arguments: URL of the server, stream, subject, count, folder.
"""

import asyncio
import json
import sqlite3
import sys
import time

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub


async def main() -> None:
    url, stream, subject, count, folder = sys.argv[1:]
    broker = NatsBroker(url, logger=None)
    database = sqlite3.connect(f"{folder}/faststream.db", isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE inbox(id TEXT PRIMARY KEY) WITHOUT ROWID;"
        "CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
    )
    done, all_done = 0, asyncio.Event()

    @broker.subscriber(
        subject, stream=JStream(stream, declare=False), durable="faststream", pull_sub=PullSub(batch_size=64),
        ack_policy=AckPolicy.REJECT_ON_ERROR,
    )  # fmt: skip
    async def handle(event: dict, message: NatsMessage) -> None:  # noqa: ARG001
        nonlocal done
        database.execute("BEGIN IMMEDIATE")
        if database.execute("INSERT OR IGNORE INTO inbox VALUES (?)", (event["id"],)).rowcount:
            database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (event["subject"], str(event["seq"])))
        database.execute("COMMIT")
        done += 1
        if done >= int(count):
            all_done.set()

    app = FastStream(broker, logger=None)
    running = asyncio.create_task(app.run())
    while not done:  # noqa: ASYNC110 - the first delivery ends the warm-up
        await asyncio.sleep(0.001)
    wall, cpu, before = time.perf_counter(), time.process_time(), done
    await asyncio.wait_for(all_done.wait(), 240)
    events = done - before
    print(json.dumps({"us": (time.process_time() - cpu) / events * 1e6, "rate": events / (time.perf_counter() - wall)}))
    app.exit()
    await running


asyncio.run(main())
