"""Minimal cuts of two and three: the smallest sets of components and failure domains that take a journey down together.

What does so alone is a finding of its own (``single``) and in no set here. All sets are tried at once, one bit a set
(``evaluate``), among a bounded number of candidates: what has no second copy and whole domains first, then the rest, in
the order of the graph. A set is listed for the journeys that none of its parts takes down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from eisbach.plan.assess.evaluate import redundant
from eisbach.plan.assess.model import Graph
from eisbach.plan.assess.single import Impact

__all__ = ["Cut", "Cuts", "cuts"]

PAIRS_OF_MAX: Final = 60
TRIPLES_OF_MAX: Final = 30
LISTED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Cut:
    """One set: names of components, or ``level place`` of domains; and the journeys that it takes down."""

    members: tuple[str, ...]
    journeys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cuts:
    """The sets found, smallest first, and how far the search went."""

    found: Sequence[Cut]
    candidates: int
    """That could be in a set."""
    beyond: int
    """Sets found and not listed."""

    def bound(self) -> str:
        """How far the search went, in words."""
        twos, threes = min(self.candidates, PAIRS_OF_MAX), min(self.candidates, TRIPLES_OF_MAX)
        more = f"; {self.beyond} more sets are not listed" if self.beyond else ""
        return f"sets of two among {twos} of {self.candidates} candidates, of three among {threes}; none larger{more}"


def cuts(graph: Graph, found: Impact) -> Cuts:
    """Sets of two and three."""
    elements = _elements(graph, found)
    two = _lost(graph, found, elements, list(combinations(range(min(len(elements), PAIRS_OF_MAX)), 2)))
    three = _lost(graph, found, elements, list(combinations(range(min(len(elements), TRIPLES_OF_MAX)), 3)))
    result = [Cut(tuple(elements[i][0] for i in pair), lost) for pair, lost in two.items()]
    for triple, lost in three.items():
        known = {journey for pair in combinations(triple, 2) for journey in two.get(pair, ())}
        if new := tuple(journey for journey in lost if journey not in known):
            result.append(Cut(tuple(elements[i][0] for i in triple), new))
    return Cuts(result[:LISTED_MAX], len(elements), max(0, len(result) - LISTED_MAX))


def _elements(graph: Graph, found: Impact) -> list[tuple[str, frozenset[str]]]:
    """(label, components) of all that journeys use and that takes none down alone."""
    near: dict[str, None] = {}
    waiting = [entry for journey in reversed(graph.journeys) for entry in reversed(journey.entry)]
    while waiting:
        name = waiting.pop()
        if name not in near:
            near[name] = None
            waiting.extend(reversed(found.structure.needs(name)))
    alone = found.alone()
    frail = [n for n in near if n not in alone and not redundant(graph.components[n])]
    sound = [n for n in near if n not in alone and redundant(graph.components[n])]
    domains = [
        (f"{level} {place}", frozenset(names))
        for (level, place), names in found.domains.items()
        if len(names) > 1 and not near.keys().isdisjoint(names) and not found.lost_with((level, place))
    ]
    return [*((n, frozenset([n])) for n in frail), *domains, *((n, frozenset([n])) for n in sound)]


def _lost(
    graph: Graph, found: Impact, elements: Sequence[tuple[str, frozenset[str]]], sets: list[tuple[int, ...]]
) -> dict[tuple[int, ...], tuple[str, ...]]:
    """Sets that take journeys down; a set of which one member is inside another is smaller than it looks, and out."""
    sets = [s for s in sets if not any(elements[a][1] <= elements[b][1] or elements[b][1] <= elements[a][1]
                                       for a, b in combinations(s, 2))]  # fmt: skip
    if not sets:
        return {}
    up = dict.fromkeys(found.names, (1 << len(sets)) - 1)
    gone: dict[str, list[int]] = {}
    for i, members in enumerate(sets):
        for name in {name for m in members for name in elements[m][1]}:
            gone.setdefault(name, []).append(i)
    for name, worlds in gone.items():
        taken = bytearray(len(sets) // 8 + 1)
        for i in worlds:
            taken[i >> 3] |= 1 << (i & 7)
        up[name] &= ~int.from_bytes(taken, "little")
    works = found.structure.works(up)
    alive = [(journey.name, found.structure.journey(journey, works)) for journey in graph.journeys]
    result = {s: tuple(name for name, worlds in alive if not worlds >> i & 1) for i, s in enumerate(sets)}
    return {s: lost for s, lost in result.items() if lost}
