"""The supervisor: starts a stage in dependency order, keeps it running, breaks and heals it, stops all of it.

Promises: one supervisor a data folder; a taken address is refused before anything starts; when ``aclose`` returns, no
process is left; when the supervisor is killed, none is left either (zygote.py).
May not know: what processes do; who asks (console.py and the command line call the same methods).
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eisbach.deploy.laptop.children import Children
from eisbach.deploy.laptop.ground import Lock, end_leftovers, refuse_taken_ports
from eisbach.deploy.laptop.links import Links
from eisbach.deploy.laptop.logs import rotate
from eisbach.deploy.laptop.spoke_faults import SpokeFaults, spoke_of
from eisbach.deploy.laptop.supervised import Change, Supervised
from eisbach.deploy.laptop.targets import resolve
from eisbach.deploy.laptop.topology import ProcessSpec, Topology
from eisbach.kernel.errors import Invalid
from eisbach.ports.clock import Clock
from eisbach.settings import SpokesProcess

__all__ = ["FAULTS", "Fault", "Supervisor"]

FAULTS = ("kill", "down", "hang", "slow", "error", "truncate")
CHANGES_KEPT = 500
_ROTATE_EVERY_S = 10.0
_HELD_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something broken on purpose, until it is healed."""

    target: str
    kind: str
    since_ms: int
    other: str = ""
    """The other region of a ``cut``."""


class Supervisor:
    """All processes of one stage."""

    def __init__(self, topology: Topology, *, root: Path, clock: Clock, rehearsal: bool, token: str) -> None:
        """``root``: the data folder, absolute; ``token``: the operator's."""
        self.topology, self.root, self.clock, self.rehearsal = topology, root, clock, rehearsal
        self.started_ms = clock.wall_ms()
        self.changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self.faults: dict[tuple[str, str], Fault] = {}
        self.listeners: list[Callable[[Change], None]] = []
        self.processes: dict[str, Supervised] = {}
        self._lock: Lock | None = None
        self.token = token
        self._links: Links | None = None
        doors = {s.document.region: s.url for s in topology.processes if isinstance(s.document, SpokesProcess)}
        self._spokes = SpokeFaults(doors, token=token, clock=clock)
        self._rotating: asyncio.Task[None] | None = None
        self._children = Children(
            logs=root / "logs",
            environment={"EISBACH_STAGE": topology.stage},
            preload=sorted({spec.run for spec in topology.processes if spec.run}),
        )

    async def open(self, *, also: Sequence[tuple[str, str]] = (), lay: Callable[[], None] = lambda: None) -> None:
        """Check the ground and take the data folder, then begin to start everything.

        Args:
            also: further ``(host:port, who needs it)`` that must be free.
            lay: writes what the processes find in the folder.

        Raises:
            Invalid: the folder is in use, or an address is taken; nothing was started, and no folder made.
        """
        specs = self.topology.processes
        # What an earlier run left may have the addresses: a folder that is there is taken before they are looked at.
        self._lock = Lock(self.root) if self.root.exists() else None
        try:
            self._end_what_an_earlier_run_left()
            refuse_taken_ports([*also, *((address, spec.target) for spec in specs for address in spec.listens)])
            self._lock = self._lock or Lock(self.root)
            for name in ("logs", "processes"):
                (self.root / name).mkdir(exist_ok=True, mode=0o700)
            lay()
            await self._children.open()
        except BaseException:
            if self._lock:
                self._lock.close()
            raise
        for spec in specs:
            self.processes[spec.target] = self._supervised(spec)
        for process in self.processes.values():
            process.start([self.processes[target] for target in process.spec.depends])
        if link := self.processes.get("link"):
            self._links = Links(link.spec.url, token=self.token, clock=self.clock)
        self._rotating = asyncio.create_task(self._rotate())

    def announce(self, facts: dict[str, str]) -> None:
        """Write into the lock file where commands find this supervisor."""
        assert self._lock is not None, "open first"
        self._lock.write({"stage": self.topology.stage, "started_ms": self.started_ms, **facts})

    async def until_ready(self) -> None:
        """Wait until every process has been ready once."""
        for process in self.processes.values():
            await process.was_ready.wait()

    @property
    def ready(self) -> bool:
        """Whether every process is ready now."""
        return bool(self.processes) and all(p.state == "ready" for p in self.processes.values())

    @property
    def begun(self) -> bool:
        """Whether every process has been ready once."""
        return bool(self.processes) and all(p.was_ready.is_set() for p in self.processes.values())

    async def aclose(self) -> None:
        """Stop everything; returns when no process is left."""
        if self._rotating:
            self._rotating.cancel()
        if self._links:
            await self._links.aclose()
        await self._spokes.aclose()
        if self.processes:
            await asyncio.gather(*(process.stop() for process in self.processes.values()))
        if self._lock:
            await self._children.aclose()
            (self.root / "processes" / "sessions.json").unlink(missing_ok=True)
            self._lock.close()

    async def run_once(self, kind: str, document: Path, *, folder: Path) -> int:
        """Run a process that ends by itself; its exit code. Cancelling leaves it to ``aclose``."""
        log = self.root / "logs" / f"{kind}.log"
        request = {"name": kind, "log": str(log), "folder": str(folder), "run": kind, "file": str(document)}
        return await self._children.exited(await self._children.spawn(request))

    async def fault(self, kind: str, target: str) -> list[str]:
        """Break ``target``; the processes hit. When it returns the fault is in effect (a ``kill`` is under way).

        Raises:
            Invalid: rehearsal is off, an unknown kind, or a kind that does not fit the target.
            NotFound: an unknown target; the message names the nearest.
        """
        if kind not in FAULTS:
            raise Invalid(f"fault {kind!r} is not one of {', '.join(FAULTS)}")
        self._refuse_outside_rehearsal(f"fault {kind} {target}")
        if (spoke := spoke_of(target)) is not None:
            return await self._fault_spoke(kind, target, spoke)
        hit = resolve(target, self.topology)
        if kind in ("error", "truncate"):
            hit = [name for name in hit if self.processes[name].spec.public] or hit
        if kind == "kill":
            for name in hit:
                self.processes[name].kill(f"fault kill {target}")
            return hit
        for name in hit:
            self.processes[name].hold(kind)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HELD_WITHIN_S):
                await asyncio.gather(*(self.processes[name].held.wait() for name in hit))
        self.faults[(target, "")] = Fault(target=target, kind=kind, since_ms=self.clock.wall_ms())
        return hit

    async def _fault_spoke(self, kind: str, target: str, spoke: tuple[str, str]) -> list[str]:
        await self._spokes.fault(*spoke, kind)
        at_ms = self.clock.wall_ms()
        after = {"kill": "restarting", "hang": "hung"}.get(kind, kind)
        self._changed(Change(at_ms=at_ms, target=target, before="ready", after=after, why=f"fault {kind}"))
        if kind != "kill":
            self.faults[(target, "")] = Fault(target=target, kind=kind, since_ms=at_ms)
        return [target]

    async def _heal_spokes(self, target: str | None) -> list[str]:
        found = [f for f in self.faults.values() if spoke_of(f.target) and target in (None, f.target)]
        for fault in found:
            region, spoke = spoke_of(fault.target) or ("", "")
            await self._spokes.heal(region, spoke)
            del self.faults[(fault.target, "")]
            at_ms = self.clock.wall_ms()
            self._changed(Change(at_ms=at_ms, target=fault.target, before=fault.kind, after="ready", why="heal"))
        return [fault.target for fault in found]

    async def cut(self, region: str, other: str) -> list[str]:
        """Cut the wide-area link between two regions, both ways.

        Raises:
            Invalid: rehearsal is off, or there is no link between the two.
        """
        self._refuse_outside_rehearsal(f"cut {region} {other}")
        regions = self.topology.regions
        if self._links is None or region not in regions or other not in regions or region == other:
            raise Invalid(f"there is no link between {region!r} and {other!r}; regions here are {', '.join(regions)}")
        await self._links.cut(region, other)
        pair = (min(region, other), max(region, other))
        at_ms = self.clock.wall_ms()
        name = f"link/{pair[0]}/{pair[1]}"
        self.faults[pair] = Fault(target=pair[0], other=pair[1], kind="cut", since_ms=at_ms)
        self._changed(Change(at_ms=at_ms, target=name, before="up", after="cut", why="fault cut"))
        return [name]

    async def heal(self, target: str | None = None) -> list[str]:
        """Heal a target (a process, a region, ``link/A/B``), or everything; what was healed.

        Raises:
            NotFound: an unknown target.
        """
        links = [p for p in self.faults if p[1] and target in (None, f"link/{p[0]}/{p[1]}", f"link/{p[1]}/{p[0]}")]
        for pair in links:
            if self._links:
                await self._links.mend(*pair)
            del self.faults[pair]
            name = f"link/{pair[0]}/{pair[1]}"
            self._changed(Change(at_ms=self.clock.wall_ms(), target=name, before="cut", after="up", why="heal"))
        healed = [f"link/{a}/{b}" for a, b in links] + await self._heal_spokes(target)
        if target is not None and (healed or spoke_of(target)):
            return healed
        names = resolve(target, self.topology) if target else list(self.processes)
        for name in names:
            if self.processes[name].fault:
                self.processes[name].heal()
                healed.append(name)
        self._forget_healed_faults()
        return healed

    def _forget_healed_faults(self) -> None:
        for key, fault in list(self.faults.items()):
            if fault.kind == "cut" or spoke_of(fault.target):
                continue
            if not any(self.processes[name].fault for name in resolve(fault.target, self.topology)):
                del self.faults[key]

    def _refuse_outside_rehearsal(self, asked: str) -> None:
        if not self.rehearsal:
            raise Invalid(f"{asked}: this platform runs without rehearsal; start it without --no-rehearsal to break it")

    def _supervised(self, spec: ProcessSpec) -> Supervised:
        process = Supervised(
            spec, children=self._children, clock=self.clock, logs=self.root / "logs", on_change=self._changed
        )
        if spec.document is not None:
            process.document = self.root / "processes" / f"{spec.target.replace('/', '-')}.json"
        return process

    def _changed(self, change: Change) -> None:
        self.changes.appendleft(change)
        if change.after in ("starting", "ready", "restarting"):
            self._note_sessions()
        for listener in self.listeners:
            listener(change)

    def _note_sessions(self) -> None:
        """For the next start, should this one be killed together with its zygote.

        A full disk must not end the task that keeps a process running, which calls this.
        """
        sessions = sorted(self._children.sessions)
        with contextlib.suppress(OSError):
            (self.root / "processes" / "sessions.json").write_text(json.dumps(sessions))

    def _end_what_an_earlier_run_left(self) -> None:
        path = self.root / "processes" / "sessions.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            ended = end_leftovers(self.root, json.loads(path.read_text()))
            if ended:
                at_ms = self.clock.wall_ms()
                why = f"ended what an earlier run left: pids {', '.join(map(str, ended))}"
                self.changes.appendleft(Change(at_ms=at_ms, target="supervisor", before="", after="starting", why=why))
        path.unlink(missing_ok=True)

    async def _rotate(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # no room for the copy: at the next turn again
                rotate(self.root / "logs")
            await self.clock.sleep(_ROTATE_EVERY_S)
