"""The store file's format: numbered migrations, each applied in one transaction of its own.

Promises: a file of any earlier format opens and is brought up to date, whole or not at all; a newer one, or a
file that is no store, is refused untouched. ``PRAGMA user_version`` is the number of migrations a file has seen.
Migrations are never edited once released: ``tests/golden/store-format-*.sql`` is a file of each format.
"""

from typing import Final

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.kernel.errors import Invalid

__all__ = ["FORMAT", "MIGRATIONS", "claim", "migrate"]

_V1: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE slots(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE leases(
  slot INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, state TEXT NOT NULL, seq INTEGER NOT NULL,
  move INTEGER NOT NULL, owner TEXT) STRICT;
CREATE TABLE vectors(
  slot INTEGER NOT NULL, origin TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY(slot, origin)) STRICT, WITHOUT ROWID;
CREATE TABLE items(
  slot INTEGER NOT NULL, pk TEXT NOT NULL, sk TEXT NOT NULL, value BLOB,
  hlc INTEGER NOT NULL, origin TEXT NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY(slot, pk, sk)) STRICT, WITHOUT ROWID;
CREATE TABLE oplog(
  lsn INTEGER PRIMARY KEY AUTOINCREMENT, slot INTEGER NOT NULL, origin TEXT NOT NULL,
  epoch INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX oplog_by_slot ON oplog(slot, origin, epoch, seq);
CREATE TABLE event_prev(
  slot INTEGER NOT NULL, epoch INTEGER NOT NULL, type TEXT NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY(slot, epoch, type)) STRICT, WITHOUT ROWID;
CREATE TABLE keys(
  slot INTEGER NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL, answer BLOB NOT NULL,
  epoch INTEGER NOT NULL, seq INTEGER NOT NULL, hlc INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  PRIMARY KEY(slot, scope, key)) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_expiry ON keys(expires_ms);
CREATE TABLE conflicts(
  id INTEGER PRIMARY KEY AUTOINCREMENT, slot INTEGER NOT NULL, pk TEXT NOT NULL, sk TEXT NOT NULL,
  hlc INTEGER NOT NULL, origin TEXT NOT NULL, seq INTEGER NOT NULL, value BLOB,
  winner_hlc INTEGER NOT NULL, winner_origin TEXT NOT NULL, winner_seq INTEGER NOT NULL,
  at_ms INTEGER NOT NULL) STRICT;
"""

# Format 2: ops from the future wait in the log, and an item knows what it replaced (that is how a conflict is told).
_V2: Final = """
CREATE TABLE held(slot INTEGER NOT NULL, lsn INTEGER NOT NULL, PRIMARY KEY(slot, lsn)) STRICT, WITHOUT ROWID;
ALTER TABLE items ADD COLUMN base_hlc INTEGER NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN base_origin TEXT NOT NULL DEFAULT '';
"""

# Format 3: one row for what every commit moves (AUTOINCREMENT cost a second tree a write), which also fences: who
# opened the file last writes, nobody else. Floors say how far a log was pruned.
_V3: Final = """
CREATE TABLE head(
  one INTEGER PRIMARY KEY CHECK(one = 1), opened INTEGER NOT NULL, hlc INTEGER NOT NULL,
  last_lsn INTEGER NOT NULL) STRICT;
INSERT INTO head VALUES(
  1, 0, coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'hlc'), 0),
  coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'oplog'), 0));
DELETE FROM meta WHERE key = 'hlc';
CREATE TABLE ops(
  lsn INTEGER PRIMARY KEY, slot INTEGER NOT NULL, origin TEXT NOT NULL,
  epoch INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
INSERT INTO ops SELECT lsn, slot, origin, epoch, seq, body FROM oplog ORDER BY lsn;
DROP TABLE oplog;
CREATE UNIQUE INDEX ops_by_id ON ops(slot, origin, epoch, seq);
CREATE TABLE floors(
  slot INTEGER NOT NULL, origin TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY(slot, origin)) STRICT, WITHOUT ROWID;
ALTER TABLE held ADD COLUMN hlc INTEGER NOT NULL DEFAULT 0;
"""

# Format 4: lease rows, vectors and last events are saved now and then; the log beyond ``rows_lsn`` is replayed.
_V4: Final = """
ALTER TABLE head ADD COLUMN rows_lsn INTEGER NOT NULL DEFAULT 0;
UPDATE head SET rows_lsn = last_lsn;
"""

# Format 5: erasures. Marks are found at start without reading every item; ``scrubs`` says how far the log was searched
# for an erased account's ops, so that a crash does not forget an erasure half done.
_V5: Final = """
CREATE INDEX items_erased ON items(slot, pk) WHERE sk = 'erased';
CREATE TABLE scrubs(
  slot INTEGER NOT NULL, pk TEXT NOT NULL, lsn INTEGER NOT NULL, until INTEGER NOT NULL,
  PRIMARY KEY(slot, pk)) STRICT, WITHOUT ROWID;
"""

# Format 6: of each type only the last event, of whatever epoch: the first one of the next epoch names it (ADR 0016).
_V6: Final = """
CREATE TABLE last_events(
  slot INTEGER NOT NULL, type TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY(slot, type)) STRICT, WITHOUT ROWID;
INSERT OR REPLACE INTO last_events SELECT slot, type, epoch, seq FROM event_prev ORDER BY epoch;
DROP TABLE event_prev;
"""

MIGRATIONS: Final = (_V1, _V2, _V3, _V4, _V5, _V6)
FORMAT: Final = len(MIGRATIONS)


def migrate(database: apsw.Connection, *, name: str) -> int:
    """Bring a store file to ``FORMAT``; the format it had, 0 for a new file.

    Raises:
        Invalid: the file is of a newer format (run the version that wrote it), or is some other database.
    """
    found = int(database.pragma("user_version"))
    if found > FORMAT:
        raise Invalid(f"store {name} has format {found}, this version knows up to {FORMAT}; run a newer eisbach")
    tables = {table for (table,) in rows(database, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if tables and (found == 0 or "items" not in tables):
        raise Invalid(f"{name} is a database, but not a store (tables {sorted(tables)[:5]}); give another path")
    for number in range(found, FORMAT):
        with database:  # one transaction: a crash leaves the old format whole
            database.execute(MIGRATIONS[number])
            database.execute(f"PRAGMA user_version = {number + 1}")
            if number == 0:  # a new file, under a name that a log may know: its numbers are not the log's
                database.execute("INSERT INTO meta VALUES('unacknowledged', '')")
    return found


def claim(database: apsw.Connection, *, region: str, name: str) -> int:
    """Become the file's one writer: the number under which this opening may write, until the next one.

    Raises:
        Invalid: the file is of another region.
    """
    with database:
        database.execute("INSERT OR IGNORE INTO meta VALUES('region', ?)", (region,))
        found = rows(database, "SELECT value FROM meta WHERE key = 'region'")[0][0]
        if found != region:
            raise Invalid(f"store {name} belongs to region {found!r}, not {region!r}; a store never changes region")
        return int(rows(database, "UPDATE head SET opened = opened + 1 RETURNING opened")[0][0])
    raise AssertionError("unreachable: the transaction returns or raises")
