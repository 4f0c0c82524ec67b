"""The one writer of a cell's tables in this process: decides a group of works in memory, then commits it to the log.

Promises: works are decided in order, against what was committed; after a commit that somebody else overtook, what the
log holds beyond memory is read and the works are decided again. Another process may write the same log: every commit
takes the next number, which only one can have, so one of two wins and the other begins again (docs/decisions/0022).
"""

from collections.abc import Sequence
from typing import Any, Final

from eisbach.engines.aws.group import Group, item_key, key_key
from eisbach.engines.aws.log_reads import LogReads
from eisbach.engines.aws.log_row import decode_body, kind_of
from eisbach.engines.aws.log_table import Conflicted, LogTable
from eisbach.engines.aws.memory import Desktop, Memory
from eisbach.engines.aws.tables import Row, Tables
from eisbach.engines.aws.unflushed import ItemPlace
from eisbach.engines.aws.works import ReleaseWork, Work
from eisbach.kernel.errors import EisbachError, Invalid, Overloaded, Unavailable
from eisbach.kernel.hlc import SKEW_MAX_MS, HybridClock, hlc_ms
from eisbach.ports.clock import Clock
from eisbach.ports.store_rules import RELEASING

__all__ = ["Writer"]

_TRIES: Final = 12
"""Decisions of a group before its callers are told to come again: others write this cell too, and faster."""
_LOADS: Final = 5
_ONE_BY_ONE: Final = 16
_BLIND_MAX_MS: Final = 3_600_000
"""Without a look at the log: numbers are forgotten after 7 days, and must not be taken by who slept so long."""


class Writer:
    """``works.Desk``."""

    def __init__(self, tables: Tables, *, region: str, cell: str, clock: Clock) -> None:
        self.tables, self.region, self.cell, self._clock = tables, region, cell, clock
        self.log = LogTable(tables, region=region)
        self.memory = Memory(region)
        self.slots = Desktop({})
        """As the works of the commit that is being decided see them."""
        self.reads = LogReads(self)
        self.commits = self.items_written = self.bytes_written = self.conflicts = self.overtaken = 0
        self.with_events = 0
        """Commits."""
        self._wall_ms = self._monotonic_ms = 0
        self._stale, self._followed_ms = True, 0
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
            for slot in self.memory.slots.values()
            if slot.held and slot.lease is not None and slot.lease.state in RELEASING
        ]
        if not heads or self.hlc is None:
            return None
        now = self.hlc.physical_ms(wall_ms=self._clock.wall_ms(), monotonic_ms=self._clock.monotonic_ms())
        return max(0, hlc_ms(min(heads)) - SKEW_MAX_MS - now)

    # --- memory --------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Memory from the tables, and from the log beyond what they show. The clock never goes back.

        Raises:
            Invalid: the tables are of another region.
            Unavailable, Overloaded: they cannot be read now.
        """
        for _ in range(_LOADS):
            if (memory := await self._loaded()) is not None:
                break
        else:
            raise Unavailable(f"cell {self.cell} is written too fast to be opened; try again")
        self.memory = memory
        if self.hlc is None:
            wall, monotonic = self._clock.wall_ms(), self._clock.monotonic_ms()
            self.hlc = HybridClock(wall_ms=wall, monotonic_ms=monotonic, persisted=memory.head.hlc)
        else:
            self.hlc.observe(memory.head.hlc)
        self._stale, self._followed_ms = False, self._clock.wall_ms()

    async def _loaded(self) -> Memory | None:
        """None when the log was pruned meanwhile beyond where it was to be read from.

        The rows may show more than ``head`` says, when somebody flushes: whatever they show lies in the log beyond
        ``head``, and comes to the same again.
        """
        tables = self.tables
        head = await tables.head()
        if head.region not in ("", self.region):
            raise Invalid(f"{tables.state} belongs to region {head.region!r}, not {self.region!r}; it never changes")
        if not head.region:
            await tables.show_head(head._replace(region=self.region))
        memory = Memory(self.region)
        for kind in ("slot", "erased", "held"):
            async for row in tables.query(tables.state, kind):
                fields = {name: value for name, value in row.items() if name not in ("pk", "sk", "n")}
                memory.take_put((kind, row["sk"]["S"], fields), 0)
        memory.begin(head)
        return memory if await self._read_on(memory) else None

    async def _read_on(self, memory: Memory) -> bool:
        """Take what the log holds beyond memory; False when the next row is gone, and later ones are there."""
        async for row in self.log.rows(memory.head.number + 1):
            if row.number != memory.head.number + 1:
                return False
            memory.take(row.number, decode_body(row.body), len(row.body))
        memory.seen()
        return True

    async def follow(self) -> None:
        """Learn what others have committed; one read unit when nothing is new."""
        assert self.hlc is not None
        memory, blind = self.memory, self._clock.wall_ms() - self._followed_ms > _BLIND_MAX_MS
        for _ in range(0 if blind else _ONE_BY_ONE):  # by its key: most often there is nothing
            row = await self.log.row(memory.head.number + 1)
            if row is None:
                break
            memory.take(row.number, decode_body(row.body), len(row.body))
        else:
            if not await self._read_on(memory):
                await self.load()
        self.memory.seen()
        self.hlc.observe(self.memory.head.hlc)
        self._stale, self._followed_ms = False, self._clock.wall_ms()

    # --- a group -------------------------------------------------------------------------------------------------

    async def run(self, works: Sequence[Work]) -> list[Any]:
        """Results in order; an exception in place of the result of a work that was refused.

        Raises:
            Overloaded, Unavailable: none of the group is written.
            OutcomeUnknown: AWS does not say.
        """
        for _ in range(_TRIES):
            try:
                blind = self._clock.wall_ms() - self._followed_ms > _BLIND_MAX_MS
                if self._stale or blind or any(work.refreshes for work in works):
                    await self.follow()
                while await self._commit([ReleaseWork()]) != [0]:
                    pass  # ops whose time has come go before any write
                return await self._commit(works)
            except Conflicted:
                self._stale = True
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
        head, self.slots = self.memory.head, Desktop(self.memory.slots)
        group = Group(region=self.region, now_ms=now, lsn=head.lsn, conflicts=head.conflicts)
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
        wanted = {place for work in works for place in work.ops(self)}
        for slot in {place[0] for place in wanted}:
            marks = [(origin, mark) for name, origin, mark in wanted if name == slot]
            for op in await self.reads.find(slot, marks):
                group.take_op(op)
        unknown: list[tuple[str, Row]] = []
        lacking: list[ItemPlace] = []
        for place in {item for work in works for item in work.items(group)}:
            known, item = self.memory.unflushed.known(place)
            if known:
                group.items[place] = item
            else:
                unknown.append(self._state(item_key(place)))
                lacking.append(place)
        for answer in {answer for work in works for answer in work.answers()}:
            known, kept = self.memory.answer(*key_key(*answer))
            if known:
                group.keys[answer] = kept  # type: ignore[assignment]
            else:
                unknown.append(self._state(key_key(*answer)))
        if unknown:
            group.take_rows(await self.tables.get_all(unknown))
            for place in lacking:
                self.memory.unflushed.remember(place, group.items.get(place))

    def _state(self, key: tuple[str, str]) -> tuple[str, Row]:
        return self.tables.state, {"pk": {"S": key[0]}, "sk": {"S": key[1]}}

    async def _write(self, group: Group) -> None:
        assert self.hlc is not None
        body, number = group.body(self.hlc.last), self.memory.head.number + 1
        size = await self.log.append(number, body)
        self.memory.take(number, body, size)
        self.memory.seen()
        self.commits += 1
        self.tables.usage.logged.update(kind_of(op, region=self.region) for op in body.ops)
        self.with_events += any(op.event is not None for op in body.ops)
        self.items_written += group.items_written
        self.bytes_written += size
        self.conflicts += group.conflicts
