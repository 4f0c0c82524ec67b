"""One run: a world from a seed, viewers and faults in it, then calm, convergence, and the judge.

Promises: the same seed (and the same parts left out) gives the same trace, whatever ``PYTHONHASHSEED`` is.
"""

import asyncio
import gc
import hashlib
import random
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import msgspec

from eisbach.bootstrap.cell_ground import CellStore
from eisbach.bootstrap.older_copy import WORD_MAX_S
from eisbach.kernel.slots import Slot
from eisbach.testing.world.backups import RegionBackups
from eisbach.testing.world.burning import Burning
from eisbach.testing.world.checks import judge
from eisbach.testing.world.checks_around import leaks, maps
from eisbach.testing.world.clients import Viewer
from eisbach.testing.world.control import FORGED, AgentNode, ControlNode
from eisbach.testing.world.convergence import backlogs, differences
from eisbach.testing.world.disks import Files, Volumes
from eisbach.testing.world.edge import CALLS, Edge, World
from eisbach.testing.world.evidence import Evidence, gather, owners
from eisbach.testing.world.faults import draw
from eisbach.testing.world.genesis import (
    GROUP,
    REGIONS,
    address,
    devices,
    document,
    images,
    placement,
    secrets_of,
    shape_of,
)
from eisbach.testing.world.history import History, elle
from eisbach.testing.world.links import Ways
from eisbach.testing.world.loop import Deadlock, SimLoop
from eisbach.testing.world.nemesis import Nemesis
from eisbach.testing.world.network import Network
from eisbach.testing.world.nodes import MOVE_NEAR, CellNode, HubNode
from eisbach.testing.world.operator import Operator
from eisbach.testing.world.process import Process
from eisbach.testing.world.put_back import note_put_back
from eisbach.testing.world.strikes import Pair

__all__ = ["Result", "simulate"]

CONVERGE_S: Final = 30.0
"""P4: within this after the last fault."""

_OPERATOR_S: Final = 0.2
"""Until somebody has read why a cell ended."""
RELAY_LOOKS_S: Final = 2.5
"""Within this a relay has asked its log anew for the cursor."""

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
        self.history = History()
        self.timeline: list[str] = []
        network = Network(self.chance("network"), self._hurt)
        self.world = World(network, self.history)
        self._backups = {r: RegionBackups(self.history, self.chance(f"backups-{r}")) for r in REGIONS}
        self.ways = Ways(network=network, nodes={})
        self.hubs: dict[str, HubNode] = {}
        self.controls: dict[str, ControlNode] = {}
        self.agents: dict[str, AgentNode] = {}
        self.processes: dict[str, Process] = {}
        for region in self.plan.shape.cells:
            self._build(region)
        self.operator = Operator(self.controls, self.processes, self.world, self.record, self._arrive)
        self.nemesis = Nemesis(self.plan, self.processes, network, self.record, self._put_back)
        self._burning = Burning(
            self.plan.shape, volumes, self.ways, self.history, backups=self._backups, controls=self.controls
        )
        self.converged_s = 0.0

    def _build(self, region: str) -> None:
        """The processes of a region, in the order in which they start."""
        shape, volumes, seed, secrets = self.plan.shape, self._volumes, str(self.seed), secrets_of(region)
        files, network = images(shape, volumes), self.world.network
        hub = self.hubs[region] = HubNode(region, volumes, seed=seed, files=files[f"{region}/hub"])
        near = self._teller(f"redelivery-{region}", "redelivery", times=5)
        far = self._teller(f"redelivery-far-{region}", "redelivery")
        hub.redelivery = lambda: near() if MOVE_NEAR in hub.phases else far()
        if self.plan.weather["illness"]:
            hub.illness = self._teller(f"illness-{region}", "illness")
        built: list[Process] = [hub]
        for name in shape.cells[region]:
            told = document(shape, region, name)
            cell = CellNode(told, secrets, volumes, seed=seed, files=files[f"{region}/{name}"])
            cell.ways, cell.hub = self.ways, hub
            cell.backups = self._backups[region].blobs if region in REGIONS else None
            cell.on_older_copy = self._teller_of(cell)
            self.world.cells[cell.name] = self.ways.nodes[cell.name] = cell
            self.ways.nodes[address(region, name)] = cell
            built.append(cell)
        agent = None
        if shape.control:
            place = placement(shape, region)
            control = ControlNode(region, place, secrets, volumes, seed=seed, files=files[f"{region}/control"])
            agent = AgentNode(region, {GROUP: shape.slots}, secrets, volumes, seed=seed, files=files[f"{region}/agent"])
            control.ways, control.agent, agent.network, agent.control = self.ways, agent, network, control
            agent.forge = self._forger(region)
            self.controls[region], self.agents[region] = control, agent
            self.ways.controls[region] = control
            built += [control, agent]
        self.world.edges[region] = self.ways.maps[region] = Edge(region, shape, self.world, agent)
        self.processes |= {process.name: process for process in built}

    def _put_back(self, process: Process, before: Files) -> None:
        self.ways.cuts.clear()  # of a freeze that the copy does not know: the move cannot commit with it (P2)
        note_put_back(self.history, self._volumes, process, before, at_s=self._loop.time())

    def _teller_of(self, cell: CellNode) -> Callable[[], None]:
        """An operator hears that a store is an older copy, and makes it anew."""

        async def renew() -> None:
            await asyncio.sleep(_OPERATOR_S)
            self.record(f"operator: {await self._burning.renew(cell)}")
            cell.barred = False
            cell.start()

        def hear() -> None:
            if not any(put_back.region == cell.region for put_back in self.history.put_back):
                self.operator.breaches.append(f"BUG {cell.name} takes its own store for an older copy")
            self._renewing = asyncio.create_task(renew())
            self._renewing.add_done_callback(self._renewed)

        return hear

    def _renewed(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.operator.breaches.append(f"BUG a restore failed: {error!r}")

    async def _archive(self) -> None:
        region, at_s = self.plan.archived
        await asyncio.sleep(at_s)
        cell = self.world.cells[f"{region}/c1"]
        slots = [f"{GROUP}/{n}" for n in range(self.plan.shape.slots)]
        self.record(f"backups: {await self._backups[region].make(cell, slots)}")

    def _teller(self, name: str, weather: str, *, times: int = 1) -> Callable[[], bool]:
        """Draws, each time anew, whether something of the weather hits, so many times as often; not after the calm."""
        chance, share = self.chance(name), times * self.plan.weather[weather]
        return lambda: self._loop.time() < self.plan.calm_s and chance.random() < share

    def _forger(self, region: str) -> Callable[[], str]:
        """How the next slot map that a region's agent fetches is forged; empty: not at all."""
        chance, hits = self.chance(f"forger-{region}"), self._teller(f"forgery-{region}", "forgery")
        return lambda: chance.choice(FORGED) if hits() else ""

    def chance(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}:{name}")  # noqa: S311 - must be repeatable

    def _late(self, region: str) -> Viewer:
        """One more viewer, near a region."""
        number = 2 * len(devices(self.plan.shape)) + REGIONS.index(region)
        return Viewer(number, f"late-{region}", self.world, self.chance(f"late-{region}"))

    async def _arrive(self, region: str) -> None:
        """Somebody signs in at a region, and that is all."""
        await self._late(region).sign_in()

    async def _linger(self, region: str) -> None:
        """Somebody comes to a region and uses it for a while."""
        await self._late(region).watch(self._loop.time() + 0.6)

    def _hurt(self, phase: str, fault: str) -> None:
        self.nemesis.hurt(phase, fault)

    def record(self, what: str) -> None:
        self.timeline.append(f"{self._loop.time():9.4f}  {what}")

    async def play(self) -> list[str]:
        """Everything up to the verdict."""
        plan = self.plan
        for process in self.processes.values():
            process.start()
        await asyncio.gather(*(process.opened.wait() for process in self.processes.values()))
        self.nemesis.begin()
        viewers = [
            Viewer(number, device, self.world, self.chance(f"viewer-{number}"))
            for number, device in enumerate(devices(plan.shape))
        ]
        acting = [asyncio.create_task(viewer.watch(plan.viewing_s)) for viewer in viewers]
        acting += [asyncio.create_task(self.operator.act(action)) for action in plan.actions]
        acting += [asyncio.create_task(self._archive())] if plan.archived[0] else []
        await asyncio.sleep(plan.calm_s - self._loop.time())
        self.nemesis.calm()
        await asyncio.gather(*acting)
        breaches = await self._converge()
        if plan.burns and not breaches:
            self.record(await self._burning.burn(plan.burns, self._linger))
            breaches = await self._converge()
        if not breaches:
            regions = [await gather(self._cells(region), self.hubs[region]) for region in REGIONS]
            breaches = [*judge(self.history, regions), *self.operator.losses.verdict(regions)]
            self._note_end(regions)
        breaches += [*self.operator.breaches, *self.operator.losses.breaches, *self.ways.breaches]
        for control in self.controls.values():
            for one in await control.control.mover.records() if control.control else ():
                self.record(
                    f"{control.name} ends with slot {one.slot} at {one.owner}, epoch {one.epoch}, move {one.move}"
                    f" {one.outcome} {one.reason}, frozen for {one.freeze_ms} ms"
                )
        breaches += maps(self.agents, self.controls)
        breaches += leaks(self.world.cells, self.history)
        for process in self.processes.values():
            if not process.gone:
                await process.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        breaches += [f"BUG {bug}" for cell in self.world.cells.values() for bug in cell.bugs]
        return breaches

    async def _converge(self) -> list[str]:
        """Wait for the last calls, equal digests, caught-up relays and idle spokes; what is not so in time."""
        calm_s = self._loop.time()
        trouble: list[str] = []
        if any(strike.kind == "wiped" for strike in self.plan.strikes):
            await asyncio.sleep(RELAY_LOOKS_S)  # before, an idle relay takes its old cursor for the wiped log's
        # A store that may be an older copy waits so long for a word, and decides no move meanwhile: a restore may have
        # to wait for it (seed 402761).
        waits_s = 0.0
        while self._loop.time() - calm_s <= CONVERGE_S + waits_s:
            await asyncio.sleep(0.5)
            if any(cell.unproved for cell in self.world.cells.values()):
                waits_s = WORD_MAX_S  # also of one that was dead until the calm (seeds 599739, 635093 and 656813)
            trouble = await self._trouble()
            if not trouble:
                self.converged_s = self._loop.time() - calm_s
                return []
        return [f"LIVENESS {CONVERGE_S + waits_s:.0f} s after the last fault {what}" for what in trouble]

    async def _trouble(self) -> list[str]:
        if down := [name for name, process in self.processes.items() if not (process.up or process.gone)]:
            return [f"{name} is not up" for name in down]
        # What a viewer has given up may still come and be written, at worst while the judge gathers its evidence.
        calls = {phase: number for phase in CALLS if (number := self.world.network.under_way(phase))}
        found = [f"{number} messages of {phase} are under way" for phase, number in calls.items()]
        found += await self.operator.recover()
        for cell in self.world.cells.values():
            if cell.gone:
                continue
            if cell.cell is None:
                found.append(f"{cell.name} is about to end")
                continue
            if cell.unproved:
                found.append(f"{cell.name} does not know yet whether its store is an older copy")
            if erasing := cell.cell.store.statistics().erasing:
                found.append(f"{cell.name} has {erasing} erasures to see through")
            behind = cell.cell.relays[cell.document.cell].statistics().behind
            if behind:
                found.append(f"the relay of {cell.name} is {behind} lsns behind")
        if found:
            return found
        stores: dict[str, list[CellStore]] = {}
        for region in REGIONS:
            mine = await owners(self._cells(region))
            for slot, cells in mine.items():
                if len(cells) != 1:
                    found.append(f"slot {slot} has owners {[c.name for c in cells]} in {region}")
                stores.setdefault(slot, []).extend(c.cell.store for c in cells if c.cell is not None)
                known = self.world.edges[region].slot_map().groups.get(GROUP, ())
                sent = next(iter(known[Slot.parse(slot).number :]), "")
                if [sent] != [c.name.rpartition("/")[2] for c in cells]:
                    found.append(f"the edge of {region} sends slot {slot} to {sent}, not to its owner")
        return found or await differences(stores) or await backlogs(self.hubs.values())

    def _cells(self, region: str) -> list[CellNode]:
        """Those that are still there."""
        return [cell for cell in self.world.cells.values() if cell.region == region and not cell.gone]

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
    images(shape_of(seed), volumes)
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
