"""Rows of dead letters in the spoke store's file."""

from typing import Any, Final

import apsw
import msgspec

from eisbach.engines.embedded.disk import rows
from eisbach.kernel.errors import NotFound
from eisbach.ports.spoke_store import DeadLetter, FailedAttempt

__all__ = ["HISTORY", "SELECT_DEAD", "bury", "dead_letter", "found_dead"]

SELECT_DEAD: Final = "SELECT spoke, event_id, kind, subject, reason, at_ms, body, history, number FROM dead"
HISTORY: Final = msgspec.json.Decoder(list[FailedAttempt])


def bury(database: apsw.Connection, dead: DeadLetter) -> None:
    """Insert it."""
    database.execute(
        "INSERT INTO dead(spoke, event_id, kind, subject, reason, at_ms, body, history)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            dead.spoke, dead.event_id, dead.kind, dead.subject, dead.reason, dead.at_ms, dead.body,
            msgspec.json.encode(dead.history),
        ),
    )  # fmt: skip


def found_dead(database: apsw.Connection, number: int) -> DeadLetter:
    """The one of this number.

    Raises:
        NotFound: there is none.
    """
    found = rows(database, f"{SELECT_DEAD} WHERE number = ?", (number,))
    if not found:
        raise NotFound(f"dead letter {number}: there is none; list them anew")
    return dead_letter(found[0])


def dead_letter(row: tuple[Any, ...]) -> DeadLetter:
    """From a row of ``SELECT_DEAD``."""
    spoke, event_id, kind, subject, reason, at_ms, body, history, number = row
    return DeadLetter(
        spoke=spoke, event_id=event_id, kind=kind, subject=subject, reason=reason, at_ms=at_ms, body=body,
        history=HISTORY.decode(history), number=number,
    )  # fmt: skip
