"""``eisbach why TARGET``: how it is, since when, what led to it, what to do.

Pure over the supervisor's record; an unknown target is refused with the nearest.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

from eisbach.deploy.laptop.beside import Beside, beside
from eisbach.deploy.laptop.cuts import Cut
from eisbach.deploy.laptop.logs import distinct, tail
from eisbach.deploy.laptop.outs import RegionOut
from eisbach.deploy.laptop.refusing import takes_none
from eisbach.deploy.laptop.status import ProcessRow, Status
from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.targets import resolve
from eisbach.deploy.laptop.unfinished import Unfinished

__all__ = ["explain"]

_Standing = Beside | Cut | RegionOut | Unfinished
_CHANGES_MAX = 20
_LINES = 5
_LOOKED_AT = 500
"""What is said again and again counts once, and may be all of the last fifty."""


def explain(target: str, supervisor: Supervisor, status: Status) -> dict[str, Any]:
    """The answer of ``GET /ops/why``.

    Raises:
        UnknownTarget: with the nearest.
    """
    names = _named(target, supervisor)
    rows = [row for row in status.processes if row.target in names]
    worst = next((row for row in rows if row.state != "ready"), rows[0])
    broken = [row for row in rows if row.state != "ready"]
    faults = [one for one in beside(status.faults, now_ms=status.now_ms) if target in one.concerns]
    changed = {*names, *(one.target for one in faults), *_links(target, supervisor), target}
    changes = [c for c in supervisor.changes if c.target in changed][:_CHANGES_MAX]
    out = [*faults, *_standing(target, rows, status)]
    # What is said of a hub, say, is that it is well: what its region is comes behind.
    own = [one for one in out if target.startswith("region/") or one in faults or getattr(one, "target", "") == target]
    first = own[:1] if not broken else []
    healable = any(supervisor.processes[name].fault for name in names)
    return {
        "target": target,
        "state": _state(target, rows, broken, faults),
        "since_ms": worst.since_ms,
        "sentence": _sentence(target, rows, broken, status, first),
        "because": [
            *_because(worst, supervisor),
            *(f"hurt: {who}" for who in status.hurt),
            *(one.sentence for one in out if one not in first),
        ],
        "changes": [
            {"at_ms": c.at_ms, "target": c.target, "from": c.before, "to": c.after, "why": c.why} for c in changes
        ],
        "next": f"eisbach heal {target}"
        if healable
        else f"eisbach logs {worst.target}"
        if broken
        else out[0].next
        if out
        else "eisbach status",
    }


def _named(target: str, supervisor: Supervisor) -> list[str]:
    """Processes behind a target; of a link between two regions the one that carries all of them."""
    topology = supervisor.topology
    return ["link"] if _links(target, supervisor) and "link" in topology.targets() else resolve(target, topology)


def _links(target: str, supervisor: Supervisor) -> list[str]:
    """Names of the links that ``target`` means, both ways round; none: it is something else."""
    pairs = list(permutations(supervisor.topology.regions, 2))
    return [
        f"link/{one}/{other}"
        for one, other in pairs
        if target in ("link", f"link/{one}/{other}", f"link/{other}/{one}")
    ]


def _state(target: str, rows: list[ProcessRow], broken: list[ProcessRow], faults: list[Beside]) -> str:
    if not broken:
        return faults[0].kind if faults and target.startswith(("link", "spoke/")) else "ready"
    return broken[0].state if len(rows) == 1 else f"{len(broken)} of {len(rows)} not ready"


def _standing(target: str, rows: list[ProcessRow], status: Status) -> list[_Standing]:
    """What stands open of a target, or of its region where that is not another process's affair alone."""
    names, regions = {row.target for row in rows}, {row.region for row in rows if row.region}
    whole = target.startswith("region/")
    return [
        *(one for one in status.frozen if {one.target, f"control/{one.region}"} & names),
        *(
            one
            for one in status.unfinished
            if (one.target in names if one.target and not whole else one.region in regions)
        ),
        *(one for one in status.out if one.region in regions),
    ]


def _sentence(
    target: str,
    rows: list[ProcessRow],
    broken: list[ProcessRow],
    status: Status,
    out: Sequence[_Standing],
) -> str:
    """``out``: why it is not well though its processes are."""
    if not broken and out:
        ready = f"All {len(rows)} processes of it are ready." if len(rows) > 1 else "Its process is ready."
        return f"{out[0].sentence} {ready}"
    if not broken:
        return f"{target} is well: {len(rows)} process{'es are' if len(rows) > 1 else ' is'} ready."
    seconds = (status.now_ms - min(row.since_ms for row in broken)) // 1000
    names = ", ".join(f"{row.target} {_is(row)}" for row in broken[:3])
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    return f"{names}{more} since {seconds} s."


def _is(row: ProcessRow) -> str:
    reads = ", reads go on," if row.kind in ("cell", "single") else ""
    return f"{takes_none(row.target)}{reads}" if row.writes_stopped else f"is {row.state}"


def _because(row: ProcessRow, supervisor: Supervisor) -> list[str]:
    process = supervisor.processes[row.target]
    found = [row.why] if row.why and row.state != "ready" else []
    if row.effect:
        found.append(row.effect)
    if row.restarts:
        found.append(f"{row.restarts} restarts since the platform started")
    if row.state in ("restarting", "starting", "unready") and process.log.exists():
        found += [f"log: {line[:500]}" for line in distinct(tail(process.log, lines=_LOOKED_AT))[-_LINES:]]
    return found
