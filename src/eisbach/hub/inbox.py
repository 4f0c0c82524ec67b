"""The inbox: what one spoke has accounted for, so that an event has its effects once, however often it comes.

Per chain (slot, origin, epoch, type) a watermark and the sparse set above it. Each event names ``prev``, the seq of
the event before it in its chain, the first one of a chain ``after``, the last one of the chain before; a gap is judged
by that, so that types a spoke does not read leave none.
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

    def absorb(self) -> None:
        """Move the watermark along the links; ``prev`` names the direct predecessor, so equality is enough."""
        while (seq := self.successor.pop(self.watermark, None)) is not None:
            del self.above[seq]
            self.begun.discard(seq)
            self.watermark = seq

    def give_up(self) -> None:
        """Jump over the oldest gap."""
        seq = min(self.above)
        del self.successor[self.above.pop(seq)]
        self.begun.discard(seq)
        self.watermark = seq
        self.absorb()

    def knows(self, seq: int) -> bool:
        return seq <= self.watermark or seq in self.above or seq in self.admitted

    def has_begun(self, seq: int) -> bool:
        """Known, and nothing before it is missing: else what follows it would overtake what is.

        One that an earlier life accounted for may rest on one that was in work then, and has yet to come again.
        """
        while seq > self.watermark and seq not in self.begun:
            prev = self.above.get(seq, seq)
            if prev >= seq:
                return False  # not here, or behind a gap itself; or an event that names no earlier one
            seq = prev
        return True


class Inbox:
    """Of one spoke. Invariant: accounted = at or below the watermark, or in the set above it; never both."""

    def __init__(self, rows: Mapping[InboxKey, InboxRow]) -> None:
        """``rows``: as the store has them."""
        self._chains = {key: _Chain(row) for key, row in rows.items()}
        self.gaps_given_up = 0

    def judge(self, event: Event) -> Verdict:
        """Decide, without changing anything."""
        chain = self._chains.get(chain_of(event))
        if chain is not None and chain.knows(event.seq):
            return Verdict.seen
        return Verdict.fresh if self.knows_predecessor(event) else Verdict.gap

    def knows_predecessor(self, event: Event) -> bool:
        """Whether what came before it has come and waits for nothing."""
        key, seq = chain_of(event), event.prev
        if seq == 0 and event.after is not None:
            epoch, _, last = event.after.partition(":")
            key, seq = key._replace(epoch=int(epoch)), int(last)
        chain = self._chains.get(key)
        return seq == 0 or (chain is not None and chain.has_begun(seq))

    def admit(self, event: Event, *, waiting: bool = False) -> None:
        """It is in work or held now: repeats of it are ``seen``; unless it waits itself, its successor has no gap."""
        self._chain(chain_of(event)).admit(event.seq, waiting=waiting)

    def account(self, event: Event) -> InboxMark:
        """It is settled; the mark must be written with its effects, in the order of these calls."""
        key = chain_of(event)
        chain = self._chain(key)
        chain.account(event.seq, event.prev)
        if len(chain.above) > ABOVE_MAX:
            self.gaps_given_up += 1
            chain.give_up()
        left = chain.above.get(event.seq)
        return InboxMark(key, chain.watermark, None if left is None else (event.seq, left))

    def _chain(self, key: InboxKey) -> _Chain:
        if key not in self._chains:
            self._chains[key] = _Chain(InboxRow(0, {}))
        return self._chains[key]
