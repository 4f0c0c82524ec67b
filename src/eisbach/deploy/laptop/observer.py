"""What the platform says of itself: reads ``/status`` of every process and builds the status document.

Once a second while somebody looks, every five seconds otherwise: watching must not be what loads the machine.
Promises: a process that does not answer costs at most a second and no figure of another; nothing is guessed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from eisbach.deploy.laptop.beside import beside
from eisbach.deploy.laptop.cuts import Cuts
from eisbach.deploy.laptop.impact import Circumstances, Part, effect, summarise
from eisbach.deploy.laptop.lost_stores import lost_stores
from eisbach.deploy.laptop.outs import outs
from eisbach.deploy.laptop.refusing import Seen, is_handed_on, seen, takes_none, writes_stopped
from eisbach.deploy.laptop.status import FaultRow, JobRow, Observed, Status, build_status
from eisbach.deploy.laptop.supervised import Change, Supervised
from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.unfinished import unfinished
from eisbach.deploy.laptop.weighed import weighed_wrongly
from eisbach.deploy.laptop.words import bounded
from eisbach.kernel.slots import STUDIO_GROUP
from eisbach.settings import CellProcess, SingleProcess

__all__ = ["Observer"]

_EVERY_S = 1.0
_EVERY_UNSEEN_S = 5.0
_SEEN_FOR_MS = 5000
_ANSWER_BYTES_MAX = 1024 * 1024
_STUDIO = str(STUDIO_GROUP)
_READS = ", reads go on"
_WHY_CHARS = 160
"""Of the last change in the sentence of ``status``; ``why`` and ``changes`` have all of it."""
_LIMIT = aiohttp.ClientTimeout(total=1.0)


class Observer:
    """Figures of one supervisor's processes."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        token: str,
        regions: Sequence[tuple[str, str, str]],
        demo: Callable[[], Mapping[str, Any]],
        weights: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """``regions``: (name, edge, origin); ``demo``: how far the demo content is; ``weights``: at the front."""
        self._weights = weights
        self._supervisor, self._regions, self._demo = supervisor, regions, demo
        self._headers = {"Authorization": f"Bearer {token}"}
        self._asked_ms, self._read_ms = 0, 0
        self._figures: dict[str, Mapping[str, Any]] = {}
        self._jobs: dict[str, list[JobRow]] = {}
        self._counted: dict[str, tuple[int, int]] = {}
        self._rates: dict[str, float] = {}
        self._cuts = Cuts()

    async def run(self) -> None:
        """Read until cancelled."""
        async with aiohttp.ClientSession(timeout=_LIMIT, headers=self._headers) as session:
            while True:
                await self.read(session)
                now = self._supervisor.clock.monotonic_ms()
                seen = now - self._asked_ms < _SEEN_FOR_MS
                await self._supervisor.clock.sleep(_EVERY_S if seen else _EVERY_UNSEEN_S)

    async def fresh(self) -> Status:
        """The document, from figures at most a second old."""
        now = self._supervisor.clock.monotonic_ms()
        self._asked_ms = now
        if now - self._read_ms > _EVERY_S * 1000:
            async with aiohttp.ClientSession(timeout=_LIMIT, headers=self._headers) as session:
                await self.read(session)
        return self.status()

    async def counters(self) -> list[Mapping[str, Any]]:
        """The whole ``/status`` of every cell that answers, at most a second old: what ``cost capture`` subtracts."""
        await self.fresh()
        return [found for found in self._figures.values() if "store" in found and "cell" in found]

    async def read(self, session: aiohttp.ClientSession) -> None:
        """Ask every process once."""
        self._read_ms = self._supervisor.clock.monotonic_ms()
        await asyncio.gather(*(self._ask(session, p) for p in self._supervisor.processes.values() if p.spec.run))

    async def _ask(self, session: aiohttp.ClientSession, process: Supervised) -> None:
        target = process.spec.target
        # One that is not ready may say why: a cell whose clock is ahead serves all but writes.
        answers = process.state in ("ready", "slow", "unready")
        found = await _json(session, f"{process.spec.url}/status") if answers else None
        if found is not None and isinstance(process.spec.document, SingleProcess):
            spokes = process.spec.document.spokes
            told = (await _json(session, f"http://{spokes.host}:{spokes.port}/status")) or {}
            found |= {"spokes": told.get("spokes", []), "store_lost": told.get("store_lost", {})}
            found["refuses"] = found.get("refuses") or told.get("refuses", {})
        if found is None:
            for table in (self._figures, self._rates, self._counted):
                table.pop(target, None)
        else:
            self._figures[target] = found
            self._rate(target, found.get("requests"))
            self._cuts.note(target, found.get("frozen", ()), now_ms=self._supervisor.clock.wall_ms())
        document = process.spec.document
        document = document.cell if isinstance(document, SingleProcess) else document
        if isinstance(document, CellProcess) and document.studio and found is not None:
            jobs = await _json(session, f"{process.spec.url}/studio/jobs")
            self._jobs[target] = _job_rows(document.region, (jobs or {}).get("jobs", []))

    def _rate(self, target: str, requests: object) -> None:
        if not isinstance(requests, int):
            return
        now = self._supervisor.clock.monotonic_ms()
        before = self._counted.get(target)
        self._counted[target] = (now, requests)
        if before is not None and now > before[0] and requests >= before[1]:
            self._rates[target] = round((requests - before[1]) * 1000 / (now - before[0]), 1)

    def status(self) -> Status:
        """The document as of now; no I/O."""
        supervisor = self._supervisor
        self._asked_ms = supervisor.clock.monotonic_ms()
        now = supervisor.clock.wall_ms()
        parts = [_part(p, self._told(p)) for p in supervisor.processes.values()]
        faults = [
            FaultRow(target=f.target, kind=f.kind, since_ms=f.since_ms, other=f.other)
            for f in supervisor.faults.values()
        ]
        broken = beside(faults, now_ms=now)
        last = in_words(supervisor.changes[0]) if supervisor.changes else "none yet"
        stage = supervisor.topology.stage
        away = evacuated(parts, self._figures)
        out = outs(self._figures, away)
        open_ends = unfinished(self._figures)
        if supervisor.begun:
            open_ends += weighed_wrongly(self._weights(), self._figures, out={one.region for one in out})
        open_ends += lost_stores(self._figures)  # last: they stand for a day, and nothing is to be done
        controls = {p.spec.region: (p.state, bool(p.fault)) for p in parts if p.spec.kind == "control"}
        cuts = self._cuts.standing(controls, now_ms=now)
        about = Circumstances(
            stage=stage, beside=[(one.what, one.target) for one in broken], last=last, now_ms=now,
            alarms=alarms_in(self._figures), begun=supervisor.begun, out=away, unfinished=open_ends, cuts=cuts,
            lost=[one.region for one in out if one.how == "lost"],
        )  # fmt: skip
        effects = {p.spec.target: _effect(p, parts, stage, away) for p in parts if p.state != "ready"}
        return build_status(
            [self._observed(p) for p in supervisor.processes.values()],
            summarise(parts, about),
            faults,
            [row for rows in self._jobs.values() for row in rows],
            {
                "stage": stage, "front": supervisor.topology.front, "rehearsal": supervisor.rehearsal, "now_ms": now,
                "started_ms": supervisor.started_ms, "demo": self._demo(), "regions": self._regions,
                "unfinished": open_ends, "frozen": cuts, "out": out, "effects": effects,
            },
        )  # fmt: skip

    def _told(self, process: Supervised) -> Mapping[str, Any]:
        return self._figures.get(process.spec.target, {})

    def _observed(self, process: Supervised) -> Observed:
        target, found = process.spec.target, _seen(process, self._told(process))
        return Observed(
            spec=process.spec, state=found.state, pid=process.pid, since_ms=found.since_ms,
            restarts=process.restarts, why=found.why, figures=self._figures.get(target),
            requests_per_s=self._rates.get(target), layout=_layout(process),
        )  # fmt: skip


def _effect(part: Part, parts: Sequence[Part], stage: str, away: Sequence[str]) -> str:
    hurt, who = effect(part, stage, [o for o in parts if o is not part], away)
    return f"{'hurt' if hurt else 'nobody is hurt'}: {who}"


def in_words(change: Change) -> str:
    """``cell/eu-central/c1 down (fault down)``."""
    why = bounded(change.why, _WHY_CHARS)
    return f"{change.target} {change.after}{f' ({why})' if why else ''}"


def alarms_in(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What no restart mends, as processes say of themselves: a clock that stops writes, twins that differ, a slot map
    that no edge would take.
    """
    stopped = [
        f"{target} {takes_none(target)}{_READS if target.startswith(('cell/', 'single')) else ''}: {why}"
        for target, told in sorted(figures.items())
        if (why := writes_stopped(told))
    ]
    held_back = [
        f"{target} publishes no new slot map: {told['refusal']}"
        for target, told in sorted(figures.items())
        if target.startswith("control/") and told.get("refusal")
    ]
    return (
        stopped
        + held_back
        + [
            f"{target} and its twin in {found['region']} differ in slot {slot} though both applied the same ops"
            for target, told in sorted(figures.items())
            for found in told.get("digests", ())
            for slot in found["differing"]
        ]
    )


def evacuated(parts: Sequence[Part], figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Regions none of whose cells that answer serves a viewer's slot, though they are there for viewers."""
    serving: dict[str, int] = {}
    for part in parts:
        told = figures.get(part.spec.target, {}).get("slots")
        if told is not None and any(group != _STUDIO for group in part.layout):
            owned = sum(count for group, count in told.items() if group != _STUDIO)
            serving[part.spec.region] = serving.get(part.spec.region, 0) + owned
    return sorted(region for region, slots in serving.items() if region and slots == 0)


def _part(process: Supervised, told: Mapping[str, Any]) -> Part:
    found = _seen(process, told)
    return Part(
        spec=process.spec, state=found.state, since_ms=found.since_ms, fault=process.fault, layout=_layout(process),
        writes_stopped=bool(writes_stopped(told)), restarts=process.restarts,
        away=told.get("away", ()), handed_on=found.state != "unready" or is_handed_on(process.why, told),
    )  # fmt: skip


def _seen(process: Supervised, told: Mapping[str, Any]) -> Seen:
    return seen(Seen(process.state, process.since_ms, process.why), told)


def _layout(process: Supervised) -> Mapping[str, Sequence[int]]:
    document = process.spec.document
    document = document.cell if isinstance(document, SingleProcess) else document
    return document.slots if isinstance(document, CellProcess) else {}


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
        async with session.get(url) as answer:
            if answer.status == 200:
                found = msgspec.json.decode(await answer.content.read(_ANSWER_BYTES_MAX))
                return found if isinstance(found, dict) else None
    return None


def _job_rows(region: str, jobs: Sequence[Mapping[str, Any]]) -> list[JobRow]:
    return [
        JobRow(
            region=region, asset=str(job.get("asset", "")), kind=str(job.get("kind", "")), done=int(job.get("done", 0)),
            total=int(job.get("total", 0)), state=str(job.get("state", "")),
        )
        for job in jobs
    ]  # fmt: skip
