"""The simulated world: it keeps its promises, it can be repeated, and its judge is not blind."""

import ast
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from eisbach.kernel import merge
from eisbach.kernel.errors import NotFound
from eisbach.testing.world.aimed import SEEDS, SUITE, aims_of
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.faults import draw
from eisbach.testing.world.genesis import SHAPES, Shape, shape_of
from eisbach.testing.world.many import Summary, close_volumes, command, shrunk, volumes
from eisbach.testing.world.mutants import MUTANTS, planted
from eisbach.testing.world.pairs import ALONE, PAIRS, STRIKE_PAIRS
from eisbach.testing.world.planting import Mutant
from eisbach.testing.world.run import Result, simulate

WORLD = Path(__file__).parents[2] / "src" / "eisbach" / "testing" / "world"
REGRESSIONS = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
QUICK_MUTANTS = {
    "no-dedupe": 10, "key-not-kept": 10, "clock-not-persisted": 60, "cursor-before-apply": 10,
    "deletion-not-replicated": 10, "empty-map-accepted": 40, "last-publisher-wins": 20, "loser-forgotten": 20, "memory-not-rolled-back": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def disks() -> Iterator[Volumes]:
    yield volumes()
    close_volumes()


@pytest.mark.parametrize("seed", [*REGRESSIONS, *range(200, 204)])
def test_every_promise_is_kept_by_every_seed(disks: Volumes, seed: int) -> None:
    result = simulate(seed, disks)

    assert not result.breaches, f"{result.breaches}\nrepeat: {command(seed)}"
    assert result.acknowledged >= 5


def test_the_same_seed_gives_the_same_trace(disks: Volumes) -> None:
    first, again, other = simulate(5, disks), simulate(5, disks), simulate(6, disks)

    assert first.trace == again.trace
    assert first.trace != other.trace


@pytest.mark.processes
def test_the_trace_does_not_depend_on_the_hash_seed_of_the_process() -> None:
    script = (
        "from eisbach.testing.world.many import *; from eisbach.testing.world.run import simulate\n"
        "print([simulate(s, volumes()).trace for s in (20, 40, 77)]); close_volumes()"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }  # fmt: skip

    assert len(traces) == 1


@pytest.mark.parametrize(("name", "within"), QUICK_MUTANTS.items())
def test_a_planted_bug_is_found(disks: Volumes, name: str, within: int) -> None:
    """The slower ones are in the table of docs/simulation.md: ``eisbach simulate --mutant all``."""
    with planted(name):
        found = next((seed for seed in range(within) if simulate(seed, disks).breaches), None)

    assert found is not None, f"{MUTANTS[name].bug}: not found in {within} seeds"


def test_a_mutant_leaves_nothing_behind(disks: Volumes) -> None:
    before = simulate(1, disks).trace
    for name in MUTANTS:
        with planted(name):
            pass

    assert simulate(1, disks).trace == before
    with pytest.raises(NotFound, match="there is no mutant 'typo'"), planted("typo"):
        pass


def test_a_mutant_that_takes_less_than_what_it_replaces_is_no_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four were found by the TypeError, for as long as nobody looked."""
    monkeypatch.setitem(
        MUTANTS, "narrow", Mutant("narrow", lambda patch: patch(merge, "judge", lambda _a, _b, _c: None), "author")
    )
    with (
        pytest.raises(LookupError, match=r"merge.judge takes 3 in place and .'here', 'late'. by name"),
        planted("narrow"),
    ):
        pass


def test_faults_that_do_not_matter_are_shrunk_away(disks: Volumes) -> None:
    with planted("no-dedupe"):
        seed = next(seed for seed in range(20) if simulate(seed, disks).breaches)
    smallest, without = shrunk(seed, mutant="no-dedupe")
    with planted("no-dedupe"):
        again = simulate(seed, disks, without=without)

    assert without <= set(draw(seed).parts())
    assert without
    assert again.breaches == smallest.breaches != []


@pytest.mark.parametrize(
    "shape", [s for n, s in enumerate(SHAPES) if s not in SHAPES[:n]], ids=lambda shape: shape.name
)
def test_every_pair_leads_the_plan_of_some_seed(shape: Shape) -> None:
    seeds = [seed for seed in range(SUITE) if shape_of(seed) is shape]
    first = [draw(seed) for seed in seeds if not (shape.control and any(seed in aimed for aimed in SEEDS))]
    led = {(plan.strikes[0].phase, plan.strikes[0].kind) for plan in first}

    assert led == {pair for _, pair in STRIKE_PAIRS[shape.name]}
    assert led <= PAIRS


@pytest.mark.parametrize(
    "shape", [s for n, s in enumerate(SHAPES) if s not in SHAPES[:n]], ids=lambda shape: shape.name
)
def test_every_pair_but_those_of_a_lost_region_is_aimed_at_in_seeds_of_the_suite(shape: Shape) -> None:
    plans = [draw(seed) for seeds in SEEDS for seed in seeds if shape_of(seed) is shape]
    times = Counter((strike.phase, strike.kind) for plan in plans for strike in plan.strikes if strike.amount in (0, 4))

    assert {pair for _, pair in aims_of(shape)} >= {p for _, p in STRIKE_PAIRS[shape.name] if p[0] != ALONE}
    assert min(times[pair] for _, pair in aims_of(shape)) >= 1
    assert all(seeds.stop <= 2000 for seeds in SEEDS)


def test_a_run_of_the_whole_suite_that_misses_a_pair_is_not_well_and_names_it() -> None:
    nothing = simulate_nothing()
    part, whole, all_hit = Summary(), Summary(), Summary()
    for seed in range(SUITE):
        for summary, covered in ((whole, PAIRS - {("look.ask", "cut-off")}), (all_hit, PAIRS)):
            summary.add(replace(nothing, seed=seed, covered=set(covered)), 0.1)
        if seed:
            part.add(replace(nothing, seed=seed, covered=set()), 0.1)

    assert (part.well, all_hit.well, whole.well) == (True, True, False)
    assert whole.missed == ["look.ask x cut-off"]


def simulate_nothing() -> Result:
    return Result(
        seed=0, breaches=[], trace="", covered=set(), strikes=0, acknowledged=0, conflicts=0, seconds=1.0,
        converged_s=0.0, steps=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "kind"),
    [("drain.serve", "pause"), ("freeze.serve", "cut-off"), ("holding", "pause"), ("look.ask", "cut-off")],
)
def test_a_pair_that_2000_seeds_missed_is_hit_by_a_seed_that_is_aimed_at_it(
    disks: Volumes, phase: str, kind: str
) -> None:
    aimed = (seed for seeds in SEEDS for seed in seeds if _aims(seed, phase, kind))

    assert any((phase, kind) in simulate(seed, disks).covered for seed in islice(aimed, 30))


def _aims(seed: int, phase: str, kind: str) -> bool:
    return any((strike.phase, strike.kind) == (phase, kind) for strike in draw(seed).strikes)


def test_a_failure_tells_its_history_to_elle(disks: Volumes) -> None:
    edn = simulate(2, disks, keep=True).elle

    assert edn.startswith("[{:type :invoke, :process ")
    assert edn.count(":type :invoke") == edn.count(":type :ok") + edn.count(":type :fail") + edn.count(":type :info")


def test_the_world_has_no_cell_relay_or_spoke_of_its_own() -> None:
    """Every class of the world is a host, a link, a client or a judge; what it simulates, it imports."""
    text = {path.name: path.read_text() for path in WORLD.glob("*.py")}
    used = "\n".join(text.values())
    classes = {n.name for source in text.values() for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef)}

    assert not classes & {
        "Relay",
        "Puller",
        "SpokeRunner",
        "SqliteStore",
        "Writer",
        "Ownership",
        "HybridClock",
        "Inbox",
        "Mover",
        "Evacuation",
        "SlotMapReconciler",
        "Agent",
    }
    for production in (
        "bootstrap.cell import open_cell",
        "bootstrap.control import OpenControl",
        "hub.host import SpokeHost",
        "edge.agent import",
        "edge.rules import",
    ):
        assert f"from eisbach.{production}" in used
