"""Reading backups: what an account, or a whole slot, was at a given second.

Promises: the answer is what this region had archived of it at that second, per item the highest version; all cells that
ever held the slot are asked, so a move hides nothing. An erased account is unreadable: its key is in no book.
May not know: stores, HTTP.
"""

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from eisbach.cell.backup_format import (
    Book,
    SealedOp,
    SegmentName,
    base_key,
    days_between,
    decode_archived,
)
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.limits import BACKUPS_KEPT
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark
from eisbach.ports.blobs import Blobs
from eisbach.ports.clock import Clock

__all__ = ["ArchiveReader", "PastItem", "PastSlot"]

_KEPT_MS: Final = int(BACKUPS_KEPT.total_seconds() * 1000)
_LOG_MAX: Final = 2_000_000
"""Ops of one slot held in memory while a cell is restored: 1 GB; two days of 10 writes a second."""
_SLACK_MS: Final = 60_000
"""How long after ``at_ms`` segments are read in any case: for ops that the twin wrote before it and that came later."""


@dataclass(frozen=True, slots=True)
class PastItem:
    """An item as it was; ``value`` is None for one that had been deleted by then."""

    sk: str
    value: bytes | None
    op: Op


@dataclass(frozen=True, slots=True)
class PastSlot:
    """A slot as backups have it."""

    latest: list[Op]
    """Per item the op with the highest version, tombstones too; by account and sort key."""
    log: dict[str, list[Op]]
    """Per origin the end of its log without a gap, so that a twin that was cut off can still be served."""
    vector: dict[str, Mark]
    """Up to where each origin's log went into them."""

    @property
    def headless(self) -> frozenset[str]:
        """Origins of which the first thing archived begins a later epoch: what was before is unknown, and may be much
        (backups were switched on after it was pruned). Their ops would follow on anything, so all who know the origin
        from its first op on are asked before.
        """
        return frozenset(origin for origin, ops in self.log.items() if ops and ops[0].seq == 1 < ops[0].epoch)

    @property
    def floors(self) -> dict[str, Mark]:
        """What lies below ``log``."""
        floors = {origin: mark for origin, mark in self.vector.items() if not self.log[origin]}
        for origin, ops in self.log.items():
            if ops and ops[0].seq > 1:  # at the beginning of an epoch nobody knows where the one before it ended
                floors[origin] = Mark(ops[0].epoch, ops[0].seq - 1)
        return floors


class ArchiveReader:
    """One a region's backups."""

    def __init__(self, blobs: Blobs, *, kek: bytes, clock: Clock) -> None:
        """``kek``: the region's backup key."""
        self._blobs, self._kek, self._clock = blobs, kek, clock

    async def account(self, slot: str, account: str, *, at_ms: int) -> list[PastItem]:
        """Every item of an account at ``at_ms``, by sort key; deleted ones too.

        Raises:
            Invalid: not within the last 35 days.
            NotFound: nothing of it was archived by then, or it is erased.
        """
        self.check_time(at_ms)
        latest: dict[str, Op] = {}
        known = False
        for cell, book in (await self._books(slot)).items():
            if (kid := book.kid_of(account)) is None:
                continue
            known = True
            async for op in self._ops(cell, slot, book, kid=kid, at_ms=at_ms):
                change = op.change
                if change is not None and change.pk == account and hlc_ms(op.hlc) <= at_ms:
                    held = latest.get(change.sk)
                    if held is None or held.version < op.version:
                        latest[change.sk] = op
        if not latest:
            why = "it had nothing archived by then" if known else "it was never archived, or it is erased"
            at = datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            raise NotFound(f"backups of slot {slot} have nothing of account {account} as of {at}: {why}")
        return [PastItem(sk, op.change.value, op) for sk, op in sorted(latest.items()) if op.change is not None]

    async def accounts(self, slot: str, *, at_ms: int) -> dict[str, list[PastItem]]:
        """Every account of a slot that had anything archived at ``at_ms``: its items by sort key, deleted ones too.

        Raises:
            Invalid: not within the last 35 days, or more than two million items.
        """
        self.check_time(at_ms)
        latest: dict[tuple[str, str], Op] = {}
        for cell, book in (await self._books(slot)).items():
            async for sealed in self._sealed(cell, slot, at_ms=at_ms):
                op = book.open(sealed)
                if op is None or op.change is None or hlc_ms(op.hlc) > at_ms:
                    continue
                place = (op.change.pk, op.change.sk)
                if place not in latest or latest[place].version < op.version:
                    latest[place] = op
                if len(latest) > _LOG_MAX:
                    raise Invalid(f"slot {slot} has more than {_LOG_MAX} items; restore its accounts one by one")
        found: dict[str, list[PastItem]] = {}
        for (account, sk), op in sorted(latest.items()):
            assert op.change is not None, "only ops with a change are kept above"
            found.setdefault(account, []).append(PastItem(sk, op.change.value, op))
        return found

    async def slot(self, slot: str) -> "PastSlot":
        """The newest state of a slot: per item the latest op, and how far each origin's log was archived.

        Raises:
            Corrupt: a segment or base cannot be read.
        """
        items: dict[tuple[str, str], Op] = {}
        log: dict[str, Op] = {}
        vector: dict[str, Mark] = {}
        for cell, book in (await self._books(slot)).items():
            async for sealed in self._sealed(cell, slot, at_ms=self._clock.wall_ms()):
                mark = Mark(sealed.epoch, sealed.seq)
                vector[sealed.origin] = max(mark, vector.get(sealed.origin, Mark(0, 0)))
                op = book.open(sealed) or _unreadable(sealed)
                log[op.id] = op
                if len(log) > _LOG_MAX:
                    raise Invalid(f"slot {slot} has more than {_LOG_MAX} ops since its last base; make a base first")
                if op.change is None:
                    continue
                place = (op.change.pk, op.change.sk)
                if place not in items or items[place].version < op.version:
                    items[place] = op
        return PastSlot([items[place] for place in sorted(items)], _dense_end(log.values(), vector), vector)

    def check_time(self, at_ms: int) -> None:
        """Refuse what no backup can say.

        Raises:
            Invalid: in the future, or more than 35 days ago.
        """
        now = self._clock.wall_ms()
        if not now - _KEPT_MS <= at_ms <= now:
            raise Invalid(f"at {at_ms} is not within the last {BACKUPS_KEPT.days} days ({now - _KEPT_MS} to {now})")

    async def _books(self, slot: str) -> dict[str, Book]:
        """Cell -> its book of the slot."""
        found: dict[str, Book] = {}
        for key in await self._blobs.keys(f"books/{slot}/"):
            raw = await self._blobs.read(key)
            found[key.rpartition("/")[2]] = Book.decode(raw, self._kek, key=key, entropy=secrets.token_bytes)
        return found

    async def _ops(self, cell: str, slot: str, book: Book, *, kid: bytes, at_ms: int) -> AsyncIterator[Op]:
        """Ops under one key, from the last base before ``at_ms`` to a little after it."""
        async for sealed in self._sealed(cell, slot, at_ms=at_ms):
            if sealed.kid == kid and (op := book.open(sealed)) is not None:
                yield op

    async def _sealed(self, cell: str, slot: str, *, at_ms: int) -> AsyncIterator[SealedOp]:
        """What is archived of a slot, from the last base before ``at_ms`` to a little after it."""
        bases = [int(k.split("/")[2]) for k in await self._blobs.keys(f"base/{cell}/") if k.endswith("/whole")]
        based = max((ms for ms in bases if ms + _SLACK_MS <= at_ms), default=0)
        keys = [base_key(cell, based, slot)]
        if not based or await self._blobs.info(keys[0]) is None:
            keys = []
        now = self._clock.wall_ms()
        for day in days_between(based or at_ms - _KEPT_MS - _SLACK_MS, now):
            names = await self._blobs.keys(f"log/{cell}/{day}/")
            keys += [key for key in names if SegmentName.parse(key).ms > based]
        for key in keys:
            archived = decode_archived(await self._blobs.read(key), key=key)
            for sealed in archived.ops:
                if sealed.slot == slot:
                    yield sealed
            # A segment lies in the order of the log, so this region's own stamps rise: what follows is later.
            later = any(op.origin == archived.region and hlc_ms(op.hlc) > at_ms for op in archived.ops)
            if later and archived.ms > at_ms + _SLACK_MS:
                return


def _unreadable(sealed: SealedOp) -> Op:
    """The op of an erased account: its number counts, what it wrote is gone."""
    return Op(sealed.slot, sealed.origin, sealed.epoch, sealed.seq, sealed.hlc, None, None, sealed.more)


def _dense_end(ops: Iterable[Op], vector: Mapping[str, Mark]) -> dict[str, list[Op]]:
    """Per origin the ops after the last gap; bases hold single ops of what came before them, and leave gaps."""
    found: dict[str, list[Op]] = {origin: [] for origin in vector}
    for op in sorted(ops, key=lambda op: (op.origin, op.epoch, op.seq)):
        tail = found[op.origin]
        if tail and op.seq != (tail[-1].seq + 1 if op.epoch == tail[-1].epoch else 1):
            tail.clear()
        tail.append(op)
    return found
