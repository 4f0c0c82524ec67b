"""What goes wrong in a run: a plan drawn from the seed, aimed at phases of the protocol, and who carries it out.

A strike waits until its target is in the phase it is aimed at, so that rare windows are hit as often as wide ones.
Promises: the plan depends on the seed alone; leaving strikes out changes nothing of the others.
Coverage is the set of (phase, fault) pairs that were hit; ``PAIRS`` are those that can occur.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from eisbach.testing.world.control import FORGED
from eisbach.testing.world.genesis import REGIONS, Shape, nth_of_shape, shape_of
from eisbach.testing.world.network import Network
from eisbach.testing.world.nodes import CATCHING_UP
from eisbach.testing.world.process import Process

__all__ = ["MESSAGE_PAIRS", "PAIRS", "STRIKE_PAIRS", "Action", "Nemesis", "Plan", "Strike", "draw"]

Pair = tuple[str, str]
Aim = tuple[str, Pair]
_CELL_PHASES: Final = ("opening", "disk.store", "call.serve", "pull.ask", "pull.serve", "publish.ask", "cursor.ask")
_HUB_PHASES: Final = ("opening", "disk.log", "disk.spokes", "publish.serve", "cursor.serve")
_PREPARED: Final = (("c1", "holding"), ("hub", "acknowledge"), ("hub", CATCHING_UP))
"""Windows that hardly open by themselves: ops from the future wait in a log; a spoke acknowledges; a hub comes back and
much waits for it. Before a strike waits for the first or the last of them it sees to it that there is something to
wait for."""
_STEPS: Final = ("look", "prepare", "freeze", "drain", "settle")
"""Calls of a move from its coordinator to cells; between cells there is ``export``."""
_DEATHS: Final = ("kill", "power", "pause", "full", "failed-sync")
_CLOCKS: Final = ("jump-ahead", "jump-back", "drift", "freeze")
_CUTS: Final = ("cut", "cut-one-way", "cut-off")
_TWINS: Final[tuple[Aim, ...]] = (
    *(("c1", (phase, kind)) for phase in _CELL_PHASES for kind in (*_DEATHS, *_CLOCKS, *_CUTS)),
    *(("hub", (phase, kind)) for phase in _HUB_PHASES for kind in (*_DEATHS, *_CLOCKS, "cut-off")),
    *(("hub", (phase, "wiped")) for phase in _HUB_PHASES),
    *((process, (phase, kind)) for process, phase in _PREPARED for kind in _DEATHS),
)
_MOVING: Final[tuple[Aim, ...]] = (
    *(("control", (f"{step}.ask", kind)) for step in _STEPS for kind in (*_DEATHS, *_CLOCKS, "cut-off")),
    *(("control", (phase, kind)) for phase in ("opening", "disk.control") for kind in (*_DEATHS, "freeze")),
    # A cell answers ``look`` and ``export`` without waiting for anything: there is no time in which to hit it.
    *(("cell", (f"{step}.serve", kind)) for step in _STEPS[1:] for kind in (*_DEATHS, *_CLOCKS, *_CUTS)),
    *(("cell", ("export.ask", kind)) for kind in (*_DEATHS, *_CLOCKS, *_CUTS)),
    *(("agent", (phase, kind)) for phase in ("opening", "fetch.ask") for kind in ("kill", "power", "pause", "cut-off")),
)
_OFTEN: Final[frozenset[Pair]] = frozenset(
    {
        ("disk.spokes", "failed-sync"), ("disk.spokes", "full"), ("disk.log", "full"), ("disk.store", "failed-sync"),
        ("holding", "kill"), ("acknowledge", "full"), (CATCHING_UP, "failed-sync"),
        ("disk.spokes", "kill"), ("settle.serve", "kill"), ("drain.ask", "kill"), ("disk.store", "jump-back"),
    }
)  # fmt: skip
"""Beside the pair that a seed is led by, these come twelve times as often as others and kills four times as often: they
show most."""
STRIKE_PAIRS: Final[Mapping[str, tuple[Aim, ...]]] = {
    "twins": _TWINS, "residency": _TWINS, "moving": _MOVING,
}  # fmt: skip
"""Shape -> (process, (phase, fault)) that a strike can hit; ``cell`` is any cell of the region where slots move."""
_CALLS: Final = ("edge", "door", "call", "pull", "publish", "cursor", "fetch", *_STEPS, "export")
_LEGS: Final = tuple(f"{call}.{leg}" for call in _CALLS for leg in ("ask", "answer"))
MESSAGE_PAIRS: Final[tuple[Pair, ...]] = (
    *((leg, fault) for leg in _LEGS for fault in ("loss", "lateness")),
    *((leg, "doubling") for leg in _LEGS if leg.endswith(".ask")),
    *((leg, "cut") for leg in _LEGS if not leg.startswith("edge.")),
    *(("fetch.answer", f"forged-{kind}") for kind in FORGED),
)
"""(message, fault): viewers' own links are never cut, they only lose."""
PAIRS: Final[frozenset[Pair]] = frozenset(
    {pair for aims in STRIKE_PAIRS.values() for _, pair in aims} | set(MESSAGE_PAIRS)
)
"""Every pair that can occur; a process in ``opening`` is a cell, a hub, a control process or an agent."""
_LATEST: Final = {"wiped": 1.5}
"""Share of the viewers' time in which a kind may strike, 0.9 for the others: a relay that has nothing more to say must
notice that its log is gone."""
CALM_AFTER_S: Final = 3.0
"""After the viewers' last call something may still go wrong for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault."""

    number: int
    at_s: float
    """When it begins to wait for its phase."""
    target: str
    phase: str
    kind: str
    seconds: float
    """How long it lasts, or until the process starts again."""
    amount: int
    """Of whatever the kind has: durable steps until the power goes, milliseconds of a jump, syncs that fail."""

    def __str__(self) -> str:
        return (
            f"#{self.number} {self.kind} of {self.target} in {self.phase} from {self.at_s:.2f} s, {self.seconds:.2f} s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that an operator does: no fault, but a time for faults to hit."""

    at_s: float
    kind: str
    """``move`` a slot of the region to another of its cells, or ``evacuate`` it."""
    region: str
    slot: int
    seconds: float
    """How long the region stays evacuated."""

    def __str__(self) -> str:
        return f"{self.kind} {self.region} slot {self.slot} at {self.at_s:.2f} s, for {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that happens to a run beside its viewers."""

    shape: Shape
    viewing_s: float
    """How long viewers act."""
    strikes: tuple[Strike, ...]
    actions: tuple[Action, ...]
    weather: Mapping[str, float]
    """``loss``, ``doubling``, ``lateness``: shares of messages; ``redelivery``: of envelopes that a broker brings again
    later, out of order; ``forgery``: of slot maps."""

    @property
    def calm_s(self) -> float:
        """After this nothing goes wrong any more."""
        return self.viewing_s + CALM_AFTER_S

    def without(self, parts: Collection[str]) -> "Plan":
        """The plan less some strikes (by number) and weather (by name)."""
        return replace(
            self,
            strikes=tuple(s for s in self.strikes if str(s.number) not in parts),
            actions=tuple(a for n, a in enumerate(self.actions) if f"a{n}" not in parts),
            weather={name: 0.0 if name in parts else share for name, share in self.weather.items()},
        )

    def parts(self) -> list[str]:
        """What ``without`` can leave out."""
        strikes, actions = (str(s.number) for s in self.strikes), (f"a{n}" for n in range(len(self.actions)))
        return [*strikes, *actions, *(name for name, share in self.weather.items() if share)]


def draw(seed: int) -> Plan:
    """The plan of a seed; every aim of a shape leads the plan of some seed in each run of that many of the shape."""
    chance = random.Random(f"{seed}:plan")  # noqa: S311 - must be repeatable
    shape = shape_of(seed)
    aims = STRIKE_PAIRS[shape.name]
    any_of = tuple(dict.fromkeys((*aims, *_TWINS)))
    weights = [12 if pair in _OFTEN else 4 if pair[1] == "kill" else 1 for _, pair in any_of]
    viewing_s = chance.uniform(1.5, 5.0)
    strikes: list[Strike] = []
    for number in range(chance.randint(1, 7)):
        aim = aims[nth_of_shape(seed) % len(aims)] if number == 0 else chance.choices(any_of, weights)[0]
        process, (phase, kind) = aim
        region = chance.choice(REGIONS)
        if shape.control and (process in ("cell", "control") or number == 0):
            region = REGIONS[0]  # there slots move
        if process == "cell":
            process = chance.choice(shape.cells[region])
        strikes.append(
            Strike(
                number=number,
                at_s=chance.uniform(0.1, _LATEST.get(kind, 0.9) * viewing_s),
                target=f"{region}/{process}",
                phase=phase,
                kind=kind,
                seconds=chance.choice((0.1, 0.5, 1.5, 4.0)) * chance.uniform(0.5, 1.5),
                amount=chance.randint(0, 12),
            )
        )
    worst = 0.1 if shape.control else 0.05
    weather = {name: chance.choice((0.0, 0.01, worst)) for name in ("loss", "doubling", "lateness")}
    late = chance.choice((0.0, 0.1))
    weather["redelivery"] = late
    weather["forgery"] = chance.choice((0.0, 0.5)) if shape.control else 0.0
    actions = tuple(_actions(chance, viewing_s)) if shape.control else ()
    return Plan(
        shape=shape, viewing_s=viewing_s, strikes=tuple(strikes), actions=actions, weather=weather
    )  # fmt: skip


def _actions(chance: random.Random, viewing_s: float) -> Iterator[Action]:
    for _ in range(chance.randint(2, 5)):
        at_s = chance.uniform(0.1, 0.9 * viewing_s)
        yield Action(at_s=at_s, kind="move", region=REGIONS[0], slot=chance.choice((0, 0, 1)), seconds=0)
    if chance.random() < 0.4:
        at_s, region = chance.uniform(0.5, 0.7 * viewing_s), chance.choice(REGIONS)
        yield Action(at_s=at_s, kind="evacuate", region=region, slot=0, seconds=chance.uniform(0.5, 3))


class Nemesis:
    """Carries out a plan."""

    def __init__(
        self, plan: Plan, processes: Mapping[str, Process], network: Network, record: Callable[[str], None]
    ) -> None:
        self._plan, self._processes, self._network, self._record = plan, processes, network, record
        self._armed: dict[tuple[str, str], list[Strike]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.covered: set[Pair] = set()
        self.hits = 0
        for process in processes.values():
            process.on_phase = self._phase
            process.on_death = lambda process, why: record(f"{process.name} dies: {why}")

    def begin(self) -> None:
        """From now on."""
        for name, share in self._plan.weather.items():
            if name in ("loss", "doubling", "lateness"):
                setattr(self._network.weather, name, share)
        for strike in self._plan.strikes:
            self._tasks.append(asyncio.create_task(self._arm(strike)))

    def calm(self) -> None:
        """The last fault is over: links are whole, clocks true, processes up, disks roomy."""
        for task in self._tasks:
            task.cancel()
        self._armed.clear()
        weather = self._network.weather
        weather.loss = weather.doubling = weather.lateness = 0.0
        weather.cut.clear()
        for process in self._processes.values():
            process.clock.heal()
            process.go_on()
            if process.life.alive:
                self._repair(process)
                process.life.volume.fuse = None
            process.start()
        self._record("calm: every fault is over")

    def hurt(self, phase: str, fault: str) -> None:
        """A message was hurt."""
        if (phase, fault) in PAIRS:
            self.covered.add((phase, fault))
        self._record(f"message {phase}: {fault}")

    async def _arm(self, strike: Strike) -> None:
        await asyncio.sleep(strike.at_s)
        process = self._processes[strike.target]
        if strike.phase == "opening" and process.life.alive:
            process.die(power=False, why=f"so that {strike} can wait for it to open")
            self._later(0.2, process.start)
        if strike.phase == CATCHING_UP and process.life.alive:
            process.die(power=False, why=f"so that {strike} finds it catching up")
            self._later(1.2, process.start)
        if strike.phase == "holding":
            self._tasks.append(asyncio.create_task(self._bring_future(strike, process)))
        if strike.phase in process.phases:
            self._strike(strike)
        else:
            self._armed.setdefault((process.name, strike.phase), []).append(strike)

    async def _bring_future(self, strike: Strike, process: Process) -> None:
        """The twin opens with a clock that is ahead, writes while nobody can tell it so, and is heard again."""
        other = next(r for r in REGIONS if r != process.region)
        twin = self._processes[f"{other}/{strike.target.rpartition('/')[2]}"]
        self._part(replace(strike, seconds=0.8), {(process.region, other), (other, process.region)})
        twin.clock.offset_ms += 1500 + 300 * strike.amount
        if twin.life.alive:
            twin.die(power=False, why=f"so that {strike} finds ops from its future")
        await asyncio.sleep(0.1)
        twin.start()
        while not await process.holds():  # noqa: ASYNC110 - the production code tells nobody, and need not
            await asyncio.sleep(0.02)
        with process.within("holding"):
            await asyncio.sleep(0.1)

    def _phase(self, process: Process, phase: str) -> None:
        for strike in self._armed.pop((process.name, phase), ()):
            # A little later, while the phase lasts: its middle and its end are to be hit, too; and sometimes what it
            # leads to, a few pieces of work further on.
            delay_s = 0.0004 * (strike.amount % 4) if strike.amount < 8 else 0.0015 * (strike.amount - 7)
            self._later(delay_s, lambda strike=strike: self._strike(strike))  # type: ignore[misc]

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            act()

        self._tasks.append(asyncio.create_task(wait()))

    def _strike(self, strike: Strike) -> None:
        process = self._processes[strike.target]
        if not process.life.alive:
            return
        if strike.phase in process.phases:
            self.covered.add((strike.phase, strike.kind))
            self.hits += 1
        self._record(f"strike {strike}; it is in {'+'.join(sorted(process.phases)) or 'nothing'}")
        getattr(self, "_" + strike.kind.replace("-", "_"))(strike, process)

    def _kill(self, strike: Strike, process: Process) -> None:
        process.die(power=False, why=f"kill -9 by #{strike.number}")
        self._later(strike.seconds, process.start)

    def _power(self, strike: Strike, process: Process) -> None:
        life = process.life

        def cut() -> None:
            if process.life is life:
                process.die(power=True, why=f"power cut by #{strike.number}")

        if strike.phase.startswith("disk.") or strike.phase == "opening":
            life.volume.fuse = strike.amount
            self._later(0.5, cut)
        else:
            cut()
        self._later(0.6 + strike.seconds, process.start)

    def _wiped(self, strike: Strike, process: Process) -> None:
        """The event log is gone for good; what the spokes keep is on another disk (P16)."""
        process.die(power=False, why=f"its log is wiped by #{strike.number}")
        process.files = {name: content for name, content in process.files.items() if not name.startswith("hub.db")}
        self._later(strike.seconds, process.start)

    def _pause(self, strike: Strike, process: Process) -> None:
        process.pause()
        self._later(strike.seconds, process.go_on)

    def _full(self, strike: Strike, process: Process) -> None:
        process.life.volume.full = True
        self._later(strike.seconds, lambda: self._repair(process))

    def _failed_sync(self, strike: Strike, process: Process) -> None:
        life = process.life
        life.volume.failing_syncs = 1 if strike.amount < 8 else 1 + strike.amount % 3
        life.volume.failing_name, life.volume.failing_after = "", 0
        if strike.phase == CATCHING_UP:
            life.volume.failing_name, life.volume.failing_after = "spokes", strike.amount % 3
        if (
            strike.amount % 2
        ):  # what a failed sync leaves behind shows only to a life that begins before the next commit
            power = strike.amount % 4 == 3

            def die() -> None:
                if process.life is life and life.volume.refused:
                    process.die(power=power, why=f"dies after the failed sync of #{strike.number}")
                    self._later(strike.seconds, process.start)

            life.volume.on_failed_sync = lambda: self._later(0.0015 + 0.0005 * strike.amount, die)

    def _repair(self, process: Process) -> None:
        process.life.volume.full = False
        process.life.volume.failing_syncs = 0

    def _jump_ahead(self, strike: Strike, process: Process) -> None:
        process.clock.offset_ms += 50 * 2**strike.amount % 20_000

    def _jump_back(self, strike: Strike, process: Process) -> None:
        process.clock.offset_ms -= 50 * 2**strike.amount % 20_000
        if strike.amount % 2:  # clocks are wrong after a reboot more often than at any other time
            self._later(0.1, lambda: self._kill(strike, process))

    def _drift(self, strike: Strike, process: Process) -> None:
        process.clock.drift(1 + (strike.amount - 6) / 60)
        self._later(strike.seconds, lambda: process.clock.drift(1.0))

    def _freeze(self, strike: Strike, process: Process) -> None:
        process.clock.freeze(frozen=True)
        self._later(strike.seconds, lambda: process.clock.freeze(frozen=False))

    def _cut(self, strike: Strike, process: Process) -> None:
        other = next(r for r in REGIONS if r != process.region)
        self._part(strike, {(process.region, other), (other, process.region)})

    def _cut_one_way(self, strike: Strike, process: Process) -> None:
        other = next(r for r in REGIONS if r != process.region)
        pair = (process.region, other)
        self._part(strike, {pair if strike.amount % 2 else pair[::-1]})

    def _cut_off(self, strike: Strike, process: Process) -> None:
        """From its own region: two ways, or only what it says, or only what it hears."""
        out, back = (process.name, process.region), (process.region, process.name)
        self._part(strike, ({out, back}, {out}, {back})[strike.amount % 3])

    def _part(self, strike: Strike, pairs: set[Pair]) -> None:
        self._network.weather.cut |= pairs

        def join() -> None:
            self._network.weather.cut -= pairs

        self._later(strike.seconds, join)
