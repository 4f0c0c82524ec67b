"""The rows that one settlement of a spoke writes. May not know: transactions, threads, marks (``inbox_rows``)."""

import apsw
import msgspec

from eisbach.engines.embedded.dead_rows import bury
from eisbach.ports.spoke_store import Held, NewCommand, Settlement

__all__ = ["hold", "send", "settle"]


def settle(database: apsw.Connection, settlement: Settlement) -> None:
    """All but the mark."""
    spoke = settlement.spoke
    for command in settlement.commands:
        send(database, spoke, settlement.event_id, settlement.subject, command)
    for key, value in settlement.state.items():
        if value is None:
            database.execute("DELETE FROM state WHERE spoke = ? AND key = ?", (spoke, key))
        else:
            database.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (spoke, key, value))
    if settlement.hold is not None:
        hold(database, spoke, settlement.hold)
    if settlement.release:
        database.execute("DELETE FROM held WHERE spoke = ? AND event_id = ?", (spoke, settlement.event_id))
    if settlement.dead is not None:
        bury(database, settlement.dead)


def hold(database: apsw.Connection, spoke: str, held: Held) -> None:
    """Insert it, or replace the row of the same event."""
    database.execute(
        "INSERT INTO held(spoke, event_id, subject, why, attempt, due_ms, event, history)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT(spoke, event_id) DO UPDATE SET why = excluded.why, attempt = excluded.attempt,"
        " due_ms = excluded.due_ms, history = excluded.history",
        (
            spoke, held.event_id, held.subject, held.why, held.attempt, held.due_ms, held.event,
            msgspec.json.encode(held.history),
        ),
    )  # fmt: skip


def send(database: apsw.Connection, spoke: str, event_id: str, subject: str, command: NewCommand) -> None:
    """Due at once."""
    database.execute(
        "INSERT INTO commands(spoke, event_id, subject, path, body, key, attempt, due_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, 0)",
        (spoke, event_id, subject, command.path, command.body, command.key),
    )
