"""What the log holds and the tables do not show yet: laid over them by every reader, written out now and then.

Promises: of an item that was written ten times between two flushes, the last is kept; a flush that wrote everything up
to a commit takes away exactly that. The ops of one flush more are kept, for pullers and relay, which follow closely.
May not know: DynamoDB's calls, asyncio.
"""

from collections import deque
from itertools import islice
from typing import Any, Final, NamedTuple

from eisbach.engines.aws.log_row import Known
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark

__all__ = ["ItemPlace", "SlotCommit", "Unflushed"]

_CACHED_MAX: Final = 65_536
"""About 40 MB; first in, first out."""


class ItemPlace(NamedTuple):
    """Address of an item in a cell."""

    slot: str
    pk: str
    sk: str


class SlotCommit(NamedTuple):
    """What one commit did to one slot."""

    number: int
    before: dict[str, Mark]
    """The slot's vector before it."""
    late: bool
    """Whether it has an op of an epoch that the log had left: numbers of ops do not rise along the log here."""
    ops: list[Op]


class Unflushed:
    """Of one cell in one process."""

    def __init__(self) -> None:
        self.items: dict[str, dict[tuple[str, str], tuple[int, Known]]] = {}
        """Slot -> (pk, sk) -> (number of the commit, item)."""
        self.rows: dict[tuple[str, str], tuple[int, dict[str, Any] | None]] = {}
        """(pk, sk) -> (number of the commit, row); None: it is gone."""
        self.commits: dict[str, deque[SlotCommit]] = {}
        """Slot -> what was done to it, since the flush before the last one."""
        self.tail: deque[tuple[int, Op]] = deque()
        """The end of the log, (lsn, op), without gaps."""
        self.flushed = 0
        """The tables show every commit up to this one."""
        self.ops = 0
        """Logged since."""
        self.bytes = 0
        self._cached: dict[ItemPlace, Known | None] = {}

    # --- items ---------------------------------------------------------------------------------------------------

    def put(self, place: ItemPlace, number: int, known: Known) -> None:
        """The item is this since commit ``number``."""
        self.items.setdefault(place.slot, {})[place.pk, place.sk] = (number, known)

    def known(self, place: ItemPlace) -> tuple[bool, Known | None]:
        """Whether memory knows of the item, and what."""
        found = self.items.get(place.slot, {}).get((place.pk, place.sk))
        if found is not None:
            return True, found[1]
        if place in self._cached:
            return True, self._cached[place]
        return False, None

    def remember(self, place: ItemPlace, known: Known | None) -> None:
        """What the table has of an item; what the log says goes before it."""
        self._cached[place] = known
        if (excess := len(self._cached) - _CACHED_MAX) > 0:
            for old in list(islice(self._cached, max(excess, _CACHED_MAX // 8))):
                del self._cached[old]

    def forget_account(self, slot: str, pk: str, *, keep: str) -> list[tuple[str, str]]:
        """Take away an erased account's items but ``keep``: (pk, sk) of those that a flush would have written."""
        places = self.items.get(slot, {})
        gone = [key for key in places if key[0] == pk and key[1] != keep]
        for key in gone:
            del places[key]
        for place in [p for p in self._cached if (p.slot, p.pk) == (slot, pk)]:
            del self._cached[place]
        return gone

    # --- the log's end -------------------------------------------------------------------------------------------

    def logged(self, slot: str, commit: SlotCommit) -> None:
        """A commit did something to a slot."""
        self.commits.setdefault(slot, deque()).append(commit)

    def commits_of(self, slot: str, have: dict[str, Mark]) -> list[SlotCommit] | None:
        """All commits that may hold an op beyond ``have``; None when memory does not go back so far."""
        found: list[SlotCommit] = []
        for commit in reversed(self.commits.get(slot, ())):
            found.append(commit)
            if covers(commit.before, have):
                return found[::-1]
        return None

    # --- flushed -------------------------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether the tables show everything."""
        return not self.items and not self.rows and self.ops == 0

    def flushed_up_to(self, number: int, lsn: int) -> None:
        """The tables show every commit up to ``number``, whose last op is ``lsn``."""
        if number <= self.flushed:
            return
        for slot in list(self.items):
            places = self.items[slot]
            for key in [key for key, (at, _) in places.items() if at <= number]:
                self.remember(ItemPlace(slot, *key), places.pop(key)[1])
            if not places:
                del self.items[slot]
        for row in [row for row, (at, _) in self.rows.items() if at <= number]:
            del self.rows[row]
        self._forget_ops(self.flushed)
        self.flushed, self.bytes = number, 0
        self.ops = sum(1 for at, _ in self.tail if at > lsn)

    def _forget_ops(self, number: int) -> None:
        """Those up to the flush before."""
        dropped = 0
        for slot in list(self.commits):
            commits = self.commits[slot]
            while commits and commits[0].number <= number:
                dropped += len(commits.popleft().ops)
            if not commits:
                del self.commits[slot]
        for _ in range(min(dropped, len(self.tail))):
            self.tail.popleft()

    def forget_flushed(self) -> None:
        """Ops were taken out of the log that the tables show whole: nothing of it is told from memory any more."""
        self._forget_ops(self.flushed)


def covers(before: dict[str, Mark], have: dict[str, Mark]) -> bool:
    """Whether whoever has ``have`` lacks nothing of what lies before."""
    return all(before.get(origin, Mark(0, 0)) <= mark for origin, mark in have.items())
