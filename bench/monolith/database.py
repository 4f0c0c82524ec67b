"""The monolith's statements: one round trip each, prepared once per connection, committed on their own.

A write and its event are one statement (a data-modifying CTE), so each call is one transaction without BEGIN and
COMMIT on the wire. ``Database`` writes at once; ``BatchingDatabase`` hands progress and heartbeats to one queue, whose
writer commits all that wait in one statement (group commit), as our cells do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg

from eisbach.domain.progress import Position
from eisbach.kernel.errors import Overloaded
from eisbach.kernel.limits import GROUP_COMMIT_MAX, WRITER_QUEUE_MAX

__all__ = ["BatchingDatabase", "Beat", "Beaten", "Database", "Progress", "open_database"]

POOL: Final = 12
"""Connections for writes that wait for the disk: six a core; 4 and 24 cost more CPU a write on this machine."""
PROGRESS: Final = (
    "WITH p AS (INSERT INTO progress(account, profile, title, pos_s, dur_s, updated_ms, done) VALUES($1,$2,$3,$4,$5,$6,$7)"
    " ON CONFLICT(account, profile, title) DO UPDATE SET pos_s = excluded.pos_s, dur_s = excluded.dur_s,"
    " updated_ms = excluded.updated_ms, done = excluded.done) INSERT INTO outbox(event) VALUES($8)"
)
PROGRESS_MANY: Final = (
    "WITH p AS (INSERT INTO progress(account, profile, title, pos_s, dur_s, updated_ms, done)"
    " SELECT * FROM unnest($1::text[],$2::text[],$3::text[],$4::float8[],$5::float8[],$6::bigint[],$7::boolean[])"
    " ON CONFLICT(account, profile, title) DO UPDATE SET pos_s = excluded.pos_s, dur_s = excluded.dur_s,"
    " updated_ms = excluded.updated_ms, done = excluded.done) INSERT INTO outbox(event) SELECT unnest($8::bytea[])"
)
BEAT: Final = (
    "WITH old AS MATERIALIZED (SELECT sid, state, written_ms, ended_ms FROM sessions WHERE sid = $1)"
    " UPDATE sessions s SET seq = $2, state = $3, expires_ms = $4 FROM old"
    " WHERE s.sid = old.sid AND s.seq < $2 AND s.ended_ms IS NULL RETURNING s.sid, old.state, old.written_ms"
)
BEAT_MANY: Final = (
    "WITH new AS (SELECT * FROM unnest($1::text[],$2::bigint[],$3::text[],$4::bigint[]) AS n(sid, seq, state, expires_ms)),"
    " old AS MATERIALIZED (SELECT s.sid, s.state, s.written_ms FROM sessions s JOIN new USING(sid))"
    " UPDATE sessions s SET seq = new.seq, state = new.state, expires_ms = new.expires_ms FROM new JOIN old USING(sid)"
    " WHERE s.sid = new.sid AND s.seq < new.seq AND s.ended_ms IS NULL RETURNING s.sid, old.state, old.written_ms"
)
FACTS: Final = (
    "SELECT a.tier, a.streams_version, p.pos_s, p.dur_s, p.updated_ms, p.done, s.sid, s.device, s.platform, s.asset,"
    " s.started_ms, s.expires_ms FROM accounts a"
    " LEFT JOIN progress p ON p.account = a.id AND p.profile = $2 AND p.title = $3"
    " LEFT JOIN sessions s ON s.account = a.id AND s.ended_ms IS NULL WHERE a.id = $1"
)
START: Final = (
    "WITH a AS (UPDATE accounts SET streams_version = streams_version + 1 WHERE id = $2 AND streams_version = $3"
    " RETURNING id), gone AS (UPDATE sessions SET ended_ms = $4 FROM a WHERE sid = ANY($5::text[])),"
    " s AS (INSERT INTO sessions(sid, account, device, platform, asset, started_ms, start_pos_s, token_expiry,"
    " expires_ms, written_ms) SELECT $1, $2, $6, $7, $8, $4, $9, $10, $11, $4 FROM a ON CONFLICT(sid) DO NOTHING"
    " RETURNING sid), o AS (INSERT INTO outbox(event) SELECT e FROM s, unnest($12::bytea[]) AS e)"
    " SELECT (SELECT count(*) FROM a) AS decided, (SELECT count(*) FROM s) AS begun"
)
SIGN_IN: Final = (
    "WITH a AS (INSERT INTO accounts(id, market, age_max, created_ms) VALUES($1,$2,$3,$4) ON CONFLICT DO NOTHING"
    " RETURNING id) INSERT INTO outbox(event) SELECT $5 FROM a"
)
STOP: Final = (
    "WITH s AS (UPDATE sessions SET ended_ms = $2 WHERE sid = $1 AND ended_ms IS NULL RETURNING sid)"
    " INSERT INTO outbox(event) SELECT $3 FROM s"
)


class Progress(NamedTuple):
    """A position to write, and its event."""

    account: str
    profile: str
    position: Position
    event: bytes

    def row(self) -> tuple[Any, ...]:
        """The parameters of ``PROGRESS``."""
        p = self.position
        return self.account, self.profile, p.title, p.pos_s, p.dur_s, p.updated_ms, p.done, self.event


class Beat(NamedTuple):
    """A heartbeat."""

    sid: str
    seq: int
    state: str
    expires_ms: int


class Beaten(NamedTuple):
    """What the session was before it; None in its place: a repeat, an ended or an unknown session."""

    state: str
    written_ms: int


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        """No session state is ever set, so nothing is reset: saves a round trip a call."""
        return ""


class Database:
    """One a process."""

    def __init__(self, pool: asyncpg.Pool, lazy: asyncpg.Pool, outbox_changed: asyncio.Event) -> None:
        """``lazy``: connections that do not wait for the disk, for what may be lost in a crash."""
        self.pool, self._lazy, self._changed = pool, lazy, outbox_changed

    async def progress(self, progress: Progress) -> None:
        """Durable when it returns."""
        await self.pool.execute(PROGRESS, *progress.row())
        self._changed.set()

    async def beat(self, beat: Beat) -> Beaten | None:
        """Not waited for on disk: a heartbeat lost in a crash is replaced by the next, 30 s later."""
        found = await self._lazy.fetchrow(BEAT, *beat)
        return Beaten(found["state"], found["written_ms"]) if found else None

    async def written(self, sid: str, at_ms: int) -> None:
        """Note when a session's position last went to disk."""
        await self._lazy.execute("UPDATE sessions SET written_ms = $2 WHERE sid = $1", sid, at_ms)

    async def ended(self, sid: str) -> bool:
        """Whether the session was stopped, here or by a take-over."""
        return bool(await self.pool.fetchval("SELECT true FROM sessions WHERE sid = $1 AND ended_ms IS NOT NULL", sid))

    async def facts(self, account: str, profile: str, title: str) -> Sequence[asyncpg.Record]:
        """What a start decides by: account, position, a row a stream that plays; empty: no such account."""
        return await self.pool.fetch(FACTS, account, profile, title)

    async def start(self, *values: Any) -> tuple[bool, bool]:
        """(the decision still held, the session is new); the parameters of ``START``."""
        found = await self.pool.fetchrow(START, *values)
        self._changed.set()
        return bool(found["decided"]), bool(found["begun"])

    async def write(self, statement: str, *values: Any) -> None:
        """Any other write that has an event."""
        await self.pool.execute(statement, *values)
        self._changed.set()


class _Batches:
    """One queue and its one writer: everything that waits goes into one statement, one commit."""

    def __init__(self, write: Callable[[list[Any]], Awaitable[list[Any]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._writer: asyncio.Task[None] | None = None

    def put(self, work: Any) -> "asyncio.Future[Any]":
        if len(self._waiting) >= WRITER_QUEUE_MAX:
            raise Overloaded(f"{len(self._waiting)} writes wait; try again later")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._drain())
        return future

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:GROUP_COMMIT_MAX], self._waiting[GROUP_COMMIT_MAX:]
            try:
                results = await self._write([work for work, _ in batch])
            except Exception as error:  # noqa: BLE001 - told to every caller of the batch
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        self._writer = None


class BatchingDatabase(Database):
    """The same with micro-batched progress and heartbeats."""

    def __init__(self, pool: asyncpg.Pool, lazy: asyncpg.Pool, outbox_changed: asyncio.Event) -> None:
        super().__init__(pool, lazy, outbox_changed)
        self._progress, self._beats = _Batches(self._write_progress), _Batches(self._write_beats)

    async def progress(self, progress: Progress) -> None:
        await self._progress.put(progress)

    async def beat(self, beat: Beat) -> Beaten | None:
        return await self._beats.put(beat)

    async def _write_progress(self, batch: list[Progress]) -> list[None]:
        rows = [progress.row() for progress in batch]
        # One statement may touch a row once: of several writes of a position the last counts, every event is kept.
        last = list({row[:3]: row for row in rows}.values())
        columns = [list(column) for column in zip(*last, strict=True)][:7]
        await self.pool.execute(PROGRESS_MANY, *columns, [row[7] for row in rows])
        self._changed.set()
        return [None] * len(batch)

    async def _write_beats(self, batch: list[Beat]) -> list[Beaten | None]:
        last = {beat.sid: beat for beat in batch}
        columns = [list(column) for column in zip(*last.values(), strict=True)]
        found = {row["sid"]: row for row in await self._lazy.fetch(BEAT_MANY, *columns)}
        return [Beaten(row["state"], row["written_ms"]) if (row := found.get(b.sid)) else None for b in batch]


async def open_database(dsn: str, *, batched: bool, outbox_changed: asyncio.Event) -> Database:
    """Connect, and make the tables when there are none; close ``pool`` at the end by ``close_database``."""
    more: dict[str, Any] = {"connection_class": _Connection, "max_inactive_connection_lifetime": 0}
    pool = await asyncpg.create_pool(dsn, min_size=2 if batched else POOL, max_size=POOL, **more)
    lazy = await asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings={"synchronous_commit": "off"}, **more)
    if await pool.fetchval("SELECT to_regclass('outbox')") is None:
        await pool.execute(Path(__file__).with_name("schema.sql").read_text())
    return (BatchingDatabase if batched else Database)(pool, lazy, outbox_changed)


async def close_database(database: Database) -> None:
    """End every connection."""
    await database.pool.close()
    await database._lazy.close()  # noqa: SLF001 - one module
