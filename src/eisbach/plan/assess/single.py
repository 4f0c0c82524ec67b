"""What takes journeys down alone: single components, single domains; and who dies with whom. By ``evaluate``."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from eisbach.plan.assess.evaluate import Structure, redundant
from eisbach.plan.assess.findings import Finding
from eisbach.plan.assess.model import Component, Graph

__all__ = ["Impact", "domains_of", "impact", "single_points"]

_LEVELS: Final = ("vendor", "account", "region", "zone", "host")
Domain = tuple[str, str]


def domains_of(graph: Graph) -> dict[Domain, list[str]]:
    """(level, place) -> components with every copy in it."""
    found: dict[Domain, list[str]] = defaultdict(list)
    for component in graph.components.values():
        for level in _LEVELS:
            places = component.domains.get(level, ())
            if len(places) == 1:
                found[level, places[0]].append(component.name)
    return found


class Impact:
    """The worlds in which one thing is gone: each component, then each failure domain."""

    def __init__(self, graph: Graph, structure: Structure) -> None:
        self._graph, self.structure = graph, structure
        self.names = list(graph.components)
        self.domains = domains_of(graph)
        places = list(self.domains)
        self.full = (1 << (len(self.names) + len(places))) - 1
        up = {name: self.full & ~(1 << i) for i, name in enumerate(self.names)}
        for number, place in enumerate(places, len(self.names)):
            for name in self.domains[place]:
                up[name] &= ~(1 << number)
        self.works = structure.works(up)
        self._bit = {name: i for i, name in enumerate(self.names)}
        self._domain_bit = {place: i for i, place in enumerate(places, len(self.names))}

    def lost_without(self, name: str) -> tuple[str, ...]:
        """Journeys that need a component."""
        return self._lost(self._bit[name])

    def lost_with(self, place: Domain) -> tuple[str, ...]:
        """Journeys that need a domain."""
        return self._lost(self._domain_bit[place])

    def _lost(self, bit: int) -> tuple[str, ...]:
        worlds = ((j.name, self.structure.journey(j, self.works)) for j in self._graph.journeys)
        return tuple(name for name, alive in worlds if not alive >> bit & 1)

    def alone(self) -> frozenset[str]:
        """Components without which a journey is lost."""
        dead = 0
        for journey in self._graph.journeys:
            dead |= self.full & ~self.structure.journey(journey, self.works)
        return frozenset(name for i, name in enumerate(self.names) if dead >> i & 1)

    def dies_with(self, name: str) -> list[str]:
        """Components that do not work without this one."""
        bit = self._bit[name]
        return [other for other in self.names if other != name and not self.works[other] >> bit & 1]

    def weight(self, journeys: Sequence[str]) -> float:
        """Share of all journeys."""
        total = sum(j.weight for j in self._graph.journeys) or 1.0
        return sum(j.weight for j in self._graph.journeys if j.name in journeys) / total


def impact(graph: Graph, groups: Mapping[str, tuple[Sequence[str], int]]) -> Impact:
    """Evaluate once for everything below."""
    return Impact(graph, Structure(graph, groups))


def single_points(graph: Graph, found: Impact) -> list[Finding]:
    """Components and domains whose loss alone takes a journey down."""
    findings: list[Finding] = []
    lost_by = _by_bit(graph, found)
    for name, component in graph.components.items():
        journeys = lost_by.get(name, ())
        if journeys and not redundant(component) and "replicas" not in component.unsaid:
            findings.append(_single(component, journeys, found))
    for place, names in found.domains.items():
        journeys = found.lost_with(place)
        together = [n for n in names if redundant(graph.components[n])]
        if journeys and together and place[0] in ("zone", "host", "account", "vendor"):
            findings.append(_domain(graph, place, names, journeys, found))
    return findings


def _by_bit(graph: Graph, found: Impact) -> dict[str, tuple[str, ...]]:
    lost: dict[str, list[str]] = defaultdict(list)
    for journey in graph.journeys:
        dead = found.full & ~found.structure.journey(journey, found.works)
        for i, name in enumerate(found.names):
            if dead >> i & 1:
                lost[name].append(journey.name)
    return {name: tuple(journeys) for name, journeys in lost.items()}


def _single(component: Component, journeys: tuple[str, ...], found: Impact) -> Finding:
    outside = component.kind == "external"
    copies = "one copy" if component.replicas in (0, 1) else "as many copies as it needs"
    count = "nobody here runs it" if outside else f"{copies} is all that the files show"
    weight = found.weight(journeys)
    advice = (
        "Agree on a fallback: what is answered while it is away, and for how long."
        if outside
        else f"Give it a second copy in another zone, or make what uses it go on without it ({component.kind})."
    )
    return Finding(
        rule="single-point", components=(component.name,), severity="medium" if outside else "high", journeys=journeys,
        weight=weight, evidence=tuple(dict.fromkeys((component.where("replicas"), component.where()))),
        reasoning=f"Every way of {_list(journeys)} needs {component.name}, and {count}. "
        f"When it stops, {weight:.0%} of the journeys stop with it.",
        advice=advice,
    )  # fmt: skip


def _domain(graph: Graph, place: Domain, names: Sequence[str], journeys: tuple[str, ...], found: Impact) -> Finding:
    level, where = place
    first = next((graph.components[n] for n in names if level in graph.components[n].facts), graph.components[names[0]])
    return Finding(
        rule="failure-domain", components=tuple(sorted(names)[:20]), via=where, severity="medium", journeys=journeys,
        weight=found.weight(journeys), evidence=(first.where(level),),
        reasoning=f"All copies of {_list(sorted(names)[:3])} stand in {level} {where}. "
        f"Losing that {level} takes {_list(journeys)} down, whatever the number of copies.",
        advice=f"Spread the copies over two or more {level}s.",
    )  # fmt: skip


def _list(names: Sequence[str]) -> str:
    shown = list(names[:4]) + ([f"{len(names) - 4} more"] if len(names) > 4 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "nothing"
