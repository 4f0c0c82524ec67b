"""The held events of one spoke, in memory: who may run next, and when.

Per subject a queue by hybrid time, which agrees with the order of every origin: only its head may run, so that order
per subject holds while other subjects go on, and a predecessor that comes late goes before what waits for it.
Pure memory; the store has the same entries.
"""

import bisect
from collections.abc import Callable
from typing import NamedTuple

from eisbach.ports.spoke_store import Held

__all__ = ["HeldEvents"]


class _Entry(NamedTuple):
    hlc: int
    held: Held


class HeldEvents:
    """All of one spoke."""

    def __init__(self) -> None:
        self._queues: dict[str, list[_Entry]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def waits(self, subject: str, hlc: int) -> bool:
        """Whether an event of the subject has to queue behind an earlier one."""
        queue = self._queues.get(subject)
        return queue is not None and queue[0].hlc < hlc

    def put(self, held: Held, hlc: int) -> None:
        """Queue it, or replace the entry of the same event."""
        self.remove(held.subject, held.event_id)
        bisect.insort(self._queues.setdefault(held.subject, []), _Entry(hlc, held), key=lambda entry: entry.hlc)
        self._count += 1

    def remove(self, subject: str, event_id: str) -> None:
        """It is settled; nothing happens when it was not held."""
        queue = self._queues.get(subject, [])
        for place, entry in enumerate(queue):
            if entry.held.event_id == event_id:
                del queue[place]
                self._count -= 1
                break
        if not queue:
            self._queues.pop(subject, None)

    def due(self, now_ms: int, *, released: Callable[[Held], bool]) -> tuple[list[Held], int | None]:
        """Heads that may run now, and when the next one may.

        ``released``: whether one that waits for its predecessor needs to wait no longer.
        """
        ready: list[Held] = []
        later: int | None = None
        for queue in self._queues.values():
            head = queue[0].held
            if head.due_ms <= now_ms or released(head):
                ready.append(head)
            else:
                later = head.due_ms if later is None else min(later, head.due_ms)
        return ready, later
