"""One run: a world from a seed, viewers and faults in it, then calm, convergence, and the judge.

Promises: the same seed (and the same parts left out) gives the same trace, whatever ``PYTHONHASHSEED`` is.
"""

import asyncio
import gc
import hashlib
import random
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import msgspec

from eisbach.testing.world.checks import judge
from eisbach.testing.world.clients import Viewer
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.edge import Edge, World
from eisbach.testing.world.evidence import Evidence, gather
from eisbach.testing.world.faults import CALM_S, Nemesis, Pair, draw
from eisbach.testing.world.genesis import REGIONS, devices, document, images, secrets_of
from eisbach.testing.world.history import History, elle
from eisbach.testing.world.loop import Deadlock, SimLoop
from eisbach.testing.world.network import Network
from eisbach.testing.world.nodes import CellNode, HubNode
from eisbach.testing.world.process import Process

__all__ = ["Result", "simulate"]

VIEWING_S: Final = 5.5
"""Then relays and pullers go idle, which is a phase of its own."""
CONVERGE_S: Final = 30.0
"""P4: within this after the last fault."""

_FOLDER: Final = re.compile(r"/\S*/eisbach-world-[^/\s]+/\d+/")


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of a seed."""

    seed: int
    breaches: list[str]
    trace: str
    """Hash of everything that happened."""
    covered: set[Pair]
    strikes: int
    """That hit their phase."""
    acknowledged: int
    conflicts: int
    seconds: float
    """Virtual."""
    converged_s: float
    """After the last fault."""
    steps: int
    timeline: list[str] = field(default_factory=list)
    elle: str = ""


class _Run:
    def __init__(self, seed: int, without: Collection[str], volumes: Volumes) -> None:
        self.seed, self._volumes = seed, volumes
        self._loop = asyncio.get_running_loop()
        self.plan = draw(seed).without(without)
        self.history = History(doubled=bool(self.plan.weather["doubling"]))
        self.timeline: list[str] = []
        network = Network(self.chance("network"), self._hurt)
        self.world = World(network, self.history)
        self.hubs: dict[str, HubNode] = {}
        files = images(volumes)
        for region in REGIONS:
            hub = HubNode(region, volumes, seed=str(seed), files=files[f"{region}/hub"])
            cell = CellNode(document(region), secrets_of(region), volumes, seed=str(seed), files=files[f"{region}/c1"])
            cell.network, cell.hub, cell.cells = network, hub, self.world.cells
            self.hubs[region], self.world.cells[cell.name] = hub, cell
            self.world.edges[region] = Edge(region, [r for r in REGIONS if r != region], self.world)
        self.processes: dict[str, Process] = {p.name: p for p in (*self.hubs.values(), *self.world.cells.values())}
        self.nemesis = Nemesis(self.plan, self.processes, network, self.record)
        self.converged_s = 0.0

    def chance(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}:{name}")  # noqa: S311 - must be repeatable

    def _hurt(self, phase: str, fault: str) -> None:
        self.nemesis.hurt(phase, fault)

    def record(self, what: str) -> None:
        self.timeline.append(f"{self._loop.time():9.4f}  {what}")

    async def play(self) -> list[str]:
        """Everything up to the verdict."""
        for process in self.processes.values():
            process.start()
        await asyncio.gather(*(process.opened.wait() for process in self.processes.values()))
        self.nemesis.begin()
        viewers = [
            Viewer(number, device, self.world, self.chance(f"viewer-{number}"))
            for number, device in enumerate(devices())
        ]
        watching = [asyncio.create_task(viewer.watch(VIEWING_S)) for viewer in viewers]
        await asyncio.sleep(CALM_S - self._loop.time())
        self.nemesis.calm()
        await asyncio.gather(*watching)
        breaches = await self._converge()
        if not breaches:
            regions = [await gather(c, self.hubs[c.region]) for c in self.world.cells.values()]
            breaches = judge(self.history, regions)
            self._note_end(regions)
        for process in self.processes.values():
            await process.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        breaches += [f"BUG {bug}" for cell in self.world.cells.values() for bug in cell.bugs]
        return breaches

    async def _converge(self) -> list[str]:
        """Wait for equal digests, caught-up relays and idle spokes; what is not so in time."""
        calm_s = self._loop.time()
        trouble: list[str] = []
        while self._loop.time() - calm_s <= CONVERGE_S:
            await asyncio.sleep(0.5)
            trouble = await self._trouble()
            if not trouble:
                self.converged_s = self._loop.time() - calm_s
                return []
        return [f"LIVENESS {CONVERGE_S:.0f} s after the last fault {what}" for what in trouble]

    async def _trouble(self) -> list[str]:
        if down := [name for name, process in self.processes.items() if not process.up]:
            return [f"{name} is not up" for name in down]
        found: list[str] = []
        vectors: dict[str, list[object]] = {}
        for cell in self.world.cells.values():
            assert cell.cell is not None
            status = cell.cell.status()
            behind = status["relays"][cell.document.cell]["behind"]
            if behind:
                found.append(f"the relay of {cell.name} is {behind} lsns behind")
            if found:
                return found
            for slot in cell.cell.ownership.owned():
                vectors.setdefault(str(slot), []).append(dict(await cell.cell.store.vector(slot)))
        found += [f"slot {slot}: vectors differ, {seen}" for slot, seen in vectors.items() if seen[0] != seen[1]]
        if found:
            return found
        for hub in self.hubs.values():
            assert hub.log is not None
            state = await hub.log.state()
            found += [
                f"spoke {name} of {hub.name} has a backlog of {s.backlog}" for name, s in state.items() if s.backlog
            ]
            for name, spoke in hub.statistics().get("spokes", {}).items():
                if spoke["held"] or spoke["in_work"]:
                    found.append(f"spoke {name} of {hub.name} holds {spoke['held']}")
        if not found:
            first, *others = [
                {str(s): await c.cell.store.digest(s) for s in c.cell.ownership.owned()}
                for c in self.world.cells.values()
                if c.cell is not None
            ]
            found += [f"digests differ: {first} {other}" for other in others if other != first]
        return found

    def _note_end(self, regions: list[Evidence]) -> None:
        for evidence in regions:
            self.record(
                f"{evidence.region} ends with {len(evidence.ops)} ops, digests {sorted(evidence.digests.items())}"
            )
        self.conflicts = max(len(e.conflicts) for e in regions)

    conflicts = 0


def simulate(seed: int, volumes: Volumes, *, without: Collection[str] = (), keep: bool = False) -> Result:
    """Run a seed.

    Args:
        seed: names the run.
        volumes: the disks; one a process, used by one run at a time.
        without: parts of the plan to leave out (``Plan.parts``).
        keep: keep timeline and Elle history although nothing was breached.
    """
    images(volumes)
    gc.collect()
    gc.disable()  # a connection that is collected writes: when must not depend on what this process did before
    loop = SimLoop(str(seed))
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_result(seed, without, volumes, keep=keep))
    except Deadlock as error:
        return _stuck(seed, loop, str(error))
    finally:
        loop.close()
        asyncio.set_event_loop(None)
        gc.enable()


def _stuck(seed: int, loop: SimLoop, why: str) -> Result:
    """A world that could not be played to its end: nothing but that is known."""
    return Result(
        seed=seed, breaches=[f"LIVENESS {why}"], trace="", covered=set(), strikes=0, acknowledged=0, conflicts=0,
        seconds=loop.time(), converged_s=0.0, steps=loop.steps,
    )  # fmt: skip


async def _result(seed: int, without: Collection[str], volumes: Volumes, *, keep: bool) -> Result:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    run = _Run(seed, without, volumes)
    breaches = await run.play()
    breaches += [f"BUG {what}" for what in loop.unhandled]
    for intent in run.history.intents:
        line = f"{intent.ended_s:9.4f}  viewer-{intent.client} intent {intent.number} {intent.kind} {intent.item}"
        marks = " ".join(f"{a.region}:{a.mark.epoch}.{a.mark.seq}" for a in intent.acks)
        run.timeline.append(f"{line} -> {marks or 'no write'} refused {intent.refusals} doubts {intent.doubts}")
    # An error that names its file names a folder of this run, which is no part of what happened.
    lines = [_FOLDER.sub("", line) for line in run.timeline]
    timeline = sorted(lines, key=lambda line: float(line[:9]))
    trace = hashlib.blake2b(
        msgspec.json.encode([timeline, loop.steps, round(loop.time(), 9), run.world.network.sent]), digest_size=16
    ).hexdigest()
    return Result(
        seed=seed,
        breaches=breaches,
        trace=trace,
        covered=run.nemesis.covered,
        strikes=run.nemesis.hits,
        acknowledged=sum(len(intent.acks) for intent in run.history.intents),
        conflicts=run.conflicts,
        seconds=loop.time(),
        converged_s=run.converged_s,
        steps=loop.steps,
        timeline=timeline if keep or breaches else [],
        elle=elle(run.history) if keep or breaches else "",
    )
