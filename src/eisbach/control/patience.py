"""Cells that do not answer hold up nobody who asks for many slots: each is waited for once, and then named.

Promises: of one round of questions, a cell that was silent for ``answer_s`` is asked nothing more: every further
question is refused at once with the same words. What was asked of it may be carried out yet, as with any silence.
May not know: HTTP, what is asked.
"""

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from eisbach.cell.moving import StandAside, StoodAside
from eisbach.cell.within import within
from eisbach.kernel.errors import Unavailable
from eisbach.ports.clock import Clock

__all__ = ["PatientCells", "RegionCells"]

T = TypeVar("T")


class RegionCells(Protocol):
    """How cells of the region are reached by name."""

    async def stand_aside(self, cell: str, asked: StandAside) -> StoodAside:
        """Leave a slot to another region, or take it back."""
        ...

    async def vectors(self, cell: str, asked: StandAside) -> StoodAside:
        """What both regions hold of a slot."""
        ...


class PatientCells:
    """``RegionCells`` for one round of questions."""

    def __init__(self, cells: RegionCells, *, answer_s: float, clock: Clock) -> None:
        """``answer_s``: how long one answer is waited for."""
        self._cells, self._answer_s, self._clock = cells, answer_s, clock
        self.silent: set[str] = set()
        """Cells that did not answer in time."""

    async def stand_aside(self, cell: str, asked: StandAside) -> StoodAside:
        """See ``RegionCells``."""
        return await self._answer(cell, self._cells.stand_aside(cell, asked))

    async def vectors(self, cell: str, asked: StandAside) -> StoodAside:
        """See ``RegionCells``."""
        return await self._answer(cell, self._cells.vectors(cell, asked))

    async def _answer(self, cell: str, work: Coroutine[Any, Any, T]) -> T:
        if cell in self.silent:
            work.close()
            raise self._silence(cell)
        try:
            return await within(self._clock, self._answer_s, work)
        except TimeoutError as error:
            self.silent.add(cell)
            raise self._silence(cell) from error

    def _silence(self, cell: str) -> Unavailable:
        return Unavailable(f"cell {cell} did not answer within {self._answer_s:g} s")
