"""Replay: have one spoke handle again what it has handled, from the event log.

Reads the log through a durable subscription of its own, so that the spoke's position does not move; every chosen event
goes to the spoke's held events, due at the wished rate, and takes the ordinary way from there: order per subject,
attempts, dead letters. Commands keep their keys, so the studio does not do twice within 48 hours what it has done.
Events that the spoke has not handled yet are left alone: they come by themselves.
Reaches as far back as the event log (seven days); a crash in between leaves those that were chosen, and no more.
May not know: engines, HTTP.
"""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import msgspec

from eisbach.hub.runner import HELD_MAX, SpokeRunner
from eisbach.kernel.errors import NotFound, Overloaded, Retryable
from eisbach.kernel.events import Event
from eisbach.kernel.hlc import hlc_ms
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.ports.spoke import REPLAY_PREFIX

__all__ = ["REPLAY_MAX", "ReplayCount", "ReplayWish", "every_event", "forget_replays", "replay"]

REPLAY_MAX: Final = HELD_MAX // 2
"""Events of one replay; the other half of what may be held is for what fails meanwhile."""


class ReplayWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events, and how fast."""

    from_ms: int = 0
    """Wall clock of the event's op, inclusive."""
    to_ms: int = 1 << 53
    """Exclusive."""
    from_event: str = ""
    """Id of an event: it, and what came after it in the hub's log; empty: from the beginning of the log."""
    subject: str = ""
    """Only this subject; empty: all."""
    rate: float = 50.0
    """Events a second, 0.1 to 1000."""
    dry_run: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayCount:
    """What a replay chose."""

    chosen: int
    read: int
    """Events of the log that were looked at."""


async def replay(wish: ReplayWish, runner: SpokeRunner, log: EventLog, *, clock: Clock) -> ReplayCount:
    """Choose, and unless it is a dry run have them handled again.

    Raises:
        NotFound: the hub does not hold ``from_event``.
        Overloaded: more than ``REPLAY_MAX``, nothing was done; choose a shorter time.
        Unavailable: log or store cannot be used now; of a real run some may have been chosen.
    """
    read, chosen, begun = 0, list[Event](), not wish.from_event
    async with contextlib.aclosing(every_event(log, runner.spec.name)) as events:
        async for event in events:
            read += 1
            begun = begun or event.id == wish.from_event
            if not begun:
                continue
            if not wish.from_ms <= hlc_ms(event.hlc) < wish.to_ms or (wish.subject and event.subject != wish.subject):
                continue
            if runner.has_handled(event):
                chosen.append(event)
            if len(chosen) > REPLAY_MAX:
                raise Overloaded(
                    f"spoke {runner.spec.name} has handled over {REPLAY_MAX} events of that time; choose less"
                )
    if not begun:
        raise NotFound(
            f"the hub does not hold event {wish.from_event[:80]!r} (it keeps seven days); use a time instead"
        )
    if not wish.dry_run:
        start = clock.wall_ms()
        for place, event in enumerate(chosen):
            await runner.handle_again(event, due_ms=start + int(place * 1000 / wish.rate))
    return ReplayCount(chosen=len(chosen), read=read)


async def every_event(log: EventLog, spoke: str) -> AsyncGenerator[Event, None]:
    """Every event that the log holds now, in its order, once."""
    name = f"{REPLAY_PREFIX}{spoke}"[:64]
    subscription = await log.subscribe(name, anew=True)
    try:
        state = (await log.state()).get(name)
        left = state.backlog if state is not None else 0
        if left == 0:
            return
        seen: set[str] = set()
        async for delivery in subscription:
            await delivery.ack()
            for event in delivery.envelope.events:
                if event.id not in seen:
                    seen.add(event.id)
                    yield event
            left -= 1
            if left == 0:
                return
    finally:
        await subscription.aclose()
        with contextlib.suppress(Retryable):  # what stays is cleared away when the host starts again
            await log.forget(name)


async def forget_replays(log: EventLog) -> int:
    """Forget what replays and backfills left that were cut short; how many. Only while none is under way.

    A subscription that nobody reads keeps SQLite's log from being pruned, and its queue fills on AWS.

    Raises:
        Unavailable: the log cannot be used now; again later is the same.
    """
    left = [name for name in await log.state() if name.startswith(REPLAY_PREFIX)]
    for name in left:
        await log.forget(name)
    return len(left)
