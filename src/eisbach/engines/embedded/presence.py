"""Whether the files that SQLite writes still have their names.

Unlinked or moved away, an open file takes every commit and keeps it until the process ends, where nobody will ever look
for it. SQLite does not notice: with a write-ahead log it never goes by the name again. Where a folder may not be looked
into any more nothing is known, and nothing was lost by that. May not know: SQL.
"""

import contextlib
import os
from pathlib import Path

from eisbach.kernel.errors import FileDamaged

__all__ = ["Presence"]


class Presence:
    """Of a store's file and its write-ahead log, as they are now; two calls of stat a look."""

    def __init__(self, path: Path) -> None:
        """Call it when both are there: after the first commit."""
        names = (str(path), f"{path}-wal")
        self._known = [(name, found) for name in names if (found := _identity(name)) is not None]

    def lost(self) -> str:
        """The name that leads nowhere, or to another file; empty when all is as it was."""
        for name, identity in self._known:
            with contextlib.suppress(PermissionError):
                if _identity(name) != identity:
                    return name
        return ""

    def demand(self, whose: str) -> None:
        """Raise when one does not.

        Raises:
            FileDamaged: which name; the process ends, the next one begins with what is there.
        """
        if name := self.lost():
            raise FileDamaged(f"{name} was removed or replaced while {whose} had it open; this process writes no more")


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - half the time of Path.stat, once a commit
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino
