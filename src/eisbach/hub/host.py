"""The spoke host: many spokes and one sender of commands, none of which can hurt another.

Each runs in its own loop that starts it again, with growing delay, after whatever ended it.
May not know: engines, HTTP, which spokes there are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import structlog

from eisbach.hub.backfill import BackfillCount, BackfillWish, Snapshots, backfill
from eisbach.hub.commands import CommandSender, CommandTransport
from eisbach.hub.delays import delay_after
from eisbach.hub.failures import told_to_end
from eisbach.hub.nudge import Nudge
from eisbach.hub.replay import ReplayCount, ReplayWish, replay
from eisbach.hub.runner import SpokeRunner, Surroundings
from eisbach.kernel.errors import FileDamaged, Invalid, NotFound, Retryable
from eisbach.ports.spoke import SpokeSpec
from eisbach.ports.spoke_store import DeadLetter

__all__ = ["SPOKE_FAULTS", "SpokeHost"]

_FIRST_DELAY: Final = timedelta(milliseconds=100)
_LONGEST_DELAY: Final = timedelta(seconds=5)
SPOKE_FAULTS: Final = ("kill", "down", "hang", "slow")
_SLOW_BY: Final = timedelta(seconds=2)
"""What a slow spoke adds to each attempt."""

_logger = structlog.get_logger(__name__)


class SpokeHost:
    """One process a region."""

    def __init__(
        self,
        specs: Sequence[SpokeSpec],
        around: Surroundings,
        *,
        transport: CommandTransport,
        snapshots: Snapshots | None = None,
    ) -> None:
        """``snapshots``: what a backfill tells from; None: there is none here."""
        self._snapshots = snapshots
        store, clock, rng = around.store, around.clock, around.rng
        self._store, self._clock, self._rng = store, clock, rng
        nudge = Nudge()
        self._around = around
        self._runners: dict[str, SpokeRunner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._replaceable: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._sender = CommandSender(store, transport, clock=clock, rng=rng, nudge=nudge)
        self._nudge = nudge
        self._restarts: dict[str, int] = {"commands": 0}
        self._trouble: dict[str, str] = {}
        self._broken: dict[str, str] = {}
        """Spoke -> fault, in rehearsal."""
        for spec in specs:
            self._add(spec)

    async def run(self) -> None:
        """Run everything until cancelled.

        Raises:
            ExceptionGroup: of FileDamaged: the store is damaged.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep("commands", self._sender.run))
            self._group = tasks
            for name in self._runners:
                self._start(name)

    @property
    def names(self) -> Sequence[str]:
        """The spokes that run."""
        return list(self._runners)

    async def replace(self, specs: Sequence[SpokeSpec]) -> None:
        """Make these the spokes beside those it was built with; what an earlier call brought is stopped.

        A spoke that comes again under its name goes on at its durable position: what was in work is delivered again.

        Raises:
            Invalid: a name of a spoke that it was built with; nothing was changed.
        """
        if fixed := {spec.name for spec in specs} & (set(self._runners) - self._replaceable):
            raise Invalid(f"spokes {', '.join(sorted(fixed))} are built in; name yours otherwise")
        left = [self._tasks.pop(name) for name in self._replaceable if name in self._tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for name in self._replaceable:
            del self._runners[name], self._restarts[name]
            self._trouble.pop(name, None)
            self._broken.pop(name, None)
        self._replaceable = {spec.name for spec in specs}
        for spec in specs:
            self._add(spec)
            if self._group is not None:
                self._start(spec.name)

    def _add(self, spec: SpokeSpec) -> None:
        runner = SpokeRunner(spec, self._around)
        runner.commands = self._nudge
        self._runners[spec.name] = runner
        self._restarts[spec.name] = 0

    def _start(self, name: str) -> None:
        assert self._group is not None, "started by run, or by replace after it"
        self._tasks[name] = self._group.create_task(self._keep(name, self._runners[name].run))

    async def fault(self, spoke: str, kind: str) -> None:
        """Break one spoke until ``heal``, or crash it once (``kill``); the others do not notice. Rehearsal only.

        Raises:
            NotFound: no such spoke here.
            Invalid: not one of ``SPOKE_FAULTS``.
        """
        runner = self._runner(spoke)
        if kind not in SPOKE_FAULTS:
            raise Invalid(f"fault {kind[:20]!r} is not for a spoke; use one of {', '.join(SPOKE_FAULTS)}")
        await self.heal(spoke)
        if kind in ("kill", "down"):
            await self._crash(spoke)
        if kind == "kill":
            self._start(spoke)
            return
        self._broken[spoke] = kind
        runner.brake = self._hang if kind == "hang" else self._drag

    async def heal(self, spoke: str) -> None:
        """End its fault: what it had in work is delivered again. Nothing happens when it has none.

        Raises:
            NotFound: no such spoke here.
        """
        self._runner(spoke).brake = None
        kind = self._broken.pop(spoke, "")
        if kind == "hang":  # what stands at the brake stands there for ever, as in a process that is ended
            await self._crash(spoke)
        if kind in ("down", "hang"):
            self._start(spoke)

    async def _crash(self, spoke: str) -> None:
        """As kill -9 would: whatever is in work is dropped where it stands."""
        task = self._tasks.pop(spoke)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _hang(self) -> None:
        await asyncio.Event().wait()

    async def _drag(self) -> None:
        await self._clock.sleep(_SLOW_BY.total_seconds())

    async def replay(self, spoke: str, wish: ReplayWish) -> ReplayCount:
        """Have a spoke handle again what it has handled; see ``hub.replay``.

        Raises:
            NotFound: no such spoke here.
            Invalid: a rate that is none.
            Overloaded, Unavailable: see ``hub.replay``.
        """
        if not 0.1 <= wish.rate <= 1000:
            raise Invalid(f"a replay at {wish.rate} events a second is out of bounds; use 0.1 to 1000")
        return await replay(wish, self._runner(spoke), self._around.log, clock=self._clock)

    async def backfill(self, spoke: str, wish: BackfillWish) -> BackfillCount:
        """Give a spoke a page of the history that the hub no longer holds; see ``hub.backfill``.

        Raises:
            NotFound: no such spoke here.
            Invalid: a rate that is none, or nothing to tell from here.
            Unavailable: see ``hub.backfill``.
        """
        if self._snapshots is None:
            raise Invalid("there is no snapshot to backfill from here")
        if not 0.1 <= wish.rate <= 1000:
            raise Invalid(f"a backfill at {wish.rate} events a second is out of bounds; use 0.1 to 1000")
        return await backfill(wish, self._runner(spoke), self._snapshots, self._around.log, clock=self._clock)

    async def pause(self, spoke: str) -> None:
        """Have a spoke start nothing more until it is resumed, also after a restart.

        Raises:
            NotFound: no such spoke here.
        """
        await self._runner(spoke).pause()

    async def resume(self, spoke: str) -> None:
        """Have a spoke go on.

        Raises:
            NotFound: no such spoke here.
        """
        await self._runner(spoke).resume()

    def _runner(self, spoke: str) -> SpokeRunner:
        if spoke not in self._runners:
            raise NotFound(f"spoke {spoke[:80]!r} does not run here; there are {', '.join(sorted(self._runners))}")
        return self._runners[spoke]

    async def redrive(self, number: int) -> DeadLetter:
        """Put a dead letter back to work.

        Raises:
            NotFound: no such dead letter.
        """
        letter = await self._store.redrive(number, now_ms=self._clock.wall_ms())
        if letter.kind == "event" and letter.spoke in self._runners:
            self._runners[letter.spoke].redriven()
        self._nudge.nudge()
        return letter

    def statistics(self) -> Mapping[str, Any]:
        """JSON: per spoke its statistics, restarts and what troubles it now."""
        return {
            "spokes": {
                name: {
                    **asdict(runner.statistics()),
                    "restarts": self._restarts[name],
                    "trouble": self._trouble.get(name),
                    "fault": self._broken.get(name),
                }
                for name, runner in self._runners.items()
            },
            "commands": {**asdict(self._sender.statistics()), "trouble": self._trouble.get("commands")},
        }

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            started = self._clock.monotonic_ms()
            self._trouble.pop(name, None)
            try:
                await run()
                raise AssertionError(f"{name} ended by itself")
            except Retryable as error:
                _logger.warning("spoke_waits", spoke=name, error=str(error))
                self._trouble[name] = str(error)
            except FileDamaged:  # every spoke's: the host ends, and says it once
                raise
            except Exception as error:
                # A bug in one spoke's running must not end the host: it is logged, counted and tried again.
                _logger.exception("spoke_crashed", spoke=name)
                self._trouble[name] = f"{type(error).__name__}: {error}"
            if told_to_end():
                raise asyncio.CancelledError
            self._restarts[name] += 1
            failures = 1 if self._clock.monotonic_ms() - started > 60_000 else failures + 1
            delay = delay_after(failures, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
            await self._clock.sleep(delay.total_seconds())
