"""What dies with what, alone and together, held against networkx and against trying; and how available it is."""

from itertools import combinations
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.plan.assess.assessment import assess
from eisbach.plan.assess.availability import BETA, availability, percent
from eisbach.plan.assess.cuts import LISTED_MAX, cuts
from eisbach.plan.assess.evaluate import Structure
from eisbach.plan.assess.experiments import fis_template
from eisbach.plan.assess.findings import Finding
from eisbach.plan.assess.migration import migration
from eisbach.plan.assess.model import Component, Dependency, Evidence, Graph, Journey
from eisbach.plan.assess.order import start_order
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


def _system(edges: dict[str, str], disks: dict[str, str], replicas: int = 1) -> Graph:
    """``edges``: "a" -> "b c" for all of them, "b|c" for any of them; the entry is "a"."""
    names = dict.fromkeys(["a", *edges, *(t for ts in edges.values() for t in ts.replace("|", " ").split())])
    return Graph(
        components={
            n: Component(
                name=n, kind="database", replicas=replicas, availability=0.99, evidence=[_HERE],
                domains={"disk": (disks[n],)} if n in disks else {},
            )
            for n in names
        },
        dependencies=[
            Dependency(source=s, target=t, hard=True, group="or" if "|" in ts else "", evidence=[_HERE])
            for s, ts in edges.items()
            for t in ts.replace("|", " ").split()
        ],
        journeys=[Journey(name="j", entry=("a",), weight=1.0, assumed=False, evidence=_HERE)],
    )  # fmt: skip


def _up(graph: Graph) -> float:
    (found,) = availability(graph, Structure(graph))
    assert found.exact
    return found.value


def test_two_alternatives_on_one_disk_fail_together_by_the_share_of_the_common_cause() -> None:
    apart = _up(_system({"a": "b|c"}, {"b": "d1", "c": "d2"}))
    together = _up(_system({"a": "b|c"}, {"b": "d1", "c": "d1"}))

    common = BETA * 0.01
    own = (0.01 - common) / (1 - common)
    assert apart == pytest.approx(0.99 * (1 - 0.01**2))
    assert together == pytest.approx(0.99 * (1 - common) * (1 - own**2))
    assert together < apart


def test_a_shared_disk_leaves_each_component_as_available_as_it_was() -> None:
    assert _up(_system({"a": "b"}, {"a": "d", "b": "d"})) > 0.99**2  # what fails together fails less often in all
    assert _up(_system({"a": "b"}, {"a": "d", "b": "e"})) == pytest.approx(0.99**2)


def test_three_replicas_of_a_store_are_a_set_of_three_and_none_of_two() -> None:
    graph = _system({"a": "b|c|d"}, {})

    found = cuts(graph, impact(graph, {}))

    assert [c.members for c in found.found] == [("b", "c", "d")]
    assert "of three among 3" in found.bound()


def test_two_zones_that_hold_all_alternatives_are_a_set() -> None:
    graph = _system({"a": "b|c|d"}, {})
    for name, zone in (("b", "z1"), ("c", "z1"), ("d", "z2"), ("a", "z3")):
        graph.components[name].domains["zone"] = (zone,)

    found = {c.members for c in cuts(graph, impact(graph, {})).found}

    assert found == {("d", "zone z1"), ("b", "c", "d")}


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans()), max_size=16).map(
        lambda edges: [(a, b, g) for a, b, g in edges if a < b]
    )
)
def test_the_sets_are_those_that_trying_every_set_finds(edges: list[tuple[int, int, bool]]) -> None:
    graph = Graph(
        components={str(i): Component(name=str(i), replicas=1, evidence=[_HERE]) for i in range(8)},
        dependencies=[
            Dependency(source=str(a), target=str(b), hard=True, group="or" if g else "", evidence=[_HERE])
            for a, b, g in edges
        ],
        journeys=[Journey(name="j", entry=("0",), weight=1.0, assumed=False, evidence=_HERE)],
    )
    structure, names = Structure(graph), list(graph.components)

    def lost(gone: tuple[str, ...]) -> bool:
        works = structure.works({n: int(n not in gone) for n in names})
        return not structure.journey(graph.journeys[0], works)

    minimal: set[tuple[str, ...]] = set()
    for size in (1, 2, 3):
        for gone in combinations(names, size):
            if lost(gone) and not any(set(m) <= set(gone) for m in minimal):
                minimal.add(gone)

    found = cuts(graph, impact(graph, {}))

    assert {tuple(sorted(c.members)) for c in found.found} == {m for m in minimal if len(m) > 1}
    assert len(found.found) <= LISTED_MAX


def test_after_a_full_stop_waves_start_what_is_needed_first_and_a_circle_starts_last() -> None:
    graph = _system({"a": "b c", "b": "d", "c": "d", "x": "y", "y": "x"}, {})
    for dependency in graph.dependencies:
        dependency.starts = True

    assert start_order(graph) == ([["d"], ["b", "c"], ["a"]], ["x", "y"])


@pytest.mark.parametrize(
    ("resource", "action"),
    [("rds", "aws:rds:reboot-db-instances"), ("ecs", "aws:ecs:stop-task"), ("s3", None), ("", None)],
)
def test_a_fault_of_the_provider_is_proposed_for_what_it_can_break_whichever_tool_declared_it(
    resource: str, action: str | None
) -> None:
    graph = _system({}, {})
    graph.components["a"].resource = resource
    finding = Finding(
        rule="single-point", components=("a",), severity="high", evidence=(_HERE,), reasoning="r", advice="a"
    )

    made = fis_template(finding, graph)

    assert (made["actions"]["break"]["actionId"] if made else None) == action


@pytest.mark.parametrize("name", ["ott-chain", "kickoff-monolith", "compose-two-projects", "playout-chain"])
def test_a_step_that_only_takes_away_needs_is_not_shown_to_lose_availability(name: str) -> None:
    folder = Path(__file__).parent / "truths" / name

    found = assess([folder])
    steps = {step.name: step.availability for step in migration(found.graph, found.groups)}

    assert steps["today"] <= steps["repair"] <= steps["hub"]
