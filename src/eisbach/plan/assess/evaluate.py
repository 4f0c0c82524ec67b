"""Who is up, in many worlds at once: one evaluation of the graph for as many scenarios as an integer has bits.

A scenario is a bit: in world ``i`` a component is up if bit ``i`` of its number is set. A component works where it is
up and everything that it needs works: all hard dependencies, and of each group of alternatives as many as are needed.
So "each component removed once" is one pass over the edges with integers of one bit a component, and so is a Monte
Carlo run with one bit a sample. Circles get the greatest fixpoint: services that need each other run if both are up.

Pure; no format, no file.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eisbach.plan.assess.model import Component, Dependency, Graph, Journey

__all__ = ["Structure", "is_hard", "is_sync", "redundant"]

_SOFT_KINDS = frozenset({"telemetry", "job"})


def is_hard(dependency: Dependency, target: Component) -> bool:
    """Whether the source fails without the target; where no file says it, yes for what it waits for."""
    if dependency.hard is not None:
        return dependency.hard
    waits = dependency.sync is not False or target.kind in ("queue", "topic")  # who cannot publish has failed, too
    return waits and target.kind not in _SOFT_KINDS and not dependency.fallback


def is_sync(dependency: Dependency, target: Component) -> bool:
    """Whether the source waits; where no file says it, yes but for queues, topics and telemetry."""
    if dependency.sync is not None:
        return dependency.sync
    return dependency.calls and target.kind not in ("queue", "topic", "telemetry", "job")


def redundant(component: Component) -> bool:
    """Whether it survives the loss of one copy."""
    return component.managed or (component.replicas is not None and component.replicas > component.needs)


@dataclass(frozen=True, slots=True)
class _Needs:
    all_of: tuple[str, ...]
    some_of: tuple[tuple[tuple[str, ...], int], ...]


class Structure:
    """The hard part of a graph, ready to be evaluated many times."""

    def __init__(self, graph: Graph, groups: Mapping[str, tuple[Sequence[str], int]] | None = None) -> None:
        """``groups``: name -> (members, needed) where more or fewer than one of a group is needed."""
        self._groups = groups or {}
        single: dict[str, list[str]] = defaultdict(list)
        grouped: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for dependency in graph.dependencies:
            target = graph.components.get(dependency.target)
            if target is None or not is_hard(dependency, target):
                continue
            if dependency.group:
                grouped[dependency.source][dependency.group].append(dependency.target)
            else:
                single[dependency.source].append(dependency.target)
        self._needs: dict[str, _Needs] = {}
        for name in graph.components:
            some = tuple(
                (self._members(group, members, graph), self._needed(group))
                for group, members in grouped.get(name, {}).items()
            )
            self._needs[name] = _Needs(tuple(dict.fromkeys(single.get(name, ()))), some)
        self.order = self._bottom_up()

    def _members(self, group: str, named: Sequence[str], graph: Graph) -> tuple[str, ...]:
        """Who can serve: of a declared group all of its members, also those that a source does not name."""
        declared = self._groups[group][0] if group in self._groups else ()
        return tuple(dict.fromkeys([*named, *(m for m in declared if m in graph.components)]))

    def _needed(self, group: str) -> int:
        return self._groups[group][1] if group in self._groups else 1

    def needs(self, name: str) -> Sequence[str]:
        """Everything a component needs, alternatives included."""
        needs = self._needs[name]
        return (*needs.all_of, *(m for members, _ in needs.some_of for m in members))

    def all_of(self, name: str) -> Sequence[str]:
        """What a component needs without an alternative."""
        return self._needs[name].all_of

    def _bottom_up(self) -> list[str]:
        """Dependencies before dependants, as far as circles allow; without recursion."""
        done: dict[str, None] = {}
        for root in self._needs:
            stack = [(root, iter(self.needs(root)))]
            on_path = {root}
            while stack:
                name, left = stack[-1]
                following = next((n for n in left if n not in done and n not in on_path), None)
                if following is None:
                    stack.pop()
                    on_path.discard(name)
                    done.setdefault(name)
                else:
                    on_path.add(following)
                    stack.append((following, iter(self.needs(following))))
        return list(done)

    def works(self, up: Mapping[str, int]) -> dict[str, int]:
        """Component -> the worlds in which it works; ``up`` has every component."""
        works = dict(up)
        changed = True
        while changed:  # circles need another pass; each pass only takes worlds away, so it ends
            changed = False
            for name in self.order:
                value = works[name]
                if value:
                    now = self._once(name, value, works)
                    if now != value:
                        works[name], changed = now, True
        return works

    def _once(self, name: str, value: int, works: Mapping[str, int]) -> int:
        needs = self._needs[name]
        for target in needs.all_of:
            value &= works[target]
        for members, count in needs.some_of:
            value &= at_least([works[m] for m in members], count)
        return value

    def journey(self, journey: Journey, works: Mapping[str, int]) -> int:
        """The worlds in which a journey succeeds: by any of its entries."""
        value = 0
        for entry in journey.entry:
            value |= works[entry]
        return value


def at_least(values: Sequence[int], count: int) -> int:
    """The worlds in which at least ``count`` of ``values`` are up."""
    if count <= 1:
        found = 0
        for value in values:
            found |= value
        return found
    reached = [~0, *([0] * count)]  # reached[k]: worlds with at least k so far
    for value in values:
        for k in range(count, 0, -1):
            reached[k] |= reached[k - 1] & value
    return reached[count]
