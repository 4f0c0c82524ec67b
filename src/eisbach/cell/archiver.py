"""The archiver: seals a cell's op log into the region's backups, for ever; reads the store and never writes it.

Promises: what was committed more than ``every_s`` ago is archived, whenever backups can be written; a crash anywhere
repeats a piece and never skips one; an erased account's key is gone from the books before its mark is archived. Keys go
first, then the segment: a key without data is harmless, data without a key would be lost. Once a day the latest op of
every item becomes a new base, and what is older than 35 days goes. May not know: HTTP, engines, what items mean.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from eisbach.cell.backup_format import (
    DAY_MS,
    Archived,
    Book,
    SealedOp,
    SegmentName,
    base_key,
    book_key,
    days_between,
    decode_archived,
    encode_archived,
    segment_key,
)
from eisbach.kernel.erasure import erases, scrubbed
from eisbach.kernel.errors import EisbachError, NotFound
from eisbach.kernel.limits import BACKUPS_KEPT
from eisbach.kernel.ops import Op
from eisbach.ports.blobs import Blobs
from eisbach.ports.clock import Clock
from eisbach.ports.store import LogEntry, Store

__all__ = ["ARCHIVE_EVERY_S", "Archiver", "ArchiverStatistics"]

ARCHIVE_EVERY_S: Final = 10.0
"""What a region loses of its backups, at most, when all of it burns: 10 s, and 8,640 segments a day and cell."""
_KEPT_MS: Final = int(BACKUPS_KEPT.total_seconds() * 1000)
_OPS: Final = 512
_BREATH: Final = 64
"""Ops sealed between two turns of the event loop, under half a millisecond."""
_SEGMENT_BYTES: Final = 8 * 1024 * 1024
_SLACK_MS: Final = 60_000
"""A clock that is set back by less is followed without looking what lies in the archive."""

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiverStatistics:
    """Since start; no I/O to read them."""

    ops: int
    segments: int
    archived_lsn: int
    archived_ms: int
    """Of the newest segment; 0 for none yet."""
    based_ms: int
    """Of the newest base; 0 for none yet."""
    erased: int
    """Accounts whose key was destroyed."""
    failures_in_a_row: int
    error: str


class Archiver:
    """One a store."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        *,
        cell: str,
        kek: bytes,
        clock: Clock,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """``kek``: the region's backup key, 32 bytes."""
        self._store, self._blobs, self._cell = store, blobs, cell
        self._kek, self._clock, self._entropy = kek, clock, entropy
        self._books: dict[str, Book] = {}
        self._at: SegmentName | None = None
        self._based_ms = 0
        self._turn = asyncio.Lock()
        self._ops = self._segments = self._erased = self._failures = 0
        self._error = ""

    def statistics(self) -> ArchiverStatistics:
        """What happened since start."""
        return ArchiverStatistics(
            ops=self._ops,
            segments=self._segments,
            archived_lsn=self._at.lsn if self._at else 0,
            archived_ms=self._at.ms if self._at else 0,
            based_ms=self._based_ms,
            erased=self._erased,
            failures_in_a_row=self._failures,
            error=self._error,
        )

    async def run(self) -> None:
        """Archive for ever; ends only by cancellation, which loses nothing. A failure is counted and tried again."""
        while True:
            try:
                await self.once()
                self._failures, self._error = 0, ""
            except EisbachError as error:
                self._failures, self._error = self._failures + 1, str(error)
                if self._failures in (1, 100):
                    _logger.warning("backup_waits", cell=self._cell, failures=self._failures, error=str(error))
            await self._clock.sleep(ARCHIVE_EVERY_S)

    async def once(self) -> int:
        """What ``run`` does each time: archive, and a new base once a day; the ops that were archived."""
        done = await self.archive()
        if self._clock.wall_ms() - self._based_ms >= DAY_MS:
            await self.rebase()
        return done

    def archived_lsn(self) -> int:
        """Up to where the store's log lies in backups; 0: not known yet."""
        return self.statistics().archived_lsn

    async def cover(self, at_ms: int) -> None:
        """See ``Archive``: now."""
        del at_ms
        await self.archive()

    async def archive(self) -> int:
        """Bring the archive up to the store's end as it is now; the ops that were archived."""
        async with self._turn:
            if self._at is not None and self._at.ms > self._clock.wall_ms() + _SLACK_MS:
                self._at = None  # the clock had jumped ahead
            at = self._at or await self._resume()
            end, done = self._store.statistics().last_lsn, 0
            while at.lsn < end and (entries := await self._store.log_after(at.lsn, limit=_OPS)):
                entries = _up_to(entries, _SEGMENT_BYTES)
                sealed = await self._seal([entry.op for entry in entries])
                at = SegmentName(max(self._clock.wall_ms(), at.ms + 1), at.incarnation, entries[-1].lsn)
                await self._write_books()
                segment = Archived(region=self._store.region, cell=self._cell, ms=at.ms, last_lsn=at.lsn, ops=sealed)
                await self._blobs.put(segment_key(self._cell, at), encode_archived(segment))
                self._at = at
                done += len(sealed)
                self._segments += 1
            self._at = at
            self._ops += done
            return done

    async def rebase(self) -> int:
        """Make a base of everything archived, then forget what is past its time; the items in it."""
        async with self._turn:
            if self._at is None or self._at.ms == 0:
                return 0
            ms = self._at.ms
            latest = await self._latest()
            for slot, ops in latest.items():
                base = Archived(region=self._store.region, cell=self._cell, ms=ms, last_lsn=self._at.lsn, ops=ops)
                await self._blobs.put(base_key(self._cell, ms, slot), encode_archived(base))
            await self._blobs.put(base_key(self._cell, ms, "whole"), b"")  # comes last: a base without it is none
            self._based_ms = ms
            await self._forget(self._clock.wall_ms() - _KEPT_MS)
            return sum(map(len, latest.values()))

    async def _resume(self) -> SegmentName:
        """Where the archive ends; a store whose log is shorter begins a new incarnation.

        Nobody looks for what a clock that had jumped ahead has named, until then: from what was archived before it is
        made again.
        """
        now = self._clock.wall_ms()
        for day in reversed(days_between(now - _KEPT_MS, now)):
            names = map(SegmentName.parse, await self._blobs.keys(f"log/{self._cell}/{day}/"))
            if found := [name for name in names if name.ms <= now + _SLACK_MS]:
                at = found[-1]
                break
        else:
            at = SegmentName(0, 0, 0)
        await self._forget_ahead(now + _SLACK_MS)
        if at.lsn > self._store.statistics().last_lsn:
            at = SegmentName(at.ms, at.incarnation + 1, 0)
        return at

    async def _forget_ahead(self, most_ms: int) -> None:
        """Bases of a clock that had jumped ahead: once their time had come they would hide what came in between.

        If it is the clock that is behind now, they are good ones: what they held is in an earlier base and the segments
        since. Where none is earlier and they are so many that segments may be gone, nothing is forgotten.
        """
        bases = await self._bases()
        ahead = [ms for ms in bases if ms > most_ms]
        self._based_ms = max((ms for ms in bases if ms <= most_ms), default=0)
        if self._based_ms or len(ahead) <= BACKUPS_KEPT.days:
            for ms in ahead:
                await self._blobs.delete(f"base/{self._cell}/{ms:014d}/")

    async def _bases(self) -> list[int]:
        keys = await self._blobs.keys(f"base/{self._cell}/")
        return sorted(int(key.split("/")[2]) for key in keys if key.endswith("/whole"))

    async def _seal(self, ops: Sequence[Op]) -> list[SealedOp]:
        gone = {(op.slot, op.change.pk) for op in ops if op.change is not None and erases(op.change)}
        sealed: list[SealedOp] = []
        for number, op in enumerate(ops):
            if number % _BREATH == 0:
                await asyncio.sleep(0)
            book = await self._book(op.slot)
            if op.change is not None and (op.slot, op.change.pk) in gone:
                op = op if erases(op.change) else scrubbed(op)  # noqa: PLW2901 - what is archived of it
                sealed.append(book.seal_for_ever(op))
            else:
                sealed.append(book.seal(op))
        for slot, account in sorted(gone):
            await self._destroy(slot, account)
        return sealed

    async def _destroy(self, slot: str, account: str) -> None:
        """In the books of other cells too: the slot may have moved."""
        (await self._book(slot)).destroy(account)
        for key in await self._blobs.keys(f"books/{slot}/"):
            if key == book_key(slot, self._cell):
                continue
            other = Book.decode(await self._blobs.read(key), self._kek, key=key, entropy=self._entropy)
            other.destroy(account)
            if other.changed:
                await self._blobs.put(key, other.encode(self._kek, key=key))
        self._erased += 1

    async def _book(self, slot: str) -> Book:
        if (book := self._books.get(slot)) is None:
            key = book_key(slot, self._cell)
            try:
                book = Book.decode(await self._blobs.read(key), self._kek, key=key, entropy=self._entropy)
            except NotFound:
                book = Book(entropy=self._entropy)
            self._books[slot] = book
        return book

    async def _write_books(self) -> None:
        for slot, book in self._books.items():
            if book.changed:
                key = book_key(slot, self._cell)
                try:
                    await self._blobs.put(key, book.encode(self._kek, key=key))
                except EisbachError:
                    book.changed = True
                    raise

    async def _latest(self) -> dict[str, list[SealedOp]]:
        """Per slot the latest op of every item, from the last base and what came after; what has no key is left out."""
        found: dict[str, dict[tuple[str, str], SealedOp]] = {}
        keys = [k for k in await self._blobs.keys(f"base/{self._cell}/{self._based_ms:014d}/") if k[-5:] != "whole"]
        # Also what a clock that had jumped ahead has named: the store may have pruned it since.
        keys += [k for k in await self._blobs.keys(f"log/{self._cell}/") if SegmentName.parse(k).ms > self._based_ms]
        for key in keys:
            for number, sealed in enumerate(decode_archived(await self._blobs.read(key), key=key).ops):
                if number % _BREATH == 0:
                    await asyncio.sleep(0)
                op = (await self._book(sealed.slot)).open(sealed)
                if op is None or op.change is None:
                    continue
                items = found.setdefault(sealed.slot, {})
                place = (op.change.pk, op.change.sk)
                if place not in items or _version(items[place]) < op.version:
                    items[place] = sealed
        return {slot: list(items.values()) for slot, items in found.items()}

    async def _forget(self, before_ms: int) -> None:
        """Segments that a base has overtaken, and bases that a later one serves as well, before the window.

        Only while there are as many later bases as the window has days: a clock that jumps ahead would have it all
        forgotten at once, and makes one base. A cell that stood still keeps more for a while.
        """
        bases = await self._bases()
        keep = max((ms for ms in bases[: -BACKUPS_KEPT.days] if ms <= before_ms), default=None)
        if keep is None:
            return
        for ms in bases:
            if ms < keep:
                await self._blobs.delete(f"base/{self._cell}/{ms:014d}/")
        for key in await self._blobs.keys(f"log/{self._cell}/"):
            if SegmentName.parse(key).ms <= keep:
                await self._blobs.delete(key)


def _version(sealed: SealedOp) -> tuple[int, str, int]:
    return sealed.hlc, sealed.origin, sealed.seq


def _up_to(entries: Sequence[LogEntry], bytes_max: int) -> Sequence[LogEntry]:
    """As many as fit, at least one."""
    size = 0
    for number, op in enumerate(_ops(entries)):
        size += len(op.change.value or b"") if op.change is not None else 0
        size += len(op.event.data) if op.event is not None else 0
        if size > bytes_max and number:
            return entries[:number]
    return entries


def _ops(entries: Iterable[LogEntry]) -> Iterable[Op]:
    return (entry.op for entry in entries)
