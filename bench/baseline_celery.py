"""Baseline: Celery over Redis, with the inbox and effect that a user would write.

Run by ``bench.hub`` in an environment of its own (Celery is no dependency of ours). Prints one JSON line.
One task an event, as Celery delivers; one worker (``solo`` pool: no fork, its cheapest), late acknowledgement, JSON; per
event one SQLite transaction (WAL, synchronous=FULL, as ours) with the inbox row and the effect. Redis keeps its queue in
memory (``appendonly no``): its cheapest too, and not durable.
Arguments: URL of Redis, count, folder, file with one JSON event a line.
"""

import json
import os
import sqlite3
import sys
import time
from pathlib import Path

from celery import Celery

url, count, folder, file = sys.argv[1:]
app = Celery("baseline", broker=url)
app.conf.update(
    task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False, worker_redirect_stdouts=False, worker_send_task_events=False, task_serializer="json",
)  # fmt: skip
database = sqlite3.connect(f"{folder}/celery.db", isolation_level=None, check_same_thread=False)
database.executescript(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
    "CREATE TABLE inbox(id TEXT PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
)
seen = {"done": 0, "wall": 0.0, "cpu": 0.0}


@app.task(name="handle")
def handle(event: dict) -> None:
    database.execute("BEGIN IMMEDIATE")
    if database.execute("INSERT OR IGNORE INTO inbox VALUES (?)", (event["id"],)).rowcount:
        database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (event["subject"], str(event["seq"])))
    database.execute("COMMIT")
    seen["done"] += 1
    if seen["done"] == 1:  # the first delivery ends the warm-up
        seen["wall"], seen["cpu"] = time.perf_counter(), time.process_time()
    if seen["done"] >= int(count):
        events = seen["done"] - 1
        cpu, wall = time.process_time() - seen["cpu"], time.perf_counter() - seen["wall"]
        print(json.dumps({"us": cpu / events * 1e6, "rate": events / wall}), flush=True)
        os._exit(0)  # a worker that is stopped from within its own task waits for that task


with Path(file).open() as events:  # every event is in the queue before the worker takes the first
    for line in events:
        handle.delay(json.loads(line))
worker = app.Worker(pool="solo", loglevel="ERROR", without_gossip=True, without_mingle=True, without_heartbeat=True)
worker.start()
