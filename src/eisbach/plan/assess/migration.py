"""What each step from the system as it is to two regions buys, by judging the graph as it would be after it.

The steps are the stages of the design: repair what is single, let services meet by events (hub), split viewers into
cells, serve from two regions. Each step changes the graph and asks the same questions of it; nothing here is measured
on a running system, and the page says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from eisbach.plan.assess.availability import BETA, availability
from eisbach.plan.assess.evaluate import Structure, redundant
from eisbach.plan.assess.model import Component, Dependency, Graph
from eisbach.plan.assess.single import Impact

__all__ = ["CELLS", "Step", "migration"]

CELLS: Final = 3
_MEET_BY_EVENTS: Final = frozenset({"index", "queue", "topic", "telemetry", "job"})
Groups = Mapping[str, tuple[Sequence[str], int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage, and what is true after it."""

    name: str
    what: str
    availability: float
    """Of all journeys, by weight."""
    blast: float
    """Share of journeys that the worst single component takes down."""
    changed: tuple[str, ...]
    """Components that the step touches."""


def migration(graph: Graph, groups: Groups) -> list[Step]:
    """From today to two regions; each step includes those before it."""
    today, blast = _judged(graph, groups)
    steps = [Step(name="today", what="as the files say", availability=today, blast=blast, changed=())]
    worst = _single(graph, groups)
    repaired = _with(graph, {n: _doubled(graph.components[n]) for n in worst})
    value, blast = _judged(repaired, groups)
    steps.append(Step(name="repair", what="a second copy of every single point that is ours", availability=value,
                      blast=blast, changed=tuple(sorted(worst))))  # fmt: skip
    soft = [d for d in repaired.dependencies if repaired.components[d.target].kind in _MEET_BY_EVENTS]
    hub = _softened(repaired, soft)
    value, blast = _judged(hub, groups)
    steps.append(Step(name="hub", what="services meet by events where no answer is awaited", availability=value,
                      blast=blast, changed=tuple(sorted({d.source for d in soft}))))  # fmt: skip
    ours, outside = _ours(hub), _worst(hub, groups, outside=True)
    split = max(_worst(hub, groups, outside=False) / CELLS, outside)
    steps.append(Step(name="cells", what=f"{CELLS} cells, each whole: a fault takes its own viewers only",
                      availability=value, blast=split, changed=ours))  # fmt: skip
    steps.append(Step(name="regions", what="two regions that both serve; what both ask outside stays shared",
                      availability=_twice(hub, groups, value), blast=outside, changed=ours))  # fmt: skip
    return steps


def _twice(graph: Graph, groups: Groups, value: float) -> float:
    """Two of everything that is ours, with a common cause for a share ``BETA``; vendors stay as they are."""
    perfect = {n: replace(c, availability=1.0) for n, c in graph.components.items() if c.kind == "external"}
    own, _ = _judged(_with(graph, perfect), groups)
    vendors = value / own if own else 1.0
    return (1 - (1 - own) ** 2 * (1 - BETA) - (1 - own) * BETA) * vendors


def _judged(graph: Graph, groups: Groups) -> tuple[float, float]:
    structure = Structure(graph, groups)
    total = sum(j.weight for j in graph.journeys) or 1.0
    by_name = {j.name: j.weight for j in graph.journeys}
    value = sum(by_name[e.journey] * e.value for e in availability(graph, structure, explain=False)) / total
    return value, max(_worst(graph, groups, outside=False), _worst(graph, groups, outside=True))


def _worst(graph: Graph, groups: Groups, *, outside: bool) -> float:
    hit = Impact(graph, Structure(graph, groups))
    names = [n for n, c in graph.components.items() if not redundant(c) and (c.kind == "external") == outside]
    return max((hit.weight(hit.lost_without(n)) for n in names), default=0.0)


def _single(graph: Graph, groups: Groups) -> list[str]:
    hit = Impact(graph, Structure(graph, groups))
    return [n for n, c in graph.components.items() if c.kind != "external" and not redundant(c) and hit.lost_without(n)]


def _doubled(component: Component) -> Component:
    return replace(component, replicas=max(2, component.needs + 1))


def _with(graph: Graph, changed: Mapping[str, Component]) -> Graph:
    return replace(graph, components={**graph.components, **changed})


def _softened(graph: Graph, soft: Sequence[Dependency]) -> Graph:
    gone = {id(d) for d in soft}
    return replace(
        graph,
        dependencies=[replace(d, hard=False, sync=False) if id(d) in gone else d for d in graph.dependencies],
    )


def _ours(graph: Graph) -> tuple[str, ...]:
    return tuple(sorted(n for n, c in graph.components.items() if c.kind not in ("external", "telemetry")))
