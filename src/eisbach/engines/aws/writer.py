"""The one writer of a cell's tables in this process: decides a group of works in memory, then commits it.

Promises: works are decided in order, against what was committed; after a commit that somebody else overtook, memory is
read anew and the works are decided again. Another process may write the same tables: every commit compares the head
row, so one of two wins and the other begins again (docs/decisions/0012 has what that costs).
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from eisbach.engines.aws.group import Group, item_key, key_key, op_key, slot_put
from eisbach.engines.aws.log_reads import LogReads
from eisbach.engines.aws.slot_rows import HeldOp, SlotRows, SlotView
from eisbach.engines.aws.tables import Conflicted, Head, Row, Tables
from eisbach.engines.aws.works import ReleaseWork, Work
from eisbach.kernel.errors import EisbachError, Invalid, Overloaded
from eisbach.kernel.hlc import SKEW_MAX_MS, HybridClock, hlc_ms
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock

__all__ = ["Writer"]

_SAVED_EVERY: Final = 2048
"""Ops between two times that the slots' rows are written: what a start replays at most, give or take a commit. A cell
of 512 slots touches nearly all of them in any 256 ops, so that a row a slot was written for nearly every op."""
_REPLAYED_AT_ONCE: Final = 256
_SAVED_OFTEN: Final = 16
"""The same while other processes write this cell: whoever is overtaken replays it each time."""
_SLOTS_AT_ONCE: Final = 90
_TRIES: Final = 12
"""Decisions of a group before its callers are told to come again: others write this cell too, and faster."""


class Writer:
    """``works.Desk``."""

    def __init__(self, tables: Tables, *, region: str, cell: str, clock: Clock) -> None:
        self.tables, self.region, self.cell, self._clock = tables, region, cell, clock
        self.slots: dict[Slot, SlotRows] = {}
        self.views: dict[Slot, SlotView] = {}
        """As of the last commit."""
        self.tail: deque[tuple[int, Op]] = deque(maxlen=1024)
        """The end of the log, without gaps."""
        self.erasures: set[tuple[Slot, str]] = set()
        """Whose items and op bodies are not all gone yet."""
        self.head = Head()
        self.commits = self.items_written = self.bytes_written = self.conflicts = self.overtaken = 0
        self._wall_ms = self._monotonic_ms = 0
        self._unsaved: dict[str, SlotRows] = {}
        self._saved_every = _SAVED_EVERY
        self._stale = True
        self.hlc: HybridClock | None = None

    # --- what a work may ask -------------------------------------------------------------------------------------

    def stamp(self) -> int:
        """See ``works.Desk``."""
        assert self.hlc is not None
        return self.hlc.now(wall_ms=self._wall_ms, monotonic_ms=self._monotonic_ms)

    def observe(self, hlc: int) -> None:
        """See ``works.Desk``."""
        assert self.hlc is not None
        self.hlc.observe(hlc)

    def is_future(self, hlc: int) -> bool:
        """See ``works.Desk``."""
        assert self.hlc is not None
        return self.hlc.is_from_the_future(hlc, wall_ms=self._wall_ms, monotonic_ms=self._monotonic_ms)

    @property
    def held_for_ms(self) -> int | None:
        """How long until the first held op may be applied; None when none is held."""
        heads = [
            slot.held[0].hlc
            for slot in self.slots.values()
            if slot.held and (slot.lease is None or slot.lease.state != "importing")
        ]
        if not heads or self.hlc is None:
            return None
        now = self.hlc.physical_ms(wall_ms=self._clock.wall_ms(), monotonic_ms=self._clock.monotonic_ms())
        return max(0, hlc_ms(min(heads)) - SKEW_MAX_MS - now)

    # --- memory --------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Memory from the tables: at start, and when it is not to be trusted. The clock never goes back.

        Raises:
            Invalid: the tables are of another region.
            Unavailable, Overloaded: they cannot be read now.
        """
        self._stale = True
        tables = self.tables
        head = await tables.head()
        if head.region not in ("", self.region):
            raise Invalid(f"{tables.state} belongs to region {head.region!r}, not {self.region!r}; it never changes")
        slots: dict[Slot, SlotRows] = {}
        async for row in tables.query(tables.state, "slot"):
            one = SlotRows.decode(row["sk"]["S"], row["row"]["B"])
            slots[one.slot] = one
        erasures: set[tuple[Slot, str]] = set()
        async for row in tables.query(tables.state, "erased"):
            name, _, pk = row["sk"]["S"].partition("\0")
            slots[Slot.parse(name)].erased.add(pk)
            if int(row["open"]["N"]):
                erasures.add((Slot.parse(name), pk))
        replayed = await self._replay(slots, head)
        async for row in tables.query(tables.state, "held"):
            lsn, (hlc, epoch, seq) = int(row["sk"]["S"]), (int(row[name]["N"]) for name in ("hlc", "epoch", "seq"))
            held = HeldOp(lsn, hlc, row["origin"]["S"], Mark(epoch, seq))
            slots[Slot.parse(row["slot"]["S"])].held.append(held)
        if head != await tables.head():
            raise Conflicted  # somebody committed while it was read
        self._take(head, slots, erasures)
        self._unsaved = replayed

    async def _replay(self, slots: dict[Slot, SlotRows], head: Head) -> dict[str, SlotRows]:
        """Bring the slots' rows up to the end of the log; those that were behind."""
        found: dict[str, SlotRows] = {}
        reads = LogReads(self.tables, region=self.region, views={})
        lsn = head.saved
        while entries := await reads.log_after(lsn, _REPLAYED_AT_ONCE):
            for lsn, op in entries:  # noqa: B007 - the last one is where the next turn goes on
                slot = slots[Slot.parse(op.slot)]
                slot.logged(op, region=self.region)
                found[slot.name] = slot
        return found

    async def _save(self) -> None:
        """Write the rows of every slot that the log has moved since they were written."""
        rows, end = list(self._unsaved.values()), self.head.lsn
        for start in range(0, len(rows), _SLOTS_AT_ONCE):
            puts = [slot_put(self.tables, slot) for slot in rows[start : start + _SLOTS_AT_ONCE]]
            whole = start + _SLOTS_AT_ONCE >= len(rows)
            after = self.head._replace(saved=end if whole else self.head.saved, region=self.region)
            self.head = await self.tables.commit(self.head, after, puts)
        self._unsaved = {}

    def _take(self, head: Head, slots: dict[Slot, SlotRows], erasures: set[tuple[Slot, str]]) -> None:
        self.slots, self.erasures, self.head = slots, erasures, head
        self.views = {slot: one.view() for slot, one in slots.items()}
        self.tail.clear()
        if self.hlc is None:
            wall, monotonic = self._clock.wall_ms(), self._clock.monotonic_ms()
            self.hlc = HybridClock(wall_ms=wall, monotonic_ms=monotonic, persisted=head.hlc)
        else:
            self.hlc.observe(head.hlc)
        self._stale = False

    # --- a group -------------------------------------------------------------------------------------------------

    async def run(self, works: Sequence[Work]) -> list[Any]:
        """Results in order; an exception in place of the result of a work that was refused.

        Raises:
            Overloaded, Unavailable: none of the group is written.
            OutcomeUnknown: AWS does not say.
        """
        for _ in range(_TRIES):
            try:
                if not self._stale and any(work.refreshes for work in works):
                    self._stale = (await self.tables.head()).number != self.head.number
                if self._stale:
                    await self.load()
                if self.head.lsn - self.head.saved >= self._saved_every:
                    await self._save()
                    self._saved_every = min(_SAVED_EVERY, 2 * self._saved_every)
                while await self._commit([ReleaseWork()]) != [0]:
                    pass  # ops whose time has come go before any write
                return await self._commit(works)
            except Conflicted:
                self._stale, self._saved_every = True, _SAVED_OFTEN
                self.overtaken += 1
            except BaseException:
                self._stale = True
                raise
        raise Overloaded(
            f"cell {self.cell}: others committed before this process {_TRIES} times in a row; try again later"
        )

    async def _commit(self, works: Sequence[Work]) -> list[Any]:
        assert self.hlc is not None
        self._wall_ms, self._monotonic_ms = self._clock.wall_ms(), self._clock.monotonic_ms()
        now = self.hlc.physical_ms(wall_ms=self._wall_ms, monotonic_ms=self._monotonic_ms)
        group = Group(region=self.region, now_ms=now, lsn=self.head.lsn, conflicts=self.head.conflicts)
        await self._read(group, works)
        results: list[Any] = []
        for work in works:
            try:
                results.append(work.decide(self, group))
            except EisbachError as refused:
                results.append(refused)
        if not group.is_empty:
            await self._write(group)
        return results

    async def _read(self, group: Group, works: Sequence[Work]) -> None:
        wanted: dict[str, tuple[str, Row]] = {}
        for work in works:
            for slot, origin, mark in work.ops(self):
                place = op_key(self.tables, region=self.region, slot=slot, origin=origin, mark=mark)
                wanted[repr(place)] = place
        if wanted:
            group.take_rows(await self.tables.get_all(list(wanted.values())))
        wanted = {}
        state = self.tables.state
        for work in works:
            for item in work.items(group):
                wanted[repr(item)] = (state, item_key(item))
            for answer in work.answers():
                wanted[repr(answer)] = (state, key_key(*answer))
        if wanted:
            group.take_rows(await self.tables.get_all(list(wanted.values())))

    async def _write(self, group: Group) -> None:
        assert self.hlc is not None
        puts = group.puts(self.tables)
        after = self.head._replace(
            hlc=self.hlc.last, lsn=group.lsn, conflicts=group.conflict_number, region=self.region
        )
        self.head = await self.tables.commit(self.head, after, puts)
        for slot in group.touched.values():
            self.views[slot.slot] = slot.view()
        self._unsaved |= group.touched
        self.erasures |= group.erased
        self.tail.extend(group.entries)
        self.commits += 1
        self.items_written += group.items_written
        self.bytes_written += sum(_size(put.item) for put in puts if put.item is not None)
        self.conflicts += group.conflicts

    def forget_tail(self) -> None:
        """Ops were taken out of the log, or changed in it."""
        self.tail.clear()


def _size(item: Row) -> int:
    return sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())
