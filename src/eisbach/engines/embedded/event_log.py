"""The event log in one SQLite file: for the stage ``single`` and for tests, the verified fake of JetStream.

Promises: ``ports.event_log``, for one process: an append is fsynced; positions are not (a lost one means one more
delivery); nothing polls: readers wake on appends, naks and acks. May not know: hub, spokes, the domain.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final

import apsw

from eisbach.engines.embedded.disk import Disk, inline, rows, sqlite_errors
from eisbach.kernel.errors import Unavailable, VersionConflict
from eisbach.kernel.ids import parse_id
from eisbach.kernel.limits import OPLOG_KEPT
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import (
    Delivery,
    Envelope,
    LastEnvelope,
    SubscriptionState,
    encode_envelope,
    read_envelope,
)

__all__ = ["SqliteEventLog"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS envelopes(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, last_lsn INTEGER NOT NULL,
  at_ms INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS envelopes_by_source ON envelopes(source, sequence);
CREATE TABLE IF NOT EXISTS subscriptions(name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending(
  name TEXT NOT NULL, sequence INTEGER NOT NULL, attempt INTEGER NOT NULL, due_ms INTEGER NOT NULL,
  PRIMARY KEY(name, sequence)) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_PRUNE_EVERY: Final = 1000
_TAIL_QUEUE: Final = 256


class SqliteEventLog:
    """All readers and writers of the log share this object."""

    def __init__(self, path: Path, *, clock: Clock, disk: Disk = inline, vfs: str | None = None) -> None:
        """The file is opened by ``open``."""
        self._path, self._clock, self._disk, self._vfs = path, clock, disk, vfs
        self._database: apsw.Connection | None = None
        self._changed = asyncio.Event()
        self._in_flight: dict[str, set[int]] = {}
        self._crowded: set[str] = set()
        """Subscriptions with so much in flight that they wait for an acknowledgement."""
        self._tails: set[asyncio.Queue[Envelope]] = set()
        self._appends = 0

    async def open(self) -> "SqliteEventLog":
        """Open or create the file.

        Raises:
            Unavailable: the disk refused.
        """

        def work() -> apsw.Connection:
            with sqlite_errors(f"open event log {self._path}"):
                database = apsw.Connection(str(self._path), vfs=self._vfs)
                database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
                database.execute(_SCHEMA)
                return database

        self._database = await self._disk(work)
        return self

    @property
    def _open(self) -> apsw.Connection:
        if self._database is None:
            raise Unavailable(f"event log {self._path} is closed; open it again")
        return self._database

    async def last(self, source: str) -> LastEnvelope:
        """See ``EventLog``."""
        database = self._open

        def work() -> LastEnvelope:
            with sqlite_errors(f"read the last envelope of {source}"):
                return _last(database, source)

        return await self._disk(work)

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        """See ``EventLog``."""
        return await self._append(envelope, expected, alone=False)

    async def append_behind(self, envelope: Envelope, *, expected: int) -> int:
        """See ``PipelinedLog``."""
        return await self._append(envelope, expected, alone=True)

    async def _append(self, envelope: Envelope, expected: int, *, alone: bool) -> int:
        database, body, now = self._open, encode_envelope(envelope), self._clock.wall_ms()

        def work() -> int:
            with sqlite_errors(f"append an envelope of {envelope.source}"), database:
                found = _last(database, envelope.source).sequence
                if found != expected or (alone and _newest(database) != expected):
                    raise VersionConflict(
                        f"append after sequence {expected} of {envelope.source}: the last is {found}; read it again"
                    )
                database.execute(
                    "INSERT INTO envelopes(source, last_lsn, at_ms, body) VALUES (?, ?, ?, ?)",
                    (envelope.source, envelope.last_lsn, now, body),
                )
                return database.last_insert_rowid()
            raise AssertionError("unreachable")

        sequence = await self._disk(work)
        for queue in self._tails:
            with contextlib.suppress(asyncio.QueueFull):  # a dashboard that cannot keep up misses some
                queue.put_nowait(envelope)
        self._notify()
        self._appends += 1
        if self._appends % _PRUNE_EVERY == 0:
            await self._prune()
        return sequence

    async def subscribe(
        self, name: str, *, from_start: bool = True, in_flight_max: int = 8, anew: bool = False
    ) -> "SqliteSubscription":
        """See ``EventLog``."""
        database = self._open
        parse_id(name, what="subscription")

        def work() -> None:
            with sqlite_errors(f"subscribe {name}"), database:
                if anew:
                    _forget(database, name)
                first = "1" if from_start else "(SELECT coalesce(max(sequence), 0) + 1 FROM envelopes)"
                database.execute(
                    f"INSERT INTO subscriptions(name, next) VALUES (?, {first}) ON CONFLICT DO NOTHING",  # noqa: S608
                    (name,),
                )

        await self._disk(work)
        return SqliteSubscription(self, name, in_flight_max)

    async def forget(self, name: str) -> None:
        """See ``EventLog``. What it kept from being pruned goes with the next pruning."""
        database = self._open

        def work() -> None:
            with sqlite_errors(f"forget subscription {name}"), database:
                _forget(database, name)

        await self._disk(work)
        self._in_flight.pop(name, None)
        self._crowded.discard(name)

    async def tail(self) -> AsyncIterator[Envelope]:
        """See ``EventLog``."""
        queue: asyncio.Queue[Envelope] = asyncio.Queue(_TAIL_QUEUE)
        self._tails.add(queue)

        async def envelopes() -> AsyncIterator[Envelope]:
            try:
                while True:
                    yield await queue.get()
            finally:
                self._tails.discard(queue)

        return envelopes()

    async def state(self) -> Mapping[str, SubscriptionState]:
        """See ``EventLog``."""
        database, now = self._open, self._clock.wall_ms()

        def work() -> dict[str, SubscriptionState]:
            with sqlite_errors("read the subscriptions"):
                return {row.name: row for row in _states(database, now)}

        return await self._disk(work)

    async def aclose(self) -> None:
        """See ``EventLog``."""
        database, self._database = self._database, None
        if database is not None:
            await self._disk(database.close)
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _take(self, name: str, in_flight_max: int) -> tuple[int, int, bytes] | float | None:
        """The next delivery (sequence, attempt, body), or seconds until one is due, or None when nothing waits."""
        database, now = self._open, self._clock.wall_ms()
        busy = self._in_flight.setdefault(name, set())
        if len(busy) >= in_flight_max:
            self._crowded.add(name)
            return None

        def work() -> tuple[int, int, bytes] | float | None:
            with sqlite_errors(f"read for subscription {name}"):
                return _take(database, name, frozenset(busy), now)

        taken = await self._disk(work)
        if isinstance(taken, tuple):
            busy.add(taken[0])
        return taken

    async def _put_back(self, name: str, sequence: int, due_ms: int | None) -> None:
        """Done (``due_ms`` None) or again at ``due_ms``."""
        database = self._open

        def work() -> None:
            with sqlite_errors(f"settle {sequence} of {name}"), _unsynced(database):
                if due_ms is None:
                    database.execute("DELETE FROM pending WHERE name = ? AND sequence = ?", (name, sequence))
                else:
                    database.execute(
                        "UPDATE pending SET due_ms = ? WHERE name = ? AND sequence = ?", (due_ms, name, sequence)
                    )

        settled = False
        try:
            await self._disk(work)
            settled = due_ms is None
        finally:  # also when the disk refused: then it is delivered again, instead of being in flight for ever
            self._in_flight[name].discard(sequence)
            # An acknowledgement is news only to a reader that had too much in flight.
            if not settled or name in self._crowded:
                self._crowded.discard(name)
                self._notify()

    async def _prune(self) -> None:
        database, horizon = self._open, self._clock.wall_ms() - int(OPLOG_KEPT.total_seconds() * 1000)

        def work() -> None:
            with sqlite_errors("prune the event log"), _unsynced(database):
                # The newest envelope of a source is its relay's cursor and stays.
                database.execute(
                    "DELETE FROM envelopes WHERE at_ms < ?"
                    " AND sequence < (SELECT coalesce(min(next), 0) FROM subscriptions)"
                    " AND sequence NOT IN (SELECT sequence FROM pending)"
                    " AND sequence NOT IN (SELECT max(sequence) FROM envelopes GROUP BY source)",
                    (horizon,),
                )

        await self._disk(work)


class SqliteSubscription:
    """A reader; what it has in hand when it is closed goes to the next reader, with the next attempt number."""

    def __init__(self, log: SqliteEventLog, name: str, in_flight_max: int) -> None:
        self._log, self._name, self._in_flight_max = log, name, in_flight_max
        self._mine: set[int] = set()
        self._closed = False
        self._choosing = asyncio.Lock()

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """See ``DurableSubscription``."""
        while not self._closed:
            changed = self._log._changed  # noqa: SLF001 - one module, two classes
            async with self._choosing:
                taken = await self._log._take(self._name, self._in_flight_max)  # noqa: SLF001
            if isinstance(taken, tuple):
                sequence, attempt, body = taken
                self._mine.add(sequence)
                yield SqliteDelivery(self, read_envelope(body), sequence, attempt)
            else:
                await self._wait(changed, taken)

    async def _wait(self, changed: asyncio.Event, seconds: float | None) -> None:
        if seconds is None:
            await changed.wait()
            return
        waits: set[asyncio.Future[object]] = {
            asyncio.ensure_future(changed.wait()),
            asyncio.ensure_future(self._log._clock.sleep(seconds)),  # noqa: SLF001
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def settle(self, sequence: int, due_ms: int | None) -> None:
        """Done (None), or again at a time; a second call for the same hand-over does nothing."""
        if sequence in self._mine:
            self._mine.discard(sequence)
            await self._log._put_back(self._name, sequence, due_ms)  # noqa: SLF001

    async def aclose(self) -> None:
        """See ``DurableSubscription``."""
        self._closed = True
        self._log._in_flight.get(self._name, set()).difference_update(self._mine)  # noqa: SLF001
        self._mine.clear()
        self._log._notify()  # noqa: SLF001


class SqliteDelivery:
    """One hand-over."""

    def __init__(self, subscription: SqliteSubscription, envelope: Envelope, sequence: int, attempt: int) -> None:
        self._subscription = subscription
        self.envelope, self.sequence, self.attempt = envelope, sequence, attempt

    async def ack(self) -> None:
        """See ``Delivery``."""
        await self._subscription.settle(self.sequence, None)

    async def nak(self, delay_s: float) -> None:
        """See ``Delivery``."""
        due = self._subscription._log._clock.wall_ms() + int(delay_s * 1000)  # noqa: SLF001
        await self._subscription.settle(self.sequence, due)

    async def in_progress(self) -> None:
        """Nothing to do: in one process a reader that lives keeps what it has in hand."""


@contextlib.contextmanager
def _unsynced(database: apsw.Connection) -> Iterator[None]:
    """A transaction that may be lost with the machine (never with the process): positions only."""
    database.execute("PRAGMA synchronous = NORMAL")
    try:
        with database:
            yield
    finally:
        database.execute("PRAGMA synchronous = FULL")


def _forget(database: apsw.Connection, name: str) -> None:
    database.execute("DELETE FROM subscriptions WHERE name = ?", (name,))
    database.execute("DELETE FROM pending WHERE name = ?", (name,))


def _newest(database: apsw.Connection) -> int:
    return int(rows(database, "SELECT coalesce(max(sequence), 0) FROM envelopes")[0][0])


def _last(database: apsw.Connection, source: str) -> LastEnvelope:
    found = rows(
        database,
        "SELECT sequence, last_lsn FROM envelopes WHERE source = ? ORDER BY sequence DESC LIMIT 1",
        (source,),
    )
    return LastEnvelope(*found[0]) if found else LastEnvelope(0, 0)


def _take(
    database: apsw.Connection, name: str, busy: frozenset[int], now: int
) -> tuple[int, int, bytes] | float | None:
    """Redeliveries first, so that an old envelope is not starved by new ones."""
    wait: float | None = None
    for sequence, attempt, due_ms in rows(
        database, "SELECT sequence, attempt, due_ms FROM pending WHERE name = ? ORDER BY sequence", (name,)
    ):
        if sequence in busy:
            continue
        if due_ms > now:
            wait = min(wait if wait is not None else 1e9, (due_ms - now) / 1000)
            continue
        ((body,),) = rows(database, "SELECT body FROM envelopes WHERE sequence = ?", (sequence,))
        with _unsynced(database):
            database.execute(
                "UPDATE pending SET attempt = ?, due_ms = 0 WHERE name = ? AND sequence = ?",
                (attempt + 1, name, sequence),
            )
        return sequence, attempt + 1, body
    found = rows(
        database,
        "SELECT sequence, body FROM envelopes"
        " WHERE sequence >= (SELECT next FROM subscriptions WHERE name = ?) ORDER BY sequence LIMIT 1",
        (name,),
    )
    if not found:
        return wait
    ((sequence, body),) = found
    with _unsynced(database):
        database.execute("INSERT INTO pending VALUES (?, ?, 1, 0)", (name, sequence))
        database.execute("UPDATE subscriptions SET next = ? WHERE name = ?", (sequence + 1, name))
    return sequence, 1, body


def _states(database: apsw.Connection, now: int) -> list[SubscriptionState]:
    found = []
    for name, first in rows(database, "SELECT name, next FROM subscriptions ORDER BY name"):
        ((backlog, oldest),) = rows(
            database,
            "SELECT count(*), min(at_ms) FROM envelopes WHERE sequence >= ?"
            " OR sequence IN (SELECT sequence FROM pending WHERE name = ?)",
            (first, name),
        )
        age = max(0, now - oldest) if backlog else 0
        found.append(SubscriptionState(name=name, backlog=backlog, oldest_ms=age))
    return found
