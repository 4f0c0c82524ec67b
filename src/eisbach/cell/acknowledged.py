"""What other regions hold of this store's own writes: the proof behind durability class ``peer``.

A puller's question carries its vectors, and what a vector covers is on that disk: so the next question acknowledges the
last answer, and waiting for it costs one round trip and the twin's fsync. In memory only: after a restart the next
question says it all again. May not know: HTTP, what is written.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from eisbach.cell.within import within
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock

__all__ = ["PEER_WAIT_MS", "Acknowledged"]

PEER_WAIT_MS: Final = 80
"""Design section 5: a wide-area round trip of 20 ms one way, an fsync, and room."""
_SILENT_MAX_MS: Final = 10_000
"""A region that has not asked for so long is not waited for: its answer would be no."""
_NOTHING: Final = Mark(0, 0)


class Acknowledged:
    """One a store."""

    def __init__(self, *, region: str, peers: Sequence[str], clock: Clock) -> None:
        """``region``: our own, whose marks count; ``peers``: regions that may hold our slots; others are not heard."""
        self._region, self._clock = region, clock
        self._marks: dict[str, dict[str, Mark]] = {peer: {} for peer in peers}
        """Peer -> slot -> how far it holds our own ops."""
        self._heard_ms: dict[str, int] = {}
        self._vectors: dict[str, dict[str, dict[str, Mark]]] = {peer: {} for peer in peers}
        """Peer -> slot -> all that it said to hold."""
        self._waiting: dict[str, list[tuple[Mark, asyncio.Event]]] = {}
        self._asked = asyncio.Event()
        self.reached = self.missed = 0
        """Writes that a peer held in time, and that none did."""

    @property
    def expected(self) -> bool:
        """Whether there is any region that could hold our writes."""
        return bool(self._marks)

    def note(self, peer: str, vectors: Mapping[str, Mapping[str, Mark]]) -> None:
        """What a puller's question says: slot -> its vector."""
        held = self._marks.get(peer)
        if held is None:
            return
        self._heard_ms[peer] = self._clock.monotonic_ms()
        for slot, vector in vectors.items():
            self._vectors[peer][slot] = dict(vector)
            mark = vector.get(self._region)
            if mark is None or mark <= held.get(slot, _NOTHING):
                continue
            held[slot] = mark
            for wanted, reached in self._waiting.get(slot, ()):
                if mark >= wanted:
                    reached.set()

    def vector(self, peer: str, slot: Slot) -> dict[str, Mark]:
        """What a region held of a slot when it last asked; empty before."""
        return dict(self._vectors.get(peer, {}).get(str(slot), {}))

    def holds(self, slot: Slot, mark: Mark) -> bool:
        """Whether some other region has everything up to ``mark`` on its disk."""
        return any(held.get(str(slot), _NOTHING) >= mark for held in self._marks.values())

    async def wait(self, slot: Slot, mark: Mark) -> bool:
        """Whether another region holds ``mark`` within 80 ms; at once when none listens. Cancellable."""
        if not self.holds(slot, mark) and self._listening():
            reached = asyncio.Event()
            waiting = self._waiting.setdefault(str(slot), [])
            place = (mark, reached)
            waiting.append(place)
            self._asked.set()
            self._asked = asyncio.Event()
            try:
                await within(self._clock, PEER_WAIT_MS / 1000, reached.wait())
            except TimeoutError:
                pass  # what is held now is the answer
            finally:
                waiting.remove(place)
                if not waiting:
                    self._waiting.pop(str(slot), None)
        held = self.holds(slot, mark)
        self.reached += held
        self.missed += not held
        return held

    async def until_awaited(self) -> None:
        """Return when a write waits for another region: at once when one does."""
        if not self._waiting:
            await self._asked.wait()

    def listens(self, peer: str) -> bool:
        """Whether a region has asked within the last ten seconds."""
        heard = self._heard_ms.get(peer)
        return heard is not None and self._clock.monotonic_ms() - heard < _SILENT_MAX_MS

    def _listening(self) -> bool:
        return any(self.listens(peer) for peer in self._heard_ms)
