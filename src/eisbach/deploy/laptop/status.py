"""The status contract (``eisbach status --json``, design section 12): one document, made from states and figures.

Pure. A figure that nobody could read now is null, never a guess.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from eisbach.deploy.laptop.cuts import Cut
from eisbach.deploy.laptop.impact import Summary
from eisbach.deploy.laptop.outs import RegionOut
from eisbach.deploy.laptop.refusing import writes_stopped
from eisbach.deploy.laptop.topology import ProcessSpec
from eisbach.deploy.laptop.unfinished import Unfinished

__all__ = [
    "CellRow",
    "FaultRow",
    "HubRow",
    "JobRow",
    "Observed",
    "ProcessRow",
    "RegionRow",
    "ReplicationRow",
    "Status",
    "build_status",
]


class RegionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A region as viewers see it."""

    name: str
    edge: str
    origin: str
    state: str
    """``up``, ``degraded`` (something of it is not ready) or ``down`` (nobody is served here)."""


class ProcessRow(msgspec.Struct, frozen=True, kw_only=True):
    """A process."""

    target: str
    kind: str
    region: str
    pid: int | None
    state: str
    url: str
    since_ms: int
    restarts: int
    requests_per_s: float | None
    why: str = ""
    effect: str = ""
    """Of one that is not ready: who is hurt by it, or who takes over."""
    writes_stopped: bool = False
    """It answers and reads, and says of itself that it takes no writes (an agent: no new slot map); ``why``: why."""


class CellRow(msgspec.Struct, frozen=True, kw_only=True):
    """A cell."""

    id: str
    region: str
    group: str
    """Group whose viewers it serves; several are joined with a comma."""
    slots: int
    state: str
    version: str | None
    requests_per_s: float | None


class ReplicationRow(msgspec.Struct, frozen=True, kw_only=True):
    """How far a region is behind another: the worst of its cells."""

    from_: str = msgspec.field(name="from")
    to: str
    lag_ms: float | None
    ops_behind: int | None
    differing: int | None = None
    """Slots whose digests differ though both regions applied the same ops: an alarm."""


class HubRow(msgspec.Struct, frozen=True, kw_only=True):
    """A spoke's position in its region's hub."""

    region: str
    spoke: str
    backlog: int | None
    oldest_ms: float | None
    dead_letters: int | None


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of media jobs."""

    region: str
    asset: str
    kind: str
    done: int
    total: int
    state: str


class FaultRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something broken on purpose."""

    target: str
    kind: str
    since_ms: int
    other: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The contract; keys are only added."""

    ready: bool
    stage: str
    front: str
    sentence: str
    who: str = ""
    """The first part of ``sentence``: who is hurt, without what stands open beside it."""
    hurt: Sequence[str]
    next: str
    alarms: Sequence[str] = ()
    """What no restart mends and a person must look at; also in ``hurt``."""
    unfinished: Sequence[Unfinished] = ()
    """Evacuations and returns that left slots behind, wrong weights, lost stores: the worst first, which is also in
    ``sentence``.
    """
    frozen: Sequence[Cut] = ()
    """Cells with slots that are frozen by a move that nobody ends; the first is also in ``sentence``."""
    out: Sequence[RegionOut] = ()
    """Regions that are evacuated, or declared lost and not back."""
    rehearsal: bool
    now_ms: int
    started_ms: int
    regions: Sequence[RegionRow]
    processes: Sequence[ProcessRow]
    cells: Sequence[CellRow]
    replication: Sequence[ReplicationRow]
    hub: Sequence[HubRow]
    jobs: Sequence[JobRow]
    faults: Sequence[FaultRow]
    demo: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A process as the supervisor sees it, with what it last said of itself."""

    spec: ProcessSpec
    state: str
    pid: int | None
    since_ms: int
    restarts: int
    why: str = ""
    figures: Mapping[str, Any] | None = None
    """Its ``/status``, None when it could not be read now."""
    requests_per_s: float | None = None
    layout: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Of a cell: group -> slots."""


def build_status(
    observed: Sequence[Observed],
    summary: Summary,
    faults: Sequence[FaultRow],
    jobs: Sequence[JobRow],
    base: Mapping[str, Any],
) -> Status:
    """Put the document together.

    Args:
        observed: every process.
        summary: who is hurt.
        faults: what was broken on purpose.
        jobs: batches of every region.
        base: ``stage``, ``front``, ``rehearsal``, ``now_ms``, ``started_ms``, ``demo``, and ``regions``, which are
            (name, edge, origin); ``unfinished``, ``frozen``, ``out`` and ``effects`` where there is something.
    """
    regions = [RegionRow(name=n, edge=e, origin=o, state=region_state(n, observed)) for n, e, o in base["regions"]]
    rest = {key: base[key] for key in ("stage", "front", "rehearsal", "now_ms", "started_ms", "demo")}
    return Status(
        ready=bool(observed) and all(o.state == "ready" for o in observed) and not any(f.kind == "cut" for f in faults),
        sentence=summary.sentence,
        who=summary.who or summary.sentence,
        hurt=summary.hurt,
        next=summary.next,
        alarms=summary.alarms,
        unfinished=base.get("unfinished", ()),
        frozen=base.get("frozen", ()),
        out=base.get("out", ()),
        regions=regions,
        processes=[_process(o, base.get("effects", {}).get(o.spec.target, "")) for o in observed],
        cells=[_cell(o) for o in observed if o.layout],
        replication=_replication(observed),
        hub=_hub(observed),
        jobs=jobs,
        faults=faults,
        **rest,
    )


def region_state(region: str, observed: Sequence[Observed]) -> str:
    """``down`` when nothing of it can serve: no way in, or no cell behind it."""
    own = [o for o in observed if o.spec.region == region] or list(observed)  # stage single: its one process
    doors = [o for o in own if o.spec.public and o.spec.kind != "origin"]
    cells = [o for o in own if o.layout]
    if not any(_works(o) for o in doors) or not any(_works(o) for o in cells):
        return "down"
    return "up" if all(o.state == "ready" for o in own) else "degraded"


def _works(o: Observed) -> bool:
    """One that takes no writes serves all that is read, and the other region has its writes."""
    return o.state in ("ready", "slow") or _reads_only(o)


def _reads_only(o: Observed) -> bool:
    return o.state == "unready" and bool(writes_stopped(o.figures or {}))


def _process(o: Observed, effect: str) -> ProcessRow:
    return ProcessRow(
        target=o.spec.target, kind=o.spec.kind, region=o.spec.region, pid=o.pid, state=o.state, url=o.spec.url,
        since_ms=o.since_ms, restarts=o.restarts, requests_per_s=o.requests_per_s, why=o.why,
        effect=effect, writes_stopped=_reads_only(o),
    )  # fmt: skip


def _cell(o: Observed) -> CellRow:
    parts = o.spec.target.split("/")
    name = f"{parts[1]}/{parts[2]}" if len(parts) == 3 else o.spec.target
    return CellRow(
        id=name,
        region=o.spec.region or (parts[1] if len(parts) > 1 else ""),
        group=",".join(o.layout),
        slots=sum(len(numbers) for numbers in o.layout.values()),
        state=o.state,
        version=str(o.figures["version"]) if o.figures and "version" in o.figures else None,
        requests_per_s=o.requests_per_s,
    )


def _replication(observed: Sequence[Observed]) -> list[ReplicationRow]:
    lags: dict[tuple[str, str], float | None] = {}
    behind: dict[tuple[str, str], list[int | None]] = defaultdict(list)
    differing: dict[tuple[str, str], int] = {}
    for o in observed:
        for found in (o.figures or {}).get("digests", ()):
            key = (str(found["region"]), o.spec.region)
            differing[key] = differing.get(key, 0) + len(found["differing"])
        for row in (o.figures or {}).get("replication", ()):
            key = (str(row["from"]), o.spec.region)
            lags[key] = _most(lags.get(key), row.get("lag_ms"))
            behind[key].append(row.get("ops_behind"))
    # What one cell does not know, the region does not know: a part of a sum is a guess.
    known = {key: sum(n for n in ops if n is not None) for key, ops in behind.items() if None not in ops}
    return [
        ReplicationRow(
            from_=source, to=target, lag_ms=lag, ops_behind=known.get((source, target)),
            differing=differing.get((source, target)) if (source, target) in known else None,
        )
        for (source, target), lag in sorted(lags.items())
    ]  # fmt: skip


def _most(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)


def _hub(observed: Sequence[Observed]) -> list[HubRow]:
    return [
        HubRow(
            region=o.spec.region,
            spoke=str(row["spoke"]),
            backlog=row.get("backlog"),
            oldest_ms=row.get("oldest_ms"),
            dead_letters=row.get("dead_letters"),
        )
        for o in observed
        if o.spec.kind in ("spokes", "single")
        for row in (o.figures or {}).get("spokes", ())
    ]
