"""The runner of one durable spoke: deliveries in, effects out, each event once.

Order per subject; at most ``concurrency_max`` events in work. An event that fails is held in the spoke's own table in
the transaction that accounts for it, so its envelope can be acknowledged and nobody else waits; it is tried again with
a growing delay, and its subject queues behind it. What cannot succeed (``Rejected``, not decodable, attempts used up)
goes to the dead letters. An event whose predecessor has not come is held until it comes, or until patience ends.
A crash at any point leaves the envelope unacknowledged and either all of an event's effects or none.
May not know: engines, what a handler does, how commands are sent.
"""

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog

from eisbach.hub.claim_check import ClaimChecks
from eisbach.hub.delays import delay_after
from eisbach.hub.effects import OWN_PREFIX, RecordedEffects
from eisbach.hub.failures import first_of, stack_of
from eisbach.hub.held import HeldEvents
from eisbach.hub.inbox import Inbox, Verdict
from eisbach.hub.intake import Intake, open_subscription
from eisbach.hub.nudge import Nudge
from eisbach.hub.turns import Turns
from eisbach.kernel.errors import FileDamaged, Invalid, Rejected
from eisbach.kernel.events import Event
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog, UnreadableEnvelope
from eisbach.ports.spoke import SpokeSpec
from eisbach.ports.spoke_store import DeadLetter, FailedAttempt, Held, Settlement, SpokeStore

__all__ = ["GAP_PATIENCE", "HELD_MAX", "SpokeRunner", "SpokeStatistics", "Surroundings"]

HELD_MAX: Final = 10_000
"""Held events of a spoke; beyond, it stops reading, and the backlog stays in the event log."""
GAP_PATIENCE: Final = timedelta(seconds=30)
"""How long an event waits for its predecessor. Then it is handled, the gap is counted, and the predecessor is still
handled if it comes later: order is given up, never an event."""
_IN_FLIGHT_MAX: Final = 8
_IN_WORK_MAX: Final = 128
"""Events in work or waiting for their turn, or twice ``concurrency_max``: the next envelope is taken in below it. Of 16
spokes with eight full envelopes each, an event cost a tenth more CPU: 8,192 tasks fit no cache."""
_LONGEST_DELAY: Final = timedelta(minutes=10)
_HISTORY_MAX: Final = 30
_REASON_CHARS: Final = 2000
_UNREADABLE_SHOWN: Final = 4096
_PAUSED: Final = f"{OWN_PREFIX}paused"

_logger = structlog.get_logger(__name__)
_decoder = msgspec.json.Decoder(Event[msgspec.Raw])


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokeStatistics:
    """Since start; no I/O to read them."""

    handled: int
    repeats: int
    """Events that had been accounted for and were dropped."""
    failures: int
    dead_letters: int
    held: int
    in_work: int
    at_work: int
    gaps_outwaited: int
    """Events handled without their predecessor: look for what published it."""
    paused: bool
    """With ``at_work`` 0 it is drained: no handler runs, and the rest waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where spokes run."""

    region: str
    log: EventLog
    store: SpokeStore
    clock: Clock
    rng: random.Random
    """For jitter."""
    claims: ClaimChecks | None = None
    """Where payloads above 64 KiB lie; None: an event that has one is a dead letter."""


class SpokeRunner:
    """One a spoke."""

    def __init__(self, spec: SpokeSpec, around: Surroundings) -> None:
        self.spec = spec
        self.commands = Nudge()
        """Nudged when commands were written."""
        self.brake: Callable[[], Awaitable[None]] | None = None
        """Rehearsal only: awaited before each attempt, outside its time limit; a process that hangs or is slow."""
        self._log, self._store, self._region = around.log, around.store, around.region
        self._clock, self._rng, self._claims = around.clock, around.rng, around.claims
        self._reset(Inbox({}))
        self._turns = Turns(spec.concurrency_max)
        self._in_work_max = max(_IN_WORK_MAX, 2 * spec.concurrency_max)
        self._room, self._changed = Nudge(), Nudge()
        self._going = asyncio.Event()
        self._going.set()
        self._handled = self._repeats = self._failures = self._dead = self._outwaited = 0

    async def run(self) -> None:
        """Read and handle for ever.

        Raises:
            Retryable: log or store cannot be used now; run again later, nothing is lost.
            Exception: a bug of ours; the same holds.
        """
        await self._load()
        subscription, at_first = await open_subscription(
            self._log, self._store, self.spec.name, in_flight_max=_IN_FLIGHT_MAX
        )
        intake = Intake(self._clock, at_first=at_first)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(intake.prolong())
                tasks.create_task(self._run_held(tasks))
                tasks.create_task(self._take_in(intake, tasks))
                await intake.read(subscription)
        except BaseExceptionGroup as group:
            raise first_of(group) from group
        finally:
            await subscription.aclose()

    def statistics(self) -> SpokeStatistics:
        """What happened since start."""
        return SpokeStatistics(
            handled=self._handled, repeats=self._repeats, failures=self._failures, dead_letters=self._dead,
            held=len(self._held), in_work=len(self._working), at_work=self._turns.taken,
            gaps_outwaited=self._outwaited, paused=not self._going.is_set(),
        )  # fmt: skip

    async def pause(self) -> None:
        """Start nothing more, also after a restart, until ``resume``; what is at work is finished."""
        await self._keep_paused(b"1")
        self._going.clear()
        self._turns.hold()

    async def resume(self) -> None:
        """Go on where it stopped; nothing happens when it was not paused."""
        await self._keep_paused(b"")
        self._going.set()
        self._turns.release()
        self._changed.nudge()

    async def _keep_paused(self, value: bytes) -> None:
        await self._store.settle(Settlement(spoke=self.spec.name, event_id="", subject="", state={_PAUSED: value}))

    def wants(self, event: Event) -> bool:
        """Whether it is one of this spoke's: type, scope and attributes."""
        return self._reads(event) and _wanted(self.spec, event)

    def has_handled(self, event: Event) -> bool:
        """Whether it is this spoke's, accounted for, and neither in work nor held."""
        settled = event.id not in self._events and event.id not in self._working
        return self.wants(event) and settled and self._inbox.judge(event) is Verdict.seen

    async def handle_again(self, event: Event, *, due_ms: int) -> None:
        """Have a handled event handled once more, as if it failed before; a second call replaces the first."""
        held = Held(
            event_id=event.id, subject=event.subject, why="retry", attempt=0, due_ms=due_ms,
            event=msgspec.json.encode(event),
        )  # fmt: skip
        self._remember(event, held)
        await self._store.settle(self._settlement(event, hold=held))

    def _reads(self, event: Event) -> bool:
        return event.type in self.spec.types and (self.spec.scope == "everywhere" or event.origin == self._region)

    def redriven(self) -> None:
        """A dead letter was put back into the store: load it at the next turn."""
        self._reload = True
        self._changed.nudge()

    def _reset(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._held = HeldEvents()
        self._events: dict[str, Event] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._tails: dict[str, asyncio.Task[None]] = {}
        self._reload = False

    async def _load(self) -> None:
        self._reset(Inbox(await self._store.inbox(self.spec.name)))
        if await self._store.get(self.spec.name, _PAUSED):
            self._going.clear()
            self._turns.hold()
        await self._load_held()

    async def _load_held(self) -> None:
        self._reload = False
        for held in await self._store.held(self.spec.name):
            if held.event_id not in self._events:
                event = _decoder.decode(held.event)
                self._events[held.event_id] = event
                self._held.put(held, event.hlc)
                if held.why == "gap":
                    self._inbox.admit(event, waiting=True)

    # Deliveries

    async def _take_in(self, intake: Intake, tasks: asyncio.TaskGroup) -> None:
        """One envelope after the other, each as soon as there is room."""
        async for delivery in intake.deliveries():
            await self._going.wait()
            while len(self._held) >= HELD_MAX:
                await self._clock.sleep(1)
            while len(self._working) >= self._in_work_max:
                await self._room.wait(self._clock)
            if isinstance(delivery.envelope, UnreadableEnvelope):
                await self._bury_unreadable(delivery.sequence, delivery.envelope)
                await intake.acknowledge(delivery)
                continue
            working = [self._admit(event, tasks) for event in delivery.envelope.events]
            tasks.create_task(intake.acknowledge(delivery, [w for w in working if w is not None]))

    def _admit(self, event: Event, tasks: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        """What the envelope has to wait for before it may be acknowledged; None for nothing."""
        if not self._reads(event):
            return None
        verdict = self._inbox.judge(event)
        if verdict is Verdict.seen:
            self._repeats += 1
            return self._working.get(event.id)
        gap = verdict is Verdict.gap
        self._inbox.admit(event, waiting=gap)
        if not _wanted(self.spec, event):
            work = self._pass_over(event)
        elif gap:
            # Held at once and not queued behind its subject: what it waits for would come to stand behind it.
            work = self._hold(event, "gap", due_ms=self._clock.wall_ms() + _ms(GAP_PATIENCE), accounted=False)
        else:
            work = self._work(event, self._tails.get(event.subject))
        task = tasks.create_task(work)
        self._working[event.id] = task
        if not gap:
            self._tails[event.subject] = task
        task.add_done_callback(lambda _: self._done(event, task))
        return task

    def _done(self, event: Event, task: asyncio.Task[None]) -> None:
        self._working.pop(event.id, None)
        if self._tails.get(event.subject) is task:
            del self._tails[event.subject]
        self._changed.nudge()
        self._room.nudge()

    async def _bury_unreadable(self, sequence: int, found: UnreadableEnvelope) -> None:
        """Bytes that nobody can read are set aside too, else they would come for ever; twice after a crash."""
        self._dead += 1
        name, start = f"envelope:{sequence}", base64.b64encode(found.body[:_UNREADABLE_SHOWN]).decode()
        _logger.error("envelope_unreadable", spoke=self.spec.name, sequence=sequence, reason=found.reason)
        dead = DeadLetter(
            spoke=self.spec.name, event_id=name, kind="envelope", subject="", reason=found.reason[:_REASON_CHARS],
            at_ms=self._clock.wall_ms(), body=msgspec.json.encode({"bytes": len(found.body), "base64": start}),
        )  # fmt: skip
        await self._store.settle(Settlement(spoke=self.spec.name, event_id=name, subject="", dead=dead))

    # Events

    async def _pass_over(self, event: Event) -> None:
        await self._settle(event, self._settlement(event, mark=self._inbox.account(event)))

    async def _work(self, event: Event, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        if self.spec.waits_behind_failure and self._held.waits(event.subject, event.hlc):
            await self._hold(event, "behind", due_ms=self._clock.wall_ms(), accounted=True)
        else:
            async with self._turns:
                await self._attempt(event, None)

    async def _hold(self, event: Event, why: str, *, due_ms: int, accounted: bool) -> None:
        held = Held(
            event_id=event.id, subject=event.subject, why=why, attempt=0, due_ms=due_ms,
            event=msgspec.json.encode(event),
        )  # fmt: skip
        # In memory first: whatever of the subject comes while the disk is at work has to queue behind this.
        self._remember(event, held)
        mark = self._inbox.account(event) if accounted else None
        await self._store.settle(self._settlement(event, mark=mark, hold=held))

    def _remember(self, event: Event, held: Held) -> None:
        self._events[event.id] = event
        self._held.put(held, event.hlc)
        self._changed.nudge()

    async def _run_held(self, tasks: asyncio.TaskGroup) -> None:
        """Start whatever held event may run; wake when one is due, settled, or its predecessor has come."""
        while True:
            if self._reload:
                await self._load_held()
            if not self._going.is_set():
                await self._changed.wait(self._clock)
                continue
            now = self._clock.wall_ms()
            ready, later = self._held.due(now, released=self._released)
            for held in ready:
                if held.event_id not in self._working and held.subject not in self._tails:
                    self._start_held(held, tasks, now)
            wait = None if later is None else max(0.001, (later - now) / 1000)
            await self._changed.wait(self._clock, wait)

    def _start_held(self, held: Held, tasks: asyncio.TaskGroup, now: int) -> None:
        event = self._events[held.event_id]
        if held.why == "gap" and held.due_ms <= now and not self._inbox.knows_predecessor(event):
            self._outwaited += 1
            _logger.warning("gap_outwaited", spoke=self.spec.name, event_id=event.id, missing=event.prev or event.after)
        if held.why == "gap":
            self._inbox.admit(event)
        task = tasks.create_task(self._retry(event, held))
        self._working[event.id] = task
        self._tails[event.subject] = task
        task.add_done_callback(lambda _: self._done(event, task))

    def _released(self, held: Held) -> bool:
        return held.why == "gap" and self._inbox.knows_predecessor(self._events[held.event_id])

    async def _retry(self, event: Event, held: Held) -> None:
        async with self._turns:
            await self._attempt(event, held)

    async def _attempt(self, event: Event, held: Held | None) -> None:
        effects = RecordedEffects(event, spoke=self.spec.name, store=self._store)
        if self.brake is not None:
            await self.brake()
        try:
            async with asyncio.timeout(self.spec.time_limit.total_seconds()):
                await self.spec.handler(event if event.dataref is None else await self._redeem(event), effects)
        except FileDamaged:  # the host's own file, not the handler's failure: it would cost the event its attempts
            raise
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; it is counted, kept and said why
            await self._failed(event, held, error)
            return
        self._handled += 1
        mark = self._inbox.account(event) if held is None or held.why == "gap" else None
        done = self._settlement(
            event, mark=mark, commands=effects.commands, state=effects.state, release=held is not None
        )
        await self._settle(event, done)
        if effects.commands:
            self.commands.nudge()

    async def _redeem(self, event: Event) -> Event:
        if self._claims is None:
            raise Invalid(f"event {event.id} has a claim check ({event.dataref}), and there is no blob store here")
        return await self._claims.redeem(event)

    async def _failed(self, event: Event, held: Held | None, error: Exception) -> None:
        self._failures += 1
        attempt = (held.attempt if held else 0) + 1
        now = self._clock.wall_ms()
        said = f"not done within {self.spec.time_limit}" if isinstance(error, TimeoutError) else str(error)
        reason = f"{type(error).__name__}: {said}"[:_REASON_CHARS]
        history = [*(held.history if held else ()), FailedAttempt(now, reason, stack_of(error))][-_HISTORY_MAX:]
        raw = msgspec.json.encode(event)
        mark = self._inbox.account(event) if held is None or held.why == "gap" else None
        _logger.warning("spoke_failed", spoke=self.spec.name, event_id=event.id, attempt=attempt, reason=reason)
        if attempt >= self.spec.attempts_max or isinstance(error, Rejected | msgspec.DecodeError | UnicodeDecodeError):
            self._dead += 1
            dead = DeadLetter(
                spoke=self.spec.name, event_id=event.id, kind="event", subject=event.subject, reason=reason,
                at_ms=now, body=raw, history=history,
            )  # fmt: skip
            await self._settle(event, self._settlement(event, mark=mark, release=held is not None, dead=dead))
            return
        delay = delay_after(attempt, first=self.spec.first_delay, longest=_LONGEST_DELAY, rng=self._rng)
        again = Held(
            event_id=event.id, subject=event.subject, why="retry", attempt=attempt, due_ms=now + _ms(delay),
            event=raw, history=history,
        )  # fmt: skip
        self._remember(event, again)
        await self._store.settle(self._settlement(event, mark=mark, hold=again))

    def _settlement(self, event: Event, **parts: Any) -> Settlement:
        return Settlement(spoke=self.spec.name, event_id=event.id, subject=event.subject, **parts)

    async def _settle(self, event: Event, settlement: Settlement) -> None:
        await self._store.settle(settlement)
        self._held.remove(event.subject, event.id)
        self._events.pop(event.id, None)


def _wanted(spec: SpokeSpec, event: Event) -> bool:
    return all(getattr(event, name) == wanted for name, wanted in spec.where.items())


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
