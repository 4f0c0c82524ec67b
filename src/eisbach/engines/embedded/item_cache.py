"""Versions of the items written last, so that a write of a known item need not ask the file what it replaces.

True because there is one writer: whatever changes an item goes through its group, and an older opening of the file
cannot commit. Emptied whenever a group fails. May not know: values, SQL.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Final

from eisbach.kernel.merge import Stored

__all__ = ["ItemCache"]

_ITEMS_MAX: Final = 32_768
"""About 10 MB; a cell whose viewers write more items than this between two writes of one reads them from the file."""


class ItemCache:
    """First in, first out: cheaper than least recently used, and what is hot comes back at once."""

    def __init__(self, items_max: int = _ITEMS_MAX) -> None:
        self._items_max = items_max
        self.known: dict[tuple[int, str, str], Stored | None] = {}
        """(slot number, pk, sk) -> what the file holds; None for an item that never was."""

    def keep(self, committed: Mapping[tuple[int, str, str], Stored | None]) -> None:
        """Take over what a group knew when it was committed."""
        self.known.update(committed)
        if (excess := len(self.known) - self._items_max) > 0:
            for place in list(islice(self.known, max(excess, self._items_max // 8))):
                del self.known[place]

    def clear(self) -> None:
        """Forget everything."""
        self.known.clear()
