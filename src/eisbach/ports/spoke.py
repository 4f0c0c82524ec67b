"""What a spoke is: a named function from an event to effects.

The effects and the inbox mark are committed together in the spoke host's own store; commands to the studio are then
delivered at least once under a key derived from the event id, so that repeats have one effect.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from eisbach.kernel.events import Event

__all__ = ["REPLAY_PREFIX", "Effects", "SpokeHandler", "SpokeSpec"]

REPLAY_PREFIX: Final = "replay-"
"""Of the subscriptions that replays read through; no spoke is named so."""


class Effects(Protocol):
    """What a handler may do; nothing happens before the handler returns."""

    def command(self, path: str, body: Mapping[str, Any]) -> None:
        """POST ``body`` to the region's studio cell once, under a key derived from the event and the call's place."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Write to the spoke's own state, in the transaction of the inbox mark."""
        ...

    def delete(self, key: str) -> None:
        """Delete from the spoke's own state, in the same transaction; nothing happens when it is not there."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Read the spoke's own state."""
        ...


SpokeHandler = Callable[[Event, Effects], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokeSpec:
    """A spoke and its policy."""

    name: str
    handler: SpokeHandler
    types: frozenset[str]
    """Event types it handles; the rest are acknowledged unseen."""
    scope: str = "home"
    """``home``: only events whose origin is this region; ``everywhere``: all."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Extension attributes that must be equal, e.g. ``{"market": "de"}``."""
    concurrency_max: int = 8
    """Events in work at once; per subject one at a time, in order."""
    attempts_max: int = 8
    """1 to 30; the next failure dead-letters the event."""
    waits_behind_failure: bool = True
    """Whether later events of a subject wait while an earlier one is held for its next try; False: they pass it, and
    order per subject is given up for as long as something of it fails."""
    first_delay: timedelta = timedelta(seconds=1)
    """Before attempt 2; doubles with full jitter up to ten minutes."""
    time_limit: timedelta = timedelta(seconds=30)
    """Of one attempt."""
