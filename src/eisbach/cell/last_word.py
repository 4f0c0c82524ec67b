"""What another region's cell holds of a slot at this moment, by its own word: what a return must have.

What a twin said before proves nothing of now: it may have stood still, or been cut off, with writes that it
acknowledged since. Promises: the question is sent after the call begins, so its answer covers everything that was
acknowledged there before. A cell that does not answer is not asked again for a second, whatever the slot: of a cell
that hangs every slot would wait in turn. May not know: why somebody wants to know.
"""

from collections.abc import Callable
from typing import Final

from eisbach.cell.pull_messages import PeerTransport, PullRequest
from eisbach.cell.within import within
from eisbach.kernel.errors import EisbachError, Unavailable
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, covers
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = ["LastWord"]

_ANSWER_S: Final = 2.0
_SILENT_MS: Final = 1_000
_PULLED_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.01
_NOTHING: Final = Mark(0, 0)


class LastWord:
    """Of one other region; one a store."""

    def __init__(
        self, store: Store, transport: PeerTransport, *, owner: Callable[[str], str | None], region: str, clock: Clock
    ) -> None:
        """``owner``: slot -> its cell over there, as far as known."""
        self._store, self._transport, self._owner = store, transport, owner
        self._region, self._clock = region, clock
        self._silent: dict[str, tuple[int, str]] = {}
        """Cell over there -> until when it is not asked again, and what became of the last question."""

    async def vector(self, slot: Slot) -> dict[str, Mark]:
        """What it holds; waits a second for the puller to bring what is not here. Cancellable.

        Raises:
            Unavailable: it does not say so within two seconds; ask again.
        """
        theirs = await self._asked(slot)
        until_ms = self._clock.monotonic_ms() + int(_PULLED_S * 1000)
        while not covers(await self._store.vector(slot), theirs) and self._clock.monotonic_ms() < until_ms:
            await self._clock.sleep(_LOOK_EVERY_S)
        return theirs

    async def _asked(self, slot: Slot) -> dict[str, Mark]:
        text = str(slot)
        cell = self._owner(text)
        if cell is None:
            raise Unavailable(f"which cell of region {self._region} has slot {text} is not known here yet")
        until_ms, why = self._silent.get(cell, (0, ""))
        if self._clock.monotonic_ms() < until_ms:
            raise Unavailable(why)
        ours = dict(await self._store.vector(slot))
        question = PullRequest(
            slots={text: ours}, limit=1, wait_ms=0, wall_ms=self._clock.wall_ms(),
            region=self._store.region, bytes_max=1,
        )  # fmt: skip
        who = f"cell {cell} of region {self._region}"
        try:
            answer = await within(self._clock, _ANSWER_S, self._transport.pull(cell, question))
        except (EisbachError, TimeoutError) as error:
            why = f"{who} does not say what it has now: {str(error) or f'no answer within {_ANSWER_S:g} s'}"
            self._silent[cell] = (self._clock.monotonic_ms() + _SILENT_MS, why)
            raise Unavailable(why) from error
        if text in answer.moved:
            raise Unavailable(f"slot {text} is just being moved in region {self._region}")
        if why := answer.failed.get(text) or answer.doubt:
            raise Unavailable(f"{who} cannot say what it has now: {why}")
        if text not in answer.batches:
            return ours
        heads = answer.batches[text].heads
        return {origin: max(heads.get(origin, _NOTHING), ours.get(origin, _NOTHING)) for origin in heads | ours}
