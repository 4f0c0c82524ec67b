"""What is known of items without asking the file: versions of those written last, values of those read last.

True because there is one writer: whatever changes an item goes through its group, and an older opening of the file
cannot commit. Emptied whenever a group fails. May not know: what values mean, SQL.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from eisbach.kernel.merge import Stored
from eisbach.kernel.versions import Version
from eisbach.ports.store import Item, ItemKey

__all__ = ["UNKNOWN", "ItemCache", "ReadCache"]

Place = tuple[int, str, str]
"""(slot number, pk, sk)."""

_ITEMS_MAX: Final = 32_768
"""About 10 MB; a cell whose viewers write more items than this between two writes of one reads them from the file."""


class ItemCache:
    """First in, first out: cheaper than least recently used, and what is hot comes back at once."""

    def __init__(self, items_max: int = _ITEMS_MAX) -> None:
        self._items_max = items_max
        self.known: dict[Place, Stored | None] = {}
        """What the file holds; None for an item that never was."""

    def keep(self, committed: Mapping[Place, Stored | None]) -> None:
        """Take over what a group knew when it was committed."""
        self.known.update(committed)
        if (excess := len(self.known) - self._items_max) > 0:
            for place in list(islice(self.known, max(excess, self._items_max // 8))):
                del self.known[place]

    def clear(self) -> None:
        """Forget everything."""
        self.known.clear()


UNKNOWN: Final = Item(ItemKey("", ""), b"", Version(0, "", 0))
"""Not in the cache; told apart by identity."""
_READ_MAX: Final = 16_384
_VALUE_BYTES_MAX: Final = 2048
"""Of a value that is kept: 40 MB at the very most, about 8 MB as viewers' items are."""


class ReadCache:
    """Items that readers asked for: the guard of an account, and where its viewer stopped, are read at every start."""

    def __init__(self, items_max: int = _READ_MAX) -> None:
        self._items_max = items_max
        self.known: dict[Place, Item | None] = {}
        """Live items as the last commit left them; None: there is none."""

    def keep(self, place: Place, found: Item | None) -> None:
        """The file was asked."""
        if found is not None and len(found.value) > _VALUE_BYTES_MAX:
            return
        if len(self.known) >= self._items_max:
            for old in list(islice(self.known, self._items_max // 8)):
                del self.known[old]
        self.known[place] = found

    def follow(self, puts: Mapping[Place, tuple[Any, ...]]) -> None:
        """These rows (``Group.puts``) were committed."""
        for place in self.known.keys() & puts.keys():
            _, pk, sk, value, *version = puts[place][:7]
            if value is None:
                self.known[place] = None
            elif len(value) <= _VALUE_BYTES_MAX:
                self.known[place] = Item(ItemKey(pk, sk), value, Version(*version))
            else:
                del self.known[place]
