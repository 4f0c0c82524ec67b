"""The one writer of a store file: takes a group of works, decides each in order, writes, commits once.

Promises: a refused work has written nothing and touched no neighbour; what ``run_group`` returned is fsynced; after a
failure memory equals the file again. A work that breaks its group by a bug is told alone, its neighbours are written.
Who opened the file last is its writer: an older opening (a process that slept through its own replacement) finds out
at its next commit and never writes again. Runs on the store's disk seam, never in two places at once.
May not know: asyncio beyond the futures that works carry, callers, HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.gaps import PageGaps
from eisbach.engines.embedded.group import Group, ItemPlace
from eisbach.engines.embedded.item_cache import ItemCache
from eisbach.engines.embedded.presence import Presence
from eisbach.engines.embedded.slot_rows import HeldOp, SlotRows, SlotView, load_slots, save_slots
from eisbach.engines.embedded.store_errors import DISK_ERRORS, FILE_DAMAGE, StoreErrors
from eisbach.engines.embedded.works import Work
from eisbach.kernel.erasure import erases
from eisbach.kernel.errors import EisbachError, OutcomeUnknown, Unavailable
from eisbach.kernel.hlc import SKEW_MAX_MS, HybridClock, hlc_ms
from eisbach.kernel.limits import CONFLICTS_KEPT
from eisbach.kernel.merge import NO_BASE, Stored, judge
from eisbach.kernel.ops import ItemChange, Op, decode_op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Version
from eisbach.ports.clock import Clock
from eisbach.ports.store import IMPORTED_LSN_MIN
from eisbach.ports.store_rules import RELEASING

__all__ = ["Writer"]

_CONFLICTS_KEPT_MS: Final = int(CONFLICTS_KEPT.total_seconds() * 1000)
_ROWS_SAVED_EVERY: Final = 4096
"""Ops between two times that the small rows go to the file: what a start replays at most, give or take a group."""
_LOOK_EVERY_MS: Final = 10
"""Between two looks whether the file has its name: a look costs 8 us, and what was acknowledged just before a file was
removed is lost like what is acknowledged just after."""
_UNPUBLISHED: Final = "SELECT value FROM meta WHERE key IN ('unacknowledged', 'unpublished')"
_SWEEP_EVERY: Final = 64
_SWEEP_ROWS: Final = 64
_SWEEP_KEYS: Final = (
    "DELETE FROM keys WHERE (slot, scope, key) IN (SELECT slot, scope, key FROM keys WHERE expires_ms <= ? LIMIT ?)"
)
_SWEEP_CONFLICTS: Final = (
    "DELETE FROM conflicts WHERE id IN"
    " (SELECT id FROM (SELECT id, at_ms FROM conflicts ORDER BY id LIMIT ?) WHERE at_ms <= ?)"
)


class Writer:
    """Holds the writing connection and, in memory, the small rows that every write needs."""

    def __init__(
        self,
        database: apsw.Connection,
        *,
        opened: int,
        region: str,
        cell: str,
        clock: Clock,
        presence: Presence | None = None,
    ) -> None:
        """``opened``: from ``schema.claim``; the number under which this opening writes. ``presence``: None where
        files have no names of this machine (a simulated disk).
        """
        self._presence, self._lost, self._looked_ms = presence, "", clock.monotonic_ms()
        self.database, self.region, self.cell = database, region, cell
        self.errors = StoreErrors(database.filename)
        self.opened, self._clock, self._cache = opened, clock, ItemCache()
        self.conflicts = self.items_written = self.bytes_written = self.commits = self.unwritten = 0
        self.entries: list[tuple[int, Op]] = []
        """(lsn, op) committed since readers last took them; they empty it."""
        self.views: list[SlotView] = []
        """The slots moved since then."""
        self.erasing = 0
        """Erasures whose op bodies are not all gone yet."""
        self.puts: list[Mapping[ItemPlace, tuple[Any, ...]]] = []
        """The items written since then."""
        self.forgot = self.removed = False
        """Whether ops were taken out of the log since then; whether items went that are not in ``puts``."""
        self.unpublished = bool(rows(database, _UNPUBLISHED))
        """Whether no relay may have published from this file yet: it looks."""
        self._load()
        self.hlc = HybridClock(
            wall_ms=clock.wall_ms(), monotonic_ms=clock.monotonic_ms(), persisted=self._persisted_hlc
        )

    def _load(self) -> None:
        """Memory from the file: at start, and after a group that could not be committed. The clock never goes back."""
        self._stale = self.removed = True
        self._cache.clear()
        head = rows(self.database, "SELECT hlc, last_lsn, rows_lsn FROM head")[0]
        self._persisted_hlc, self.last_lsn, self._rows_lsn = map(int, head)
        self._last_number = int(rows(self.database, "SELECT coalesce(max(id), 0) FROM slots")[0][0])
        query = "SELECT coalesce(max(lsn), ?) FROM ops WHERE lsn < 0"
        self._last_import = int(rows(self.database, query, (IMPORTED_LSN_MIN,))[0][0])
        self.slots: dict[Slot, SlotRows] = load_slots(self.database, region=self.region, rows_lsn=self._rows_lsn)
        self._unsaved = {slot.number: slot for slot in self.slots.values()} if self.last_lsn > self._rows_lsn else {}
        self._holding = {slot.number: slot for slot in self.slots.values() if slot.held}
        self.erasing = int(rows(self.database, "SELECT count(*) FROM scrubs")[0][0])
        self._stale = False

    # --- what a work may ask -----------------------------------------------------------------------------------

    def stamp(self) -> int:
        """See ``works.Desk``."""
        return self.hlc.now(wall_ms=self._wall_ms, monotonic_ms=self._monotonic_ms)

    def is_future(self, hlc: int) -> bool:
        """See ``works.Desk``."""
        return hlc >= self.horizon

    def hold(self, slot: SlotRows) -> None:
        """See ``works.Desk``."""
        self._holding[slot.number] = slot

    def observe(self, hlc: int) -> None:
        """See ``works.Desk``."""
        self.hlc.observe(hlc)

    def number(self) -> int:
        """See ``works.Desk``."""
        self._last_number += 1
        return self._last_number

    def merge(
        self, group: Group, slot: SlotRows, op: Op, *, late: bool = False, keep: bool = True
    ) -> tuple[bool, bool]:
        """See ``works.Desk``."""
        self.hlc.observe(op.hlc)
        change = op.change
        if change is None:
            return False, False
        place, base, version = (slot.number, change.pk, change.sk), change.base, Version(op.hlc, op.origin, op.seq)
        if change.pk in slot.erased or erases(change):
            return self._merge_erased(group, slot, op, change), False
        stored = group.known[place] if place in group.known else group.stored(self.database, place)
        wins, conflict = judge(stored, version, base, late=late, here=slot.serving(self.region))
        if keep and conflict and stored is not None:
            loser = (*stored.version, group.value(self.database, place)) if wins else (*version, change.value)
            winner = version if wins else stored.version
            group.rows["conflicts"].append((*place, *loser, *winner, group.now_ms))
            group.conflicts += 1
        if wins:
            before = base[:2] if base is not None else NO_BASE
            group.put(place, change.value, Stored(*version, *before, change.value is not None))
        return wins, conflict

    def _merge_erased(self, group: Group, slot: SlotRows, op: Op, change: ItemChange) -> bool:
        """Of an erased account only the mark counts, the higher of two: nobody loses anything by it."""
        if not erases(change):
            return False
        place = (slot.number, change.pk, change.sk)
        if change.pk not in slot.erased:
            group.erase(slot, change.pk)
        stored, version = group.stored(self.database, place), op.version
        if stored is not None and stored.version >= version:
            return False
        base = change.base[:2] if change.base is not None else NO_BASE
        group.put(place, change.value, Stored(*version, *base, change.value is not None))
        return True

    @property
    def held_for_ms(self) -> int | None:
        """How long until the first held op may be applied; None when none is held."""
        heads = [slot.held[0].hlc for slot in self._holding.values() if slot.held and slot.state in RELEASING]
        if not heads:
            return None
        wall, monotonic = self._clock.wall_ms(), self._clock.monotonic_ms()
        now = self.hlc.physical_ms(wall_ms=wall, monotonic_ms=monotonic)
        return max(0, hlc_ms(min(heads)) - SKEW_MAX_MS - now)

    # --- a group -----------------------------------------------------------------------------------------------

    def run_group(self, works: Sequence[Work]) -> list[Any]:
        """Results in order; an exception in place of the result of a work that was refused or failed.

        Raises:
            Unavailable: the disk refused; none of the group is written.
            OutcomeUnknown: the disk failed in the commit itself and then again.
            FileDamaged: the file is.
        """
        try:
            return self._commit_group(works)
        except EisbachError:
            self.unwritten += 1
            self._reload()
            raise
        except apsw.Error as error:
            self._reload()
            if isinstance(error, DISK_ERRORS + FILE_DAMAGE):
                self.unwritten += 1
                raise self.errors.refusal(error, f"store {self.region}/{self.cell}, commit of {len(works)}") from error
            return self._one_by_one(works, error)
        except Exception as error:  # noqa: BLE001 - a bug in one work; told to its caller, kept from the neighbours
            self._reload()
            return self._one_by_one(works, error)

    def _one_by_one(self, works: Sequence[Work], error: Exception) -> list[Any]:
        if len(works) == 1:
            return [error]
        results: list[Any] = []
        for work in works:
            try:
                results += self.run_group([work])
            except EisbachError as refused:
                results.append(refused)
        return results

    def _reload(self) -> None:
        try:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            self._load()
        except apsw.Error:
            self._stale = True  # the disk does not even read; the next group tries again before anything else

    def lost(self) -> str:
        """Why nothing that is written here will be found again; empty while all is well."""
        name = self._presence.lost() if self._presence is not None and not self._lost else ""
        if name:
            self._lost = (
                f"{name} was removed or replaced while store {self.region}/{self.cell} had it open; this process"
                " writes no more"
            )
        return self._lost

    def _commit_group(self, works: Sequence[Work]) -> list[Any]:
        if self._lost:
            raise Unavailable(f"{self._lost}; nothing was written")
        if self._stale:
            self._load()
        self._wall_ms, self._monotonic_ms = self._clock.wall_ms(), self._clock.monotonic_ms()
        now = self.hlc.physical_ms(wall_ms=self._wall_ms, monotonic_ms=self._monotonic_ms)
        self.horizon = self.hlc.horizon(wall_ms=self._wall_ms, monotonic_ms=self._monotonic_ms)
        group = Group(now_ms=now, last_lsn=self.last_lsn, last_import=self._last_import, cache=self._cache)
        group.load(self.database, [place for work in works for place in work.places(self)])
        self._release_held(group)
        results: list[Any] = []
        for work in works:
            try:
                results.append(work.decide(self, group))
            except EisbachError as refused:
                results.append(refused)
        if not group.is_empty:
            self._flush(group)
        return results

    def _flush(self, group: Group) -> None:
        database = self.database
        database.execute("BEGIN IMMEDIATE")
        self._unsaved |= group.touched
        save = group.save or group.last_lsn - self._rows_lsn >= _ROWS_SAVED_EVERY
        self._head(group.last_lsn, group.last_lsn if save else self._rows_lsn)
        group.flush(database)
        if save:
            save_slots(database, self._unsaved)
        self._sweep(group)
        try:
            database.execute("COMMIT")
        except apsw.IOError as error:
            # The commit's frames may be whole on the disk although its fsync failed: then a crash now would bring the
            # group back to life. A further commit overwrites them, and what was told ("nothing") becomes true.
            if not self._overwritten():
                raise OutcomeUnknown(
                    f"store {self.region}/{self.cell}: the disk failed in a commit ({error}); repeat with the same key"
                ) from error
            raise
        if self._monotonic_ms - self._looked_ms >= _LOOK_EVERY_MS:
            self._looked_ms = self._monotonic_ms
            if self.lost():
                raise OutcomeUnknown(f"{self._lost}; this was written where nobody may ever look")
        self._cache.keep(group.known)
        self.last_lsn, self._last_import = group.last_lsn, group.last_import
        self.entries += group.entries
        self.puts.append(group.puts)
        self.removed = self.removed or bool(group.swept or group.rows["erased"])
        self.views += [slot.view for slot in group.touched.values()]
        self.forgot = self.forgot or bool(group.rows["forgotten"] or group.rows["scrubbed"])
        self.erasing += len(group.rows["scrubs"]) - len(group.rows["scrub_ended"])
        if save:
            self._rows_lsn = group.last_lsn
            self._unsaved.clear()
        self.commits += 1
        self.items_written += group.items_written
        self.bytes_written += group.bytes_written
        self.conflicts += group.conflicts

    def _head(self, last_lsn: int, rows_lsn: int) -> None:
        """Comes first in a commit: after another opening, memory is not to be trusted."""
        self.database.execute(
            "UPDATE head SET hlc = ?, last_lsn = ?, rows_lsn = ? WHERE opened = ?",
            (self.hlc.last, last_lsn, rows_lsn, self.opened),
        )
        if self.database.changes() != 1:
            raise Unavailable(
                f"store {self.region}/{self.cell} was opened by another process after opening {self.opened};"
                " nothing was written and this process writes no more: stop it"
            )

    def identify(self, candidate: str) -> str:
        """See ``SqliteStore``; outside of groups, since no group needs it."""
        with self.database:
            self.database.execute("INSERT OR IGNORE INTO meta VALUES('identity', ?)", (candidate,))
        return str(rows(self.database, "SELECT value FROM meta WHERE key = 'identity'")[0][0])

    def is_unpublished_at(self, sequence: int, *, ours: bool) -> bool:
        """See ``SqliteStore``; as ``identify``."""
        keys, seen = "key IN ('unacknowledged', 'unpublished')", str(sequence)
        with self.database:
            if ours:
                self.database.execute(f"DELETE FROM meta WHERE {keys}")  # noqa: S608 - a constant
            self.database.execute(f"UPDATE meta SET value = ? WHERE {keys} AND value = ''", (seen,))  # noqa: S608 - as above
            # Of the version before, which went by the number alone: a whole log would be told anew after an upgrade.
            self.database.execute("DELETE FROM meta WHERE key = 'unpublished' AND value != ?", (seen,))
            found = rows(self.database, _UNPUBLISHED)
        self.unpublished = bool(found)
        return found == [(seen,)]

    def wipe(self, gaps: PageGaps | None, page: int) -> int | None:
        """A step of making deleted bytes unreadable: the write-ahead log, which holds pages as they were, is emptied,
        the gaps of pages are wiped; the page to go on with, 0 at the end, None while a reader still needs the log.
        """
        if rows(self.database, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
            return None
        if gaps is None:  # the disk is not this machine's own
            self.database.execute("VACUUM")
            return None if rows(self.database, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0] else 0
        following = gaps.wipe(page)
        self.database.execute("PRAGMA shrink_memory")  # an image in the page cache would bring the bytes back
        return following

    def _overwritten(self) -> bool:
        try:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            self.database.execute("BEGIN IMMEDIATE")
            self.stamp()  # another hlc: SQLite writes no page for a row that stays as it is (seed 458361)
            self._head(self.last_lsn, self._rows_lsn)
            self.database.execute("COMMIT")
        except (apsw.Error, Unavailable):
            return False
        return True

    def _sweep(self, group: Group) -> None:
        """Bounded, and faster than what comes in: expired keys, old conflicts."""
        turn = self.commits % _SWEEP_EVERY == 0
        if group.keys or turn:
            self.database.execute(_SWEEP_KEYS, (group.now_ms, _SWEEP_ROWS + 2 * len(group.keys)))
        if turn:
            self.database.execute(_SWEEP_CONFLICTS, (_SWEEP_ROWS, group.now_ms - _CONFLICTS_KEPT_MS))

    def _release_held(self, group: Group) -> None:
        """Apply what was held back, as far as time has come."""
        for slot in [one for one in self._holding.values() if one.state in RELEASING or not one.held]:
            self.release(group, slot, lambda _held: True)

    def release(self, group: Group, slot: SlotRows, may: Callable[[HeldOp], bool], *, keep: bool = True) -> None:
        """See ``works.Desk``."""
        count = 0
        for held in slot.held:
            if self.is_future(held.hlc) or not may(held):
                break
            op = decode_op(rows(self.database, "SELECT body FROM ops WHERE lsn = ?", (held.lsn,))[0][0])
            if self.is_future(op.hlc):  # a file of format 2 knows no hlc here
                slot.held[count] = held._replace(hlc=op.hlc)
                break
            self.merge(group, slot, op, keep=keep)
            group.rows["released"].append((slot.number, held.lsn))
            count += 1
        if count:
            slot.released(count)
            group.touched[slot.number] = slot  # readers are told that it is applied
        if not slot.held:
            self._holding.pop(slot.number, None)
