"""Moves of slots between the cells of a region: a reconciler without memory, restartable at every step.

Protocol (design section 3): PREPARE, COPY, TAIL, VERIFY, FREEZE, DRAIN, one COMMIT or ABORT by
compare-and-set on the slot's record, then ACTIVATE and GONE derived from the record and resent until heard. The
model and its mutants: ``tests/control/test_moves.py``. Promises:

- the record is the only word on who owns a slot; its epoch rises with every outcome, aborts included (P2);
- COMMIT needs a proof of *this* move: source frozen under it, target importing under it and holding the cut, hub too;
- from FREEZE to the outcome at most ``FREEZE_MAX_MS`` while this process runs; then it aborts. No cell unfreezes by
  itself: while this process is down in that moment, the slot is read-only (reads go on).

May not know: HTTP (see ``MoveCells``), how cells keep slots.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from eisbach.cell.moving import Freeze, Frozen, LeaseView, Settle
from eisbach.cell.slot_imports import ImportProgress, PrepareImport
from eisbach.cell.within import within
from eisbach.control.durations import Durations
from eisbach.control.slot_record import LOST, SlotRecord, SlotRecords
from eisbach.kernel.errors import EisbachError, Invalid, Rejected, Retryable, Unavailable, VersionConflict
from eisbach.kernel.slots import Slot
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore

__all__ = ["MoveCells", "Mover", "SlotRecord"]

FREEZE_MAX_MS: Final = 800
DEADLINE_MS: Final = 120_000
"""From PREPARE to FREEZE, see ``Durations``; then the move is given up, nothing was refused to anybody."""
AT_ONCE: Final = 2
"""Moves under way at a time: copies cost the cells that serve."""
DISCARD_AFTER_MS: Final = 60_000
"""What the slot has left behind is kept so long for reads that were on their way, and until its owner has shown it."""
RELAY_BEHIND_MAX: Final = 2_000
_ANSWER_MS: Final = 50
"""Left for the answer when a cell waits as long as it may."""
_BUSY_EVERY_S: Final = 0.05
_RESEND_EVERY_S: Final = 0.5
_IDLE_EVERY_S: Final = 5.0

_logger = structlog.get_logger(__name__)


class MoveCells(Protocol):
    """How cells of the region are reached by name; the simulated world replaces it.

    Every call raises Unavailable when the cell cannot be reached, and SlotMoved or EpochStale when it refuses.
    """

    def address(self, cell: str) -> str:
        """``host:port``, for the target to reach the source."""
        ...

    async def look(self, cell: str, slot: str) -> LeaseView:
        """The lease row."""
        ...

    async def prepare(self, cell: str, asked: PrepareImport) -> ImportProgress:
        """PREPARE, and how far the import is."""
        ...

    async def freeze(self, cell: str, asked: Freeze) -> Frozen:
        """FREEZE."""
        ...

    async def drain(self, cell: str, asked: Freeze) -> bool:
        """DRAIN."""
        ...

    async def settle(self, cell: str, asked: Settle) -> LeaseView:
        """ACTIVATE or GONE."""
        ...

    async def discard(self, cell: str, asked: Settle) -> bool:
        """Let go of what the slot has left behind."""
        ...


class Mover:
    """One per region, in its control process; several do no harm, each step is a compare-and-set."""

    def __init__(
        self,
        store: ControlStore,
        cells: MoveCells,
        *,
        names: Callable[[], Sequence[str]],
        publish: Callable[[Mapping[str, str]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        """Compose.

        Args:
            store: the region's control store.
            cells: its cells.
            names: the cells that may become owners now.
            publish: bring slot -> owner into the slot map; safe to repeat.
            clock: deadlines and pauses.
        """
        self._cells, self._names, self._publish, self._clock = cells, names, publish, clock
        self._records = SlotRecords(store)
        self._durations = Durations(clock)
        self._wake = asyncio.Event()
        self._noting = asyncio.Lock()
        self.waits: dict[str, str] = {}
        """Slot -> why its move did not get on when it was last looked at."""
        self._read_out = 0
        """How often records were given to somebody; see ``records``."""
        self.seen: Sequence[SlotRecord] = ()
        """Every record, as the last pass found it."""

    async def request(self, slot: Slot, *, owner: str, target: str) -> SlotRecord:
        """Queue a move; ``owner``: whose the slot is by the map, for a slot that never moved.

        Raises:
            Invalid: an unknown target, or the slot is there already.
            VersionConflict: another move of the slot is under way.
        """
        if target not in self._names():
            raise Invalid(f"cell {target[:40]!r} cannot take slots; those that can: {', '.join(self._names())}")
        found, revision = await self._records.get(str(slot))
        if found is not None and found.phase != "settled":
            raise VersionConflict(f"slot {slot} is on its way to {found.target} (move {found.move}); wait for its end")
        if found is not None and not {found.source, found.target} <= set(found.told):
            raise VersionConflict(f"slot {slot}: cells have not all heard of move {found.move}'s end; try again")
        owner = found.owner if found is not None else owner
        if owner == target:
            raise Invalid(f"slot {slot} is {target}'s already; nothing to move")
        kept = dict(found.kept) if found is not None else {}
        if found is not None and not found.discarded:
            kept[found.other] = found.move
        kept.pop(target, None)  # an import begins with an empty slot
        record = SlotRecord(
            slot=str(slot), owner=owner, epoch=found.epoch if found else 1, move=found.move if found else 0,
            phase="queued", source=owner, target=target, began_ms=self._clock.wall_ms(), kept=kept,
        )  # fmt: skip
        await self._records.put(record, expected=revision)
        self._wake.set()
        return record

    async def abort(self, slot: Slot, reason: str) -> SlotRecord:
        """Give up a move that has not committed: the competing compare-and-set.

        Raises:
            Invalid: none is under way.
        """
        found, revision = await self._records.get(str(slot))
        if found is None or found.phase == "settled":
            raise Invalid(f"slot {slot} is not being moved; nothing to abort")
        if found.phase == LOST:
            raise VersionConflict(
                f"slot {slot}: the record of move {found.move} was lost, it ends by itself; try again"
            )
        return await self._end(found, revision, "aborted", reason=reason)

    async def records(self) -> list[SlotRecord]:
        """Every slot that was ever moved, by name.

        What a cell was told before and is not on record yet is told again: a cell that asks may have been put back from
        an older copy, and judges itself by what it is given here (seed 421709).
        """
        async with self._noting:
            self._read_out += 1
            return await self._records.all()

    async def run(self) -> None:
        """Advance everything for ever; ends only by cancellation, at any point."""
        while True:
            self._wake.clear()
            pause_s = await self.activate()
            pause = asyncio.ensure_future(self._clock.sleep(pause_s))
            wake = asyncio.ensure_future(self._wake.wait())
            await asyncio.wait({pause, wake}, return_when=asyncio.FIRST_COMPLETED)
            pause.cancel()
            wake.cancel()
            await asyncio.gather(pause, wake, return_exceptions=True)

    async def activate(self) -> float:
        """One step of every move that is not done; in how many seconds to look again."""
        self.seen = records = await self._records.all()
        moving = [one for one in records if one.phase == "moving"]
        queued = [one for one in records if one.phase == "queued"][: max(0, AT_ONCE - len(moving))]
        settled = [one for one in records if one.phase == "settled" and not one.done]
        await asyncio.gather(*(self._advance(one.slot) for one in (*moving, *queued, *settled)))
        if moving or queued:
            return _BUSY_EVERY_S
        return (
            _RESEND_EVERY_S if any(not {one.source, one.target} <= set(one.told) for one in settled) else _IDLE_EVERY_S
        )

    async def _advance(self, slot: str) -> None:
        try:
            record, revision = await self._records.get(slot)
            if record is None or record.done:
                return
            if record.phase == "queued":
                await self._open(record, revision)
            elif record.phase == "moving":
                await self._drive(record, revision)
            else:
                await self._tell(record, revision)
                self.waits.pop(slot, None)
        except VersionConflict:
            return  # another pass was quicker; the next one reads again
        except EisbachError as error:
            self.waits[slot] = str(error)
            _logger.info("move_waits", slot=slot, error=str(error))

    async def _open(self, record: SlotRecord, revision: int) -> None:
        """PREPARE: under the epoch that the source has, and a move id of its own."""
        lease = await self._cells.look(record.source, record.slot)
        epoch = max(record.epoch, lease.epoch)
        if lease.move > record.move:
            raise Unavailable(
                f"{record.source} has slot {record.slot} {lease.state} by move {lease.move}, whose record was lost; the"
                " other cells are asked how that ended"
            )
        if lease.state != "active":
            reason = f"{record.source} has the slot {lease.state or 'not'}, not active"
            await self._end(msgspec.structs.replace(record, epoch=epoch), revision, "aborted", reason=reason)
            return
        moving = msgspec.structs.replace(
            record, phase="moving", epoch=epoch, move=max(record.move, lease.move) + 1, began_ms=self._clock.wall_ms()
        )
        await self._records.put(moving, expected=revision)

    async def _drive(self, record: SlotRecord, revision: int) -> None:
        """COPY, TAIL and VERIFY are the target's; FREEZE, DRAIN and the outcome follow when it is ready."""
        asked = PrepareImport(
            slot=record.slot, move=record.move, epoch=record.epoch, source=self._cells.address(record.source)
        )
        reason, late = "", self._durations.lasted_ms(record.slot, ("moving", record.move)) > DEADLINE_MS
        try:
            progress = await self._cells.prepare(record.target, asked)
            self.waits[record.slot] = progress.trouble
            lease = await self._cells.look(record.source, record.slot)
            if lease.state == "frozen" and lease.move == record.move:
                reason = await self._cut(record, revision)  # an earlier run of this process began it
            elif lease.state not in ("active", "frozen"):
                reason = f"{record.source} has the slot {lease.state or 'not'} by now, not active"
            elif progress.ready and lease.relay_behind <= RELAY_BEHIND_MAX:
                reason = await self._cut(record, revision)
            elif late:
                trouble = (
                    progress.trouble or f"{progress.verified} of 64 buckets verified, hub {lease.relay_behind} behind"
                )
                reason = f"not ready after {DEADLINE_MS // 1000} s: {trouble}"
        except VersionConflict:
            raise
        except Rejected as error:
            reason = str(error)
        except Retryable as error:
            if not late:
                raise
            reason = f"not ready after {DEADLINE_MS // 1000} s: {error}"
        if reason:
            await self._end(record, revision, "aborted", reason=reason)
            await self._advance(record.slot)  # at once: the source may be frozen

    async def _cut(self, record: SlotRecord, revision: int) -> str:
        """FREEZE, DRAIN, COMMIT; why it must abort instead, or nothing."""
        began = self._clock.monotonic_ms()
        asked = Freeze(slot=record.slot, move=record.move, epoch=record.epoch)
        reason = "a cell did not answer"
        while (left := began + FREEZE_MAX_MS - self._clock.monotonic_ms()) > 0:
            try:
                drained, relayed = await within(self._clock, left / 1000, self._proof(record, asked, left))
            except (Retryable, TimeoutError) as error:
                reason = str(error) or reason
                await self._clock.sleep(_BUSY_EVERY_S)
                continue
            if drained and relayed:
                freeze_ms = self._clock.monotonic_ms() - began
                await self._end(record, revision, "committed", freeze_ms=freeze_ms)
                await self._advance(record.slot)
                return ""
            reason = "the target lacked ops of the cut" if not drained else "the hub lacked events of the cut"
            await self._clock.sleep(_BUSY_EVERY_S)
        return f"{reason} within {FREEZE_MAX_MS} ms of the freeze"

    async def _proof(self, record: SlotRecord, asked: Freeze, wait_ms: int) -> tuple[bool, bool]:
        """FREEZE, then whether target and hub have the cut within ``wait_ms``.

        The hub is asked when the target has all: a target that finds the hub wiped publishes what it has by then.
        """
        until = self._clock.monotonic_ms() + wait_ms - _ANSWER_MS
        cut = await self._cells.freeze(record.source, asked)
        wait = msgspec.structs.replace(asked, vector=cut.vector, wait_ms=max(1, wait_ms - _ANSWER_MS))
        if not await self._cells.drain(record.target, wait):
            return False, False
        wait = msgspec.structs.replace(wait, wait_ms=max(1, until - self._clock.monotonic_ms()))
        return True, (await self._cells.freeze(record.source, wait)).relayed

    async def _end(
        self, record: SlotRecord, revision: int, outcome: str, *, reason: str = "", freeze_ms: int = 0
    ) -> SlotRecord:
        """The only point of decision: one compare-and-set, COMMIT or ABORT, under a higher epoch either way.

        Of a move that no cell has heard of nobody is told: under an epoch that a lost record gave to another cell, the
        source would wake up as a second owner. What was still to be done of the move before it, whose record it took
        the place of, is done: the map follows, and the target lets go of what it kept (seed 875).
        """
        unheard = record.phase == "queued"
        ended = msgspec.structs.replace(
            record,
            phase="settled",
            outcome=outcome,
            owner=record.target if outcome == "committed" else record.source,
            epoch=record.epoch + (not unheard),
            ended_ms=self._clock.wall_ms(),
            reason=reason,
            freeze_ms=freeze_ms,
            told=tuple(sorted({record.source, record.target})) if unheard else (),
            discarded=False,
        )
        await self._records.put(ended, expected=revision)
        self.waits.pop(record.slot, None)
        _logger.info("move_ended", slot=record.slot, move=record.move, outcome=outcome, reason=reason)
        self._wake.set()
        return ended

    async def _tell(self, record: SlotRecord, revision: int) -> None:
        """ACTIVATE the owner, then everybody else learns; what was not heard is sent again in the next pass."""
        other, told, kept, read_out = record.other, set(record.told), dict(record.kept), self._read_out
        over_ms = self._durations.lasted_ms(record.slot, ("settled", record.epoch))
        if record.owner not in told:
            await self._cells.settle(record.owner, Settle(slot=record.slot, move=record.move, epoch=record.epoch))
            told.add(record.owner)
        gone = Settle(slot=record.slot, move=record.move, epoch=record.epoch, owner=record.owner)
        discarded = record.discarded
        try:
            await self._publish({record.slot: record.owner})
            if other not in told:
                await self._cells.settle(other, gone)
                told.add(other)
            elif over_ms >= DISCARD_AFTER_MS and await self._has_it(record):
                if not discarded:
                    await self._cells.discard(other, gone)
                    discarded = True
                for cell, move in record.kept.items():
                    await self._cells.discard(cell, msgspec.structs.replace(gone, move=move))
                    del kept[cell]
        finally:
            async with self._noting:
                sure = record.told if read_out != self._read_out else tuple(sorted(told))
                news = msgspec.structs.replace(record, told=sure, discarded=discarded, kept=kept)
                if news != record:
                    await self._records.put(news, expected=revision)

    async def _has_it(self, record: SlotRecord) -> bool:
        """Whether the owner shows the slot under its epoch: an older copy of its store does not (P21, seed 8517)."""
        lease = await self._cells.look(record.owner, record.slot)
        return lease.epoch >= record.epoch and lease.state in ("active", "frozen", "away")
