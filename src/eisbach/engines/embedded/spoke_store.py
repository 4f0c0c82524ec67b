"""The spoke host's store: one SQLite file, settlements in group commits.

Promises: ``ports.spoke_store``. Every commit is fsynced; settlements that arrive while one is being written share the
next. May not know: hub, handlers.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import apsw
import msgspec

from eisbach.engines.embedded.dead_rows import HISTORY, SELECT_DEAD, bury, dead_letter, found_dead
from eisbach.engines.embedded.disk import Disk, inline, rows, sqlite_errors
from eisbach.engines.embedded.inbox_rows import mark_group
from eisbach.engines.embedded.log_beside import LogBeside
from eisbach.engines.embedded.place import file_identity
from eisbach.engines.embedded.presence import Presence
from eisbach.engines.embedded.settled_rows import hold, send, settle
from eisbach.engines.embedded.spoke_doubt import asked_anew, doubt, note_doubt
from eisbach.kernel.errors import EisbachError, FileDamaged, Invalid, Unavailable
from eisbach.kernel.limits import GROUP_COMMIT_MAX
from eisbach.ports.spoke_store import (
    Command,
    DeadLetter,
    Held,
    InboxKey,
    InboxRow,
    NewCommand,
    Settlement,
    WaitingClaim,
)

__all__ = ["SqliteSpokeStore"]

T = TypeVar("T")

_TO_DO: Final = (
    "stop its process (eisbach fault down), keep the file, put back a copy or what can be recovered, or start empty,"
    " which loses retries, dead letters, unsent commands and spokes' state; then heal it (docs/backup.md, A damaged"
    " file)"
)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS inbox(
  spoke TEXT, slot TEXT, origin TEXT, epoch INTEGER, type TEXT, watermark INTEGER NOT NULL,
  PRIMARY KEY(spoke, slot, origin, epoch, type)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS above(
  spoke TEXT, slot TEXT, origin TEXT, epoch INTEGER, type TEXT, seq INTEGER, prev INTEGER NOT NULL,
  PRIMARY KEY(spoke, slot, origin, epoch, type, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held(
  place INTEGER PRIMARY KEY AUTOINCREMENT, spoke TEXT NOT NULL, event_id TEXT NOT NULL, subject TEXT NOT NULL,
  why TEXT NOT NULL, attempt INTEGER NOT NULL, due_ms INTEGER NOT NULL, event BLOB NOT NULL, history BLOB NOT NULL,
  UNIQUE(spoke, event_id)) STRICT;
CREATE TABLE IF NOT EXISTS state(
  spoke TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY(spoke, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commands(
  number INTEGER PRIMARY KEY AUTOINCREMENT, spoke TEXT NOT NULL, event_id TEXT NOT NULL, subject TEXT NOT NULL,
  path TEXT NOT NULL, body BLOB NOT NULL, key TEXT NOT NULL, attempt INTEGER NOT NULL, due_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS commands_by_lane ON commands(spoke, subject, number);
CREATE TABLE IF NOT EXISTS dead(
  number INTEGER PRIMARY KEY AUTOINCREMENT, spoke TEXT NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL,
  subject TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL, history BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS dropped(
  number INTEGER PRIMARY KEY, spoke TEXT NOT NULL, event_id TEXT NOT NULL, why TEXT NOT NULL,
  dropped_ms INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL,
  history BLOB NOT NULL) STRICT;
PRAGMA user_version = 1;
"""


class SqliteSpokeStore:
    """One a spoke host; this object is the file's only writer."""

    def __init__(self, path: Path, *, disk: Disk = inline, vfs: str | None = None) -> None:
        """The file is opened by ``open``."""
        self._path, self._disk, self._vfs = path, disk, vfs
        self._database: apsw.Connection | None = None
        self._waiting: list[tuple[Settlement, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._beside = LogBeside(path, real=vfs is None, place=file_identity, file_too=True)
        self.lost = ""
        """Why the file may be an older copy of itself, as this opening found; empty: it is not."""
        self.was_empty = False
        """Whether this opening made the tables: there was no file, or an empty one."""
        self._presence: Presence | None = None
        self._damage = ""
        """Once the file was found damaged: every later call says so, and none touches the file."""
        self.commits = self.unwritten = 0
        """Groups of settlements that were written, and that the disk refused."""
        self._stale: set[str] = set()
        """Spokes of which a settlement failed: their marks count it as settled, so none is taken until ``inbox``."""

    async def open(self) -> "SqliteSpokeStore":
        """Open or create the file.

        Raises:
            Unavailable: the disk refused.
            FileDamaged: the file is damaged; it was left as it is.
        """

        def work() -> apsw.Connection:
            with sqlite_errors(f"open spoke store {self._path}", damaged=_TO_DO):
                self._beside.look()
                database = apsw.Connection(str(self._path), vfs=self._vfs)
                database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
                self.was_empty = not rows(database, "SELECT 1 FROM sqlite_schema WHERE name = 'inbox'")
                database.execute(_SCHEMA)
                self.lost = "" if self.was_empty else self._beside.lost
                if self.lost:
                    note_doubt(database, self.lost)
                self._beside.believed()
                self._presence = Presence(self._path) if self._vfs is None else None
                return database
            raise AssertionError("unreachable")

        try:
            self._database = await self._disk(work)
        except OSError as error:
            raise Unavailable(f"open spoke store {self._path}: {error}") from error
        return self

    async def settle(self, settlement: Settlement) -> None:
        """See ``SpokeStore``."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((settlement, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="group commit of the spoke store")
        await written

    async def inbox(self, spoke: str) -> Mapping[InboxKey, InboxRow]:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> dict[InboxKey, InboxRow]:
            chains = {
                InboxKey(*key): (watermark, dict[int, int]())
                for *key, watermark in rows(
                    database, "SELECT slot, origin, epoch, type, watermark FROM inbox WHERE spoke = ?", (spoke,)
                )
            }
            for *key, seq, prev in rows(
                database, "SELECT slot, origin, epoch, type, seq, prev FROM above WHERE spoke = ?", (spoke,)
            ):
                chains[InboxKey(*key)][1][seq] = prev
            return {key: InboxRow(*row) for key, row in chains.items()}

        # A reader that starts again must not overlook what its former self has asked for and not waited for.
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        self._stale.discard(spoke)
        return await self._run(f"read the inbox of {spoke}", work)

    async def held(self, spoke: str) -> Sequence[Held]:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> list[Held]:
            return [
                Held(
                    place=place, event_id=event_id, subject=subject, why=why, attempt=attempt, due_ms=due_ms,
                    event=event, history=HISTORY.decode(history),
                )
                for place, event_id, subject, why, attempt, due_ms, event, history in rows(
                    database,
                    "SELECT place, event_id, subject, why, attempt, due_ms, event, history FROM held"
                    " WHERE spoke = ? ORDER BY place",
                    (spoke,),
                )
            ]  # fmt: skip

        return await self._run(f"read the held events of {spoke}", work)

    async def get(self, spoke: str, key: str) -> bytes | None:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> bytes | None:
            found = rows(database, "SELECT value FROM state WHERE spoke = ? AND key = ?", (spoke, key))
            return found[0][0] if found else None

        return await self._run(f"read state {key!r} of {spoke}", work)

    async def doubt(self, spoke: str) -> str:
        """See ``SpokeStore``."""
        return await self._run(f"read whether {spoke} is behind", lambda database: doubt(database, spoke))

    async def asked_anew(self, spoke: str) -> None:
        """See ``SpokeStore``."""
        await self._run(f"note what {spoke} asked for", lambda database: asked_anew(database, spoke))

    async def commands(self, *, limit: int) -> Sequence[Command]:
        """See ``SpokeStore``; soonest due first."""

        def work(database: apsw.Connection) -> list[Command]:
            return [
                Command(
                    number=number, spoke=spoke, event_id=event_id, subject=subject, path=path, body=body, key=key,
                    attempt=attempt, due_ms=due_ms,
                )
                for number, spoke, event_id, subject, path, body, key, attempt, due_ms in rows(
                    database,
                    "SELECT number, spoke, event_id, subject, path, body, key, attempt, due_ms FROM commands"
                    " WHERE number IN (SELECT min(number) FROM commands GROUP BY spoke, subject)"
                    " ORDER BY due_ms, number LIMIT ?",
                    (limit,),
                )
            ]  # fmt: skip

        return await self._run("read the commands", work)

    async def command_answered(self, number: int, *, dead: DeadLetter | None = None) -> None:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> None:
            with database:
                database.execute("DELETE FROM commands WHERE number = ?", (number,))
                if dead is not None:
                    bury(database, dead)

        await self._run(f"forget command {number}", work)

    async def command_postponed(self, number: int, *, attempt: int, due_ms: int) -> None:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> None:
            with database:
                database.execute(
                    "UPDATE commands SET attempt = ?, due_ms = ? WHERE number = ?", (attempt, due_ms, number)
                )

        await self._run(f"postpone command {number}", work)

    async def dead_letters(self, *, spoke: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> list[DeadLetter]:
            return [
                dead_letter(row)
                for row in rows(
                    database,
                    f"{SELECT_DEAD} WHERE ?1 IS NULL OR spoke = ?1 ORDER BY number DESC LIMIT ?2",
                    (spoke, limit),
                )
            ]

        return await self._run("read the dead letters", work)

    async def dead_letter(self, number: int) -> DeadLetter:
        """See ``SpokeStore``."""
        return await self._run(f"read dead letter {number}", lambda database: found_dead(database, number))

    async def drop(self, number: int, *, reason: str, now_ms: int) -> DeadLetter:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> DeadLetter:
            with database:
                letter = found_dead(database, number)
                database.execute("DELETE FROM dead WHERE number = ?", (number,))
                database.execute(
                    "INSERT INTO dropped VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        number, letter.spoke, letter.event_id, reason, now_ms, letter.kind, letter.subject,
                        letter.reason, letter.body, msgspec.json.encode(letter.history),
                    ),
                )  # fmt: skip
            return letter

        return await self._run(f"drop dead letter {number}", work)

    async def redrive(self, number: int, *, now_ms: int) -> DeadLetter:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> DeadLetter:
            with database:
                letter = found_dead(database, number)
                if letter.kind == "envelope":
                    raise Invalid(
                        f"dead letter {number} cannot be read, so not be handled again; drop it with a reason"
                    )
                database.execute("DELETE FROM dead WHERE number = ?", (number,))
                if letter.kind == "event":
                    hold(
                        database,
                        letter.spoke,
                        Held(
                            event_id=letter.event_id, subject=letter.subject, why="retry", attempt=0, due_ms=now_ms,
                            event=letter.body, history=letter.history,
                        ),
                    )  # fmt: skip
                else:
                    command = msgspec.json.decode(letter.body, type=_CommandBody)
                    again = NewCommand(command.path, bytes(command.body), command.key)
                    send(database, letter.spoke, letter.event_id, letter.subject, again)
            return letter

        return await self._run(f"redrive dead letter {number}", work)

    async def claims(self) -> Collection[WaitingClaim]:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> set[WaitingClaim]:
            # As text: SQLite would take a BLOB for its own binary form of JSON.
            reads = [
                f"SELECT json_extract(text, '$.origin'), json_extract(text, '$.dataref') FROM"  # noqa: S608
                f" (SELECT CAST({column} AS TEXT) AS text FROM {table} WHERE {which})"
                for table, column, which in (("held", "event", "true"), ("dead", "body", "kind = 'event'"))
            ]
            return {WaitingClaim(origin, found) for sql in reads for origin, found in rows(database, sql) if found}

        return await self._run("read which claims are asked for", work)

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """See ``SpokeStore``."""

        def work(database: apsw.Connection) -> dict[str, dict[str, int]]:
            found: dict[str, dict[str, int]] = {}
            for table, word in (("held", "held"), ("commands", "commands"), ("dead", "dead_letters")):
                for spoke, count in rows(database, f"SELECT spoke, count(*) FROM {table} GROUP BY spoke"):  # noqa: S608
                    found.setdefault(spoke, {"held": 0, "commands": 0, "dead_letters": 0})[word] = count
            return found

        return await self._run("count", work)

    async def try_a_write(self) -> None:
        """A page as it is; Unavailable: the disk refuses."""

        def work(database: apsw.Connection) -> None:
            with database:
                database.execute("PRAGMA user_version = 1")

        await self._run("write", work)

    async def aclose(self) -> None:
        """See ``SpokeStore``."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        database, self._database = self._database, None
        if database is not None:
            await self._disk(database.close)
            await self._disk(self._beside.closed)

    async def _run(self, doing: str, work: Callable[[apsw.Connection], T]) -> T:
        database = self._database
        if database is None:
            raise Unavailable(f"{doing}: spoke store {self._path} is closed; open it again")

        def translated() -> T:
            if self._damage:
                raise FileDamaged(self._damage)
            with sqlite_errors(f"{doing} in {self._path}", damaged=_TO_DO):
                done = work(database)
            if self._presence is not None:
                self._presence.demand("the spokes' host")
            return done

        try:
            return await self._disk(translated)
        except FileDamaged as error:
            self._damage = str(error)
            raise

    async def _write(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[:GROUP_COMMIT_MAX], self._waiting[GROUP_COMMIT_MAX:]
            stale = [one[0].mark is not None and one[0].spoke in self._stale for one in asked]
            group = [one for one, refused in zip(asked, stale, strict=True) if not refused]
            lost = [one for one, refused in zip(asked, stale, strict=True) if refused]
            _refuse(lost, Unavailable("an earlier settlement failed; read the inbox again"))

            def work(database: apsw.Connection, group: Sequence[tuple[Settlement, object]] = group) -> None:
                with database:
                    mark_group(database, [settlement for settlement, _ in group])
                    for settlement, _ in group:
                        settle(database, settlement)

            try:
                await self._run(f"settle {len(group)} events", work)
            except (Unavailable, FileDamaged) as error:
                self.unwritten += 1
                self._stale |= {settlement.spoke for settlement, _ in group if settlement.mark is not None}
                _refuse(group, error)
            else:
                self.commits += 1
                for _, written in group:
                    if not written.done():
                        written.set_result(None)


def _refuse(group: Sequence[tuple[Settlement, "asyncio.Future[None]"]], why: EisbachError) -> None:
    for _, written in group:
        if not written.done():
            written.set_exception(type(why)(str(why)))


class _CommandBody(msgspec.Struct):
    path: str
    body: msgspec.Raw
    key: str
