"""The store file's format: numbered migrations, applied in order inside one transaction each.

Promises: a file of any earlier format opens and is brought up to date; a newer one is refused untouched.
``PRAGMA user_version`` is the number of migrations a file has seen.
"""

from typing import Final

import apsw

from eisbach.kernel.errors import Invalid

__all__ = ["FORMAT", "MIGRATIONS", "migrate"]

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

MIGRATIONS: Final = (_V1, _V2)
FORMAT: Final = len(MIGRATIONS)


def migrate(database: apsw.Connection, *, name: str) -> int:
    """Bring a store file to ``FORMAT``; the format it had.

    Raises:
        Invalid: the file is of a newer format; run the version that wrote it.
    """
    found = int(database.pragma("user_version"))
    if found > FORMAT:
        raise Invalid(f"store {name} has format {found}, this version knows up to {FORMAT}; run a newer eisbach")
    for number in range(found, FORMAT):
        with database:  # one transaction: a crash leaves the old format whole
            database.execute(MIGRATIONS[number])
            database.execute(f"PRAGMA user_version = {number + 1}")
    return found
