"""What dies with what, held against networkx; and figures that do not promise more than was computed."""

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.plan.assess.availability import percent
from eisbach.plan.assess.model import Component, Dependency, Evidence, Graph, Journey
from eisbach.plan.assess.single import impact

_HERE = Evidence("x", 1)


@st.composite
def _ways(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    size = draw(st.integers(2, 12))
    ends = st.integers(0, size - 1)
    return size, sorted(e for e in draw(st.sets(st.tuples(ends, ends), max_size=40)) if e[0] < e[1])


@given(_ways())
def test_where_every_way_on_is_an_alternative_a_journey_dies_with_its_dominators(
    drawn: tuple[int, list[tuple[int, int]]],
) -> None:
    """From the entry to any leaf: what every path passes, as networkx finds it by immediate dominators."""
    size, edges = drawn
    graph = Graph(
        components={str(i): Component(name=str(i), replicas=1, evidence=[_HERE]) for i in range(size)},
        dependencies=[
            Dependency(source=str(a), target=str(b), hard=True, group="or", evidence=[_HERE]) for a, b in edges
        ],
        journeys=[Journey(name="j", entry=("0",), weight=1.0, assumed=False, evidence=_HERE)],
    )
    leaves = [i for i in range(size) if all(a != i for a, _ in edges)]
    tree = nx.immediate_dominators(nx.DiGraph([*edges, *((leaf, "end") for leaf in leaves), (0, 0)]), 0)
    at, dominators = tree["end"], {"0"}
    while at != 0:
        dominators.add(str(at))
        at = tree[at]

    hit = impact(graph, {})

    assert {name for name in graph.components if hit.lost_without(name)} == dominators


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100.000%"),
        (0.999, "99.900%"),
        (0.999999, "99.9999%"),
        (1 - 1e-12, "above 99.99999999%"),
        (0.5, "50.000%"),
    ],
)
def test_what_is_not_certain_is_never_rounded_up_to_certain(share: float, text: str) -> None:
    assert percent(share) == text
