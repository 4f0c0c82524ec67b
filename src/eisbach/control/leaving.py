"""Whether a region may be left to another: only to one that shows that it serves, unless who asks says ``force``.

Promises, of two regions A and B whose control processes both run, without ``force``:

- a region is left only after the other one's control answered that it serves: it is neither evacuated, nor being
  evacuated, nor on its way back, every viewers' slot of it has a cell that answers and takes writes (its clock is not
  ahead, and its disk took the one that was tried), and none of these has left a slot to another region (the leases say
  so also when the control store, and the record in it, was lost);
- asked of both at the same moment, at most one goes, and perhaps none: each says first that it is leaving and asks
  then, so whichever of the two questions comes later finds the other one leaving. Both then step back, nothing is
  stopped, and who asks may ask again. What a region says of itself is kept in memory until the evacuation's record is
  on disk: a control process that dies in between has stopped nothing, and its evacuation has died with it;
- a region is not left while it is being returned, nor returned while it is being left, with ``force`` neither: each
  would undo what the other has just proved. The same command twice at once is one more hand at the same work.

What does not hold: with ``force`` no answer stops it, so both may go. A cut between the regions refuses a planned
evacuation (the other cannot be shown to serve, nor hold the last ops); a region that is lost without a plan is
declared so in the one that survives (``losses``), which asks nobody. A region that answered and burns a moment later
was asked too early, and so was one whose clock went ahead, or whose disk refused, a moment later: a full disk still
takes what fits into the room that SQLite's log has.
May not know: HTTP, the front.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from eisbach.control.evacuation import Evacuation, EvacuationRecord, SlotFound
from eisbach.kernel.errors import Denied, EisbachError
from eisbach.ports.clock import Clock

__all__ = ["ANSWER_S", "OTHER_OUT", "UNDER_WAY", "Leaving", "Standing", "missing", "why_out", "why_out_by_cells"]

OTHER_OUT: Final = "other_region_out"
"""Code of the refusal: nothing was stopped."""
ANSWER_S: Final = 2.0
"""Who asks from another region waits 4 s for all of it."""
UNDER_WAY: Final = "region_under_way"
"""Code of the refusal while the opposite is under way: nothing was changed."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a region says of itself to another that wants to be left to it."""

    region: str
    why_not: str
    """Why it does not serve; empty: it does."""
    missing: str = ""
    """Which of its slots nobody answers for, or takes writes of, and why; empty: none. Left to it, these would be
    served, or written, by nobody.
    """
    differing: dict[str, list[str]] = {}
    """Region -> slots that differ there from what is here, as cells of this one found (``cell.twin_digests``)."""
    silent: list[str] = []
    """Cells that have viewers' slots and did not answer."""


def why_out(leaving: str, last: EvacuationRecord | None) -> str:
    """Why a region does not serve by what its control knows; empty: nothing speaks against it.

    Args:
        leaving: the region that it is being left to at this moment; empty: to none.
        last: its last evacuation or return.
    """
    if leaving:
        return f"it is being evacuated to {leaving} at this moment"
    if last is None or (last.action == "return" and last.through):
        return ""
    if last.action != "return":
        return f"it was evacuated to {last.other} and has not returned"
    back = sum(one.proved for one in last.slots.values())
    return f"it is on its way back from {last.other}, {back} of {len(last.slots)} slots are proved"


def why_out_by_cells(states: Mapping[str, str]) -> str:
    """The same by its cells: viewers' slot -> state of its lease, empty where the cell does not answer."""
    away = sum(state == "away" for state in states.values())
    if away:
        return f"{away} of its {len(states)} slots are left to another region, by its cells"
    return "" if any(states.values()) else f"none of the cells that have its {len(states)} slots answers"


def missing(found: Mapping[str, SlotFound]) -> str:
    """Which slots are served by no cell that answers, or by one that takes no writes, and why; empty: none."""
    of = f"of its {len(found)} slots"
    silent = sorted(slot for slot, one in found.items() if not one.state)
    told = []
    if silent:
        told.append(f"{len(silent)} {of} have no cell that answers, {silent[0]} first: {_cells(silent, found)} did not")
    if stopped := sorted(slot for slot, one in found.items() if one.state and one.writes_stopped):
        why = f"{_cells(stopped, found)} cannot write though it answers: {found[stopped[0]].writes_stopped}"
        told.append(f"{len(stopped)} {of} have no writer, {stopped[0]} first: {why}")
    return "; ".join(told)


def _cells(slots: Sequence[str], found: Mapping[str, SlotFound]) -> str:
    """The first of them, and how many more."""
    more = len({found[slot].cell for slot in slots}) - 1
    return f"cell {found[slots[0]].cell}{f' and {more} more' if more else ''}"


class Leaving:
    """One per region, in its control process, before ``Evacuation``."""

    def __init__(
        self, evacuation: Evacuation, *, region: str, ask: Callable[[str], Awaitable[Standing]], clock: Clock
    ) -> None:
        """``ask``: what another region's control says of itself; an EisbachError when that cannot be learned."""
        self._evacuation, self._region, self._ask, self._clock = evacuation, region, ask, clock
        self._under_way: list[str] = []
        """Regions that this one is being left to at this moment, one a call."""
        self._coming_back: list[str] = []
        """Regions that it is being returned from at this moment, one a call."""

    async def standing(self, *, answer_s: float = ANSWER_S) -> Standing:
        """What this region says of itself; ``answer_s``: how long a cell that does not answer is waited for."""
        found = await self._evacuation.states(answer_s=answer_s)
        why = await self.why_out() or why_out_by_cells({slot: one.state for slot, one in found.items()})
        differing: dict[str, list[str]] = {}
        for slot, one in found.items():
            for region in one.differing:
                differing.setdefault(region, []).append(slot)
        silent = sorted({one.cell for one in found.values() if not one.state})
        return Standing(
            region=self._region, why_not=why, missing=missing(found), differing=differing, silent=silent
        )  # fmt: skip

    async def why_out(self) -> str:
        """Why it does not serve, by what is known here; empty: nothing speaks against it."""
        return why_out(self._under_way[-1] if self._under_way else "", await self._evacuation.last())

    async def leave(
        self, other: str, *, wait_ms: int, force: bool, announce: Callable[[], Awaitable[None]]
    ) -> EvacuationRecord:
        """Evacuate to ``other`` if that serves, within ``wait_ms`` altogether; ``announce``: before the first slot.

        Raises:
            Denied: ``other_region_out``: it does not, or does not say so; nothing was stopped. ``region_under_way``.
            Unavailable, VersionConflict: see ``Evacuation.perform``.
        """
        self._refuse_while_coming_back()
        began = self._clock.monotonic_ms()
        # Before the question: of two regions that ask each other at once, one at least hears of the other.
        self._under_way.append(other)
        try:
            stands = await self._heard(other) if force else await self._serving(other)
            await announce()
            left_ms = max(0, wait_ms - (self._clock.monotonic_ms() - began))
            return await self._evacuation.perform(
                "evacuate", other, wait_ms=left_ms, force=force, differing=self._differing(stands)
            )
        finally:
            self._under_way.remove(other)

    async def come_back(self, other: str, *, wait_ms: int, force: bool) -> EvacuationRecord:
        """Return from ``other``, within ``wait_ms`` altogether; ``force``: also with slots that differ there.

        Raises:
            Denied: ``region_under_way``.
            Unavailable, VersionConflict: see ``Evacuation.perform``.
        """
        if self._under_way:
            raise self._busy(f"evacuated to {self._under_way[-1]}")
        began = self._clock.monotonic_ms()
        self._coming_back.append(other)
        try:
            stands = await self._heard(other)
            left_ms = max(0, wait_ms - (self._clock.monotonic_ms() - began))
            return await self._evacuation.perform(
                "return", other, wait_ms=left_ms, force=force, differing=self._differing(stands)
            )
        finally:
            self._coming_back.remove(other)

    def _refuse_while_coming_back(self) -> None:
        if self._coming_back:
            raise self._busy(f"returned from {self._coming_back[-1]}")

    def _busy(self, what: str) -> Denied:
        return Denied(
            f"region {self._region} is being {what} at this moment. Nothing was changed; try again once that is over"
            " (eisbach regions list), within a minute",
            code=UNDER_WAY,
        )

    def _differing(self, stands: Standing | None) -> list[str]:
        return stands.differing.get(self._region, []) if stands is not None else []

    async def _heard(self, other: str) -> Standing | None:
        """What the other region says of itself where nothing depends on its answer; None: it does not answer."""
        try:
            return await self._ask(other)
        except EisbachError:
            return None

    async def may_leave(self, other: str) -> None:
        """Ask whether this region may be left to ``other``, and change nothing: for who has something to do before it.

        Raises:
            Denied: see ``leave``, which asks again.
        """
        self._refuse_while_coming_back()
        await self._serving(other)

    async def _serving(self, other: str) -> Standing:
        heal = f"eisbach status says what is not well in {other}: that first"
        stands = None
        try:
            stands = await self._ask(other)
        except EisbachError as error:
            why_not, advice = f"it cannot be asked: {error}", heal
        else:
            why_not = stands.why_not or stands.missing
            advice = f"eisbach regions return {other} brings it back" if stands.why_not else heal
        if why_not:
            raise Denied(
                f"region {self._region} is not left to {other}, which is not shown to serve: {why_not}. Nothing was"
                f" stopped. {advice}; --force goes all the same, and then perhaps nobody serves",
                code=OTHER_OUT,
            )
        assert stands is not None, "it was refused otherwise"
        return stands
