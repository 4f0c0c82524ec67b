"""The inbox: what one spoke has accounted for, so that an event has its effects once, however often it comes.

Per chain (slot, origin, epoch, type) a watermark and the sparse set above it. Each event names ``prev``, the seq of
the event before it in its chain, the first one of a chain ``after``, the last one of the chain before; a gap is judged
by that, so that types a spoke does not read leave none. A watermark passes the first one of a chain when that of the
chain before has passed what it came after: so it also stands for all epochs before.
Pure memory: whoever handles an event writes the mark that ``account`` returns in the transaction of the effect.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from eisbach.kernel.events import Event
from eisbach.ports.spoke_store import InboxKey, InboxMark, InboxRow

__all__ = ["ABOVE_MAX", "Inbox", "Verdict", "chain_of"]

ABOVE_MAX: Final = 10_000
"""Accounted events beyond a gap in one chain; at the next one the gap is given up and counted."""
_SEQS: Final = 10**12
"""More than a chain has (``Event.after`` is checked at the border), so that epoch and seq are one number."""


class Verdict(StrEnum):
    """What to do with an event that came."""

    fresh = "fresh"
    """Handle it."""
    seen = "seen"
    """Drop it: accounted for, or in work."""
    gap = "gap"
    """Hold it: its predecessor has not come yet, or waits for one that has not."""


def chain_of(event: Event) -> InboxKey:
    """The chain that links this event to its ``prev``."""
    return InboxKey(event.slot, event.origin, event.epoch, event.type)


def _link(event: Event) -> int:
    """``prev``; of the first one of a chain what it came ``after``, below 0: stores keep it as they keep ``prev``."""
    if event.prev or event.after is None:
        return event.prev
    epoch, _, seq = event.after.partition(":")
    return -(int(epoch) * _SEQS + int(seq))


def _place(key: InboxKey, link: int) -> tuple[InboxKey, int]:
    """The chain and the seq that a link of ``key`` names; 0 for nothing."""
    if link >= 0:
        return key, link
    epoch, seq = divmod(-link, _SEQS)
    return key._replace(epoch=epoch), seq


class _Chain:
    __slots__ = ("above", "admitted", "begun", "successor", "watermark")

    def __init__(self, row: InboxRow) -> None:
        self.watermark = row.watermark
        self.above = dict(row.above)
        self.successor = {prev: seq for seq, prev in row.above.items()}
        self.admitted: set[int] = set()
        self.begun: set[int] = set()
        """Above the watermark, admitted in this life and not to wait."""

    def admit(self, seq: int, *, waiting: bool) -> None:
        self.admitted.add(seq)
        if waiting:
            self.begun.discard(seq)
        else:
            self.begun.add(seq)

    def account(self, seq: int, prev: int) -> None:
        self.admitted.discard(seq)
        if seq > self.watermark:
            self.above[seq] = prev
            self.successor[prev] = seq
            self.absorb()
        else:
            self.begun.discard(seq)

    def absorb(self, before: int | None = None) -> bool:
        """Move the watermark along the links, from ``before`` if that is given; ``prev`` names the direct predecessor,
        so equality is enough. Whether it moved.
        """
        begin, link = self.watermark, self.watermark if before is None else before
        while (seq := self.successor.pop(link, None)) is not None:
            del self.above[seq]
            self.begun.discard(seq)
            self.watermark = link = seq
        return self.watermark > begin

    def give_up(self) -> None:
        """Jump over the oldest gap."""
        seq = min(self.above)
        del self.successor[self.above.pop(seq)]
        self.begun.discard(seq)
        self.watermark = seq
        self.absorb()

    def knows(self, seq: int) -> bool:
        return seq <= self.watermark or seq in self.above or seq in self.admitted

    def rests_on(self, seq: int) -> int | None:
        """What it waits for: 0 for nothing, below 0 for the link of the chain's first one, None for what is not here.

        One that an earlier life accounted for may rest on one that was in work then, and has yet to come again.
        """
        while seq > self.watermark and seq not in self.begun:
            prev = self.above.get(seq, seq)
            if prev >= seq:
                return None  # not here, or behind a gap itself; or an event that names no earlier one
            seq = prev
        return min(seq, 0)


class Inbox:
    """Of one spoke. Invariant: accounted = at or below the watermark, or in the set above it; never both."""

    def __init__(self, rows: Mapping[InboxKey, InboxRow]) -> None:
        """``rows``: as the store has them."""
        self._chains = {key: _Chain(row) for key, row in rows.items()}
        self._later: dict[InboxKey, dict[InboxKey, int]] = {}
        """Chain -> those whose first one came after one of it that was not accounted for yet, and the link."""
        self.gaps_given_up = 0
        for key, row in rows.items():
            for link in row.above.values():
                self._link_up(key, link)

    def judge(self, event: Event) -> Verdict:
        """Decide, without changing anything."""
        chain = self._chains.get(chain_of(event))
        if chain is not None and chain.knows(event.seq):
            return Verdict.seen
        return Verdict.fresh if self.knows_predecessor(event) else Verdict.gap

    def knows_predecessor(self, event: Event) -> bool:
        """Whether what came before it has come and waits for nothing, in any epoch."""
        key, seq = _place(chain_of(event), _link(event))
        while seq:
            chain = self._chains.get(key)
            link = None if chain is None else chain.rests_on(seq)
            if link is None:
                return False
            before, seq = _place(key, link)
            if seq and before.epoch >= key.epoch:
                return False  # an event that names no earlier one
            key = before
        return True

    def admit(self, event: Event, *, waiting: bool = False) -> None:
        """It is in work or held now: repeats of it are ``seen``; unless it waits itself, its successor has no gap."""
        self._chain(chain_of(event)).admit(event.seq, waiting=waiting)

    def account(self, event: Event) -> InboxMark:
        """It is settled; the mark must be written with its effects, in the order of these calls.

        A watermark that passed another chain's first one with it needs no mark: the rows say so when they are read. A
        store that lets such a row expire (DynamoDB, 30 days without another event of the chain) has the next one wait
        its patience, no longer.
        """
        key, link = chain_of(event), _link(event)
        chain = self._chain(key)
        chain.account(event.seq, link)
        if len(chain.above) > ABOVE_MAX:
            self.gaps_given_up += 1
            chain.give_up()
        self._link_up(key, link)
        self._pass_on(key)
        left = chain.above.get(event.seq)
        return InboxMark(key, chain.watermark, None if left is None else (event.seq, left))

    def _link_up(self, key: InboxKey, link: int) -> None:
        if link < 0:
            before = _place(key, link)[0]
            self._later.setdefault(before, {})[key] = link
            self._pass_on(before)

    def _pass_on(self, key: InboxKey) -> None:
        """The watermark may have moved: whatever came after it moves too, epoch by epoch."""
        moved = [key]
        while moved:
            before = moved.pop()
            if before not in self._chains or before not in self._later:
                continue
            later = self._later[before]
            for following, link in list(later.items()):
                if _place(following, link)[1] <= self._chains[before].watermark:
                    del later[following]
                    if self._chains[following].absorb(link):
                        moved.append(following)
            if not later:
                del self._later[before]

    def _chain(self, key: InboxKey) -> _Chain:
        if key not in self._chains:
            self._chains[key] = _Chain(InboxRow(0, {}))
        return self._chains[key]
