"""A spoke host's file that may be an older copy of itself: each spoke has the hub tell it everything once more.

What it had accounted for in what is left it passes over, so what was lost with the newer rows is handled again, and
nothing else. The doubt is a number that is kept with why; what each spoke has asked for anew is kept beside it.
May not know: how the doubt came.
"""

from typing import Final

import apsw

from eisbach.engines.embedded.disk import rows

__all__ = ["asked_anew", "doubt", "note_doubt"]

_DOUBT: Final = "eisbach:doubt"
_ASKED: Final = "eisbach:asked-anew"
_NUMBER: Final = "SELECT coalesce((SELECT value FROM state WHERE spoke = ? AND key = ?), '0')"


def note_doubt(database: apsw.Connection, why: str) -> None:
    """Of all spokes, also of those that are not here now."""
    number = _number(database, "", _DOUBT)
    with database:
        for key, value in ((_DOUBT, str(number + 1)), (f"{_DOUBT}.why", why)):
            database.execute("INSERT OR REPLACE INTO state VALUES ('', ?, ?)", (key, value.encode()))


def doubt(database: apsw.Connection, spoke: str) -> str:
    """Why; empty when there is none, or this spoke has asked since."""
    if _number(database, spoke, _ASKED) == _number(database, "", _DOUBT):
        return ""
    ((why,),) = rows(database, "SELECT value FROM state WHERE spoke = '' AND key = ?", (f"{_DOUBT}.why",))
    return bytes(why).decode()


def asked_anew(database: apsw.Connection, spoke: str) -> None:
    """The hub has begun to tell it."""
    number = str(_number(database, "", _DOUBT)).encode()
    with database:
        database.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (spoke, _ASKED, number))


def _number(database: apsw.Connection, spoke: str, key: str) -> int:
    return int(rows(database, _NUMBER, (spoke, key))[0][0])
