"""In which order a system starts after a full stop: waves of components whose needs at the start run already.

By Kahn's algorithm (1962) over dependencies that are needed at the start; what is left over stands in a circle, starts
last, if at all, and is a finding of its own (``rules``). Pure.
"""

from collections import defaultdict
from collections.abc import Sequence

from eisbach.plan.assess.evaluate import is_hard
from eisbach.plan.assess.model import Graph

__all__ = ["start_order"]


def start_order(graph: Graph) -> tuple[Sequence[Sequence[str]], Sequence[str]]:
    """(waves, what no wave can start); only components that wait for others, or that others wait for."""
    waits: dict[str, set[str]] = defaultdict(set)
    waited: dict[str, set[str]] = defaultdict(set)
    for d in graph.dependencies:
        if d.starts and d.source != d.target and (d.hard is not False or is_hard(d, graph.components[d.target])):
            waits[d.source].add(d.target)
            waited[d.target].add(d.source)
    left = {name: set(waits.get(name, ())) for name in graph.components if name in waits or name in waited}
    waves: list[list[str]] = []
    ready = [name for name, needs in left.items() if not needs]
    while ready:
        waves.append(sorted(ready))
        following: dict[str, None] = {}
        for name in ready:
            del left[name]
            for source in waited.get(name, ()):
                if source in left:
                    left[source].discard(name)
                    if not left[source]:
                        following[source] = None
        ready = list(following)
    return waves, sorted(left)
