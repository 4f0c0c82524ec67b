"""The first sentence of status: who is hurt by what, in each stage (design section 7)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from eisbach.deploy.laptop.impact import Circumstances, Part, summarise
from eisbach.deploy.laptop.observer import alarms_in, evacuated
from eisbach.settings import CellProcess

from .test_topology import stage

NOW = 100_000


def parts(name: str, regions: int, states: Mapping[str, str], *, fault: bool = True) -> list[Part]:
    found = []
    for spec in stage(name, regions).processes:
        word = next(
            (s for prefix, s in states.items() if spec.target.startswith(prefix) or spec.region == prefix), "ready"
        )
        document: Any = getattr(spec.document, "cell", spec.document) if spec.kind == "single" else spec.document
        layout = document.slots if isinstance(document, CellProcess) else {}
        found.append(
            Part(
                spec=spec,
                state=word,
                since_ms=NOW - 42_000,
                fault="down" if fault and word != "ready" else "",
                layout=layout,
            )
        )
    return found


def about(name: str, **more: Any) -> Circumstances:
    return Circumstances(stage=name, last="x", now_ms=NOW, **more)


@pytest.mark.parametrize(
    ("name", "regions", "states", "hurt", "said"),
    [
        ("single", 1, {"single": "down"}, ["everybody (single is down)"], "Hurt since 42 s: everybody"),
        ("hub", 1, {"spokes": "down"}, [], "spokes of eu-central catch up later"),
        ("hub", 1, {"hub": "down"}, [], "events of eu-central wait"),
        ("hub", 1, {"cell": "down"}, ["viewers of 128 slots of eu/de/main, eu/at/main (cell/eu-central/c1 is down)"], "Hurt"),
        ("cells", 1, {"cell/eu-central/c1": "hung"}, ["viewers of 32 slots of eu/de/main (cell/eu-central/c1 hangs)"], "Hurt"),
        ("cells", 1, {"cell/eu-central/studio": "down"}, ["editors (cell/eu-central/studio is down)"], "Hurt"),
        ("cells", 1, {"edge": "error"}, ["everybody (edge/eu-central answers 503)"], "Hurt"),
        ("regions", 2, {"cell/eu-central/c1": "down"}, [], "viewers of 32 slots of eu/de/main are served by eu-west"),
        ("regions", 2, {"eu-central": "down"}, [], "region/eu-central is down since 42 s: viewers of eu-central are served by eu-west"),
        ("regions", 2, {"cell/eu-central/c3": "down", "cell/eu-west/c3": "down"},
         ["viewers of 64 slots of eu/at/main (cell/eu-central/c3 is down)", "viewers of 64 slots of eu/at/main (cell/eu-west/c3 is down)"], "Hurt"),
        ("regions", 2, {"edge/eu-central": "down", "edge/eu-west": "down"},
         ["everybody (edge/eu-central is down)", "everybody (edge/eu-west is down)"], "Hurt"),
        ("regions", 2, {"single": "down"}, ["the left side of the demo (single is down)"], "Hurt"),
        ("regions", 3, {"cell/us-east/c1": "down"}, ["viewers of 32 slots of us/us/main (cell/us-east/c1 is down)"], "Hurt"),
        ("regions", 2, {"control": "down"}, [], "ownership cannot change meanwhile"),
        ("regions", 2, {"cell/eu-central/c1": "slow"}, [], "viewers of 32 slots of eu/de/main wait longer"),
        ("regions", 2, {"edge/eu-central": "slow"}, [], "viewers of eu-central wait longer"),
        ("single", 1, {"single": "slow"}, [], "everybody waits longer"),
    ],
)  # fmt: skip
def test_who_is_hurt(name: str, regions: int, states: dict[str, str], hurt: list[str], said: str) -> None:
    summary = summarise(parts(name, regions, states), about(name))

    assert hurt == summary.hurt
    assert said in summary.sentence


@pytest.mark.parametrize(
    ("states", "out", "hurt", "said"),
    [
        ({}, ["eu-west"], [], "processes are ready; eu-west is evacuated; last change"),
        ({"cell/eu-central/c1": "down"}, ["eu-west"],
         ["viewers of 32 slots of eu/de/main (cell/eu-central/c1 is down)"], "Hurt since 42 s"),
        ({"edge/eu-central": "down"}, ["eu-west"], ["everybody (edge/eu-central is down)"], "Hurt since 42 s"),
        ({"cell/eu-central/studio": "down"}, ["eu-west"], [], "editors are served by eu-west"),
        ({"cell/eu-west/c1": "down"}, ["eu-west"], [], "viewers of 32 slots of eu/de/main have been left to another region"),
        ({"edge/eu-west": "down"}, ["eu-west"], [], "nobody: eu-west is evacuated"),
        ({}, ["eu-central", "eu-west"], ["everybody (eu-central and eu-west are evacuated)"], "Hurt: everybody"),
    ],
)  # fmt: skip
def test_a_region_that_is_evacuated_takes_nobody_over(
    states: dict[str, str], out: list[str], hurt: list[str], said: str
) -> None:
    summary = summarise(parts("regions", 2, states), about("regions", out=out))

    assert hurt == summary.hurt
    assert said in summary.sentence
    assert len(out) == 1 or summary.next == "eisbach regions return eu-central"


WEST_C2 = "cell/eu-west/c2"
CENTRAL_C2 = "cell/eu-central/c2"
OF_C2 = [f"eu/de/main/{number}" for number in range(32, 64)]


def left_by(found: list[Part], away: Mapping[str, list[str]]) -> list[Part]:
    return [replace(part, away=away.get(part.spec.target, ())) for part in found]


@pytest.mark.parametrize(
    ("states", "away", "hurt", "said"),
    [
        ({WEST_C2: "hung"}, {CENTRAL_C2: OF_C2},
         ["viewers of 32 slots of eu/de/main are served by nobody: eu-central has left them (cell/eu-west/c2 hangs)"],
         "Hurt since 42 s: viewers of 32 slots of eu/de/main are served by nobody"),
        ({WEST_C2: "hung"}, {CENTRAL_C2: OF_C2[:5]},
         ["viewers of 5 slots of eu/de/main are served by nobody: eu-central has left them (cell/eu-west/c2 hangs)"], "Hurt"),
        # A move within eu-central came before: c1 has what is c2's by the layout.
        ({WEST_C2: "hung"}, {"cell/eu-central/c1": OF_C2[:1]},
         ["viewers of 1 slot of eu/de/main are served by nobody: eu-central has left them (cell/eu-west/c2 hangs)"], "Hurt"),
        ({WEST_C2: "hung", CENTRAL_C2: "down"}, {CENTRAL_C2: OF_C2},
         ["viewers of 32 slots of eu/de/main (cell/eu-west/c2 hangs)"], "Hurt"),
        # Not too dark: what eu-central has left of other cells is nothing to c2's viewers.
        ({WEST_C2: "hung"}, {"cell/eu-central/c3": [f"eu/at/main/{number}" for number in range(64)]},
         [], "viewers of 32 slots of eu/de/main are served by eu-central"),
        ({CENTRAL_C2: "down"}, {CENTRAL_C2: OF_C2}, [], "viewers of 32 slots of eu/de/main have been left to another region"),
        ({CENTRAL_C2: "down"}, {CENTRAL_C2: OF_C2[:5]}, [], "viewers of 27 slots of eu/de/main are served by eu-west"),
    ],
)  # fmt: skip
def test_a_cell_serves_for_its_twin_all_slots_but_those_that_its_region_has_left(
    states: dict[str, str], away: dict[str, list[str]], hurt: list[str], said: str
) -> None:
    """A region counted as out only with all its slots: a partly done return hid 32 slots that were 502."""
    summary = summarise(left_by(parts("regions", 2, states), away), about("regions"))

    assert hurt == summary.hurt
    assert said in summary.sentence


def test_a_cell_that_takes_no_writes_hurts_nobody_in_slots_that_it_has_left() -> None:
    full = [
        replace(part, writes_stopped=True, handed_on=False) if part.state == "unready" else part
        for part in parts("regions", 2, {CENTRAL_C2: "unready"}, fault=False)
    ]

    assert summarise(full, about("regions")).hurt == [
        "writes of viewers of 32 slots of eu/de/main (cell/eu-central/c2 takes no writes)"
    ]
    assert summarise(left_by(full, {CENTRAL_C2: OF_C2}), about("regions")).hurt == []


def test_a_twin_that_takes_no_writes_is_not_read_in_slots_that_it_has_left() -> None:
    both = [
        replace(part, writes_stopped=True) if part.state == "unready" else part
        for part in parts("regions", 2, {CENTRAL_C2: "unready", WEST_C2: "down"}, fault=False)
    ]

    read = summarise(both, about("regions")).hurt
    left = summarise(left_by(both, {CENTRAL_C2: OF_C2}), about("regions")).hurt

    assert "writes of viewers of 32 slots of eu/de/main (cell/eu-west/c2 is down)" in read
    assert left == ["viewers of 32 slots of eu/de/main (cell/eu-west/c2 is down)"]


def test_where_nothing_is_broken_the_next_command_takes_an_evacuated_region_back() -> None:
    assert summarise(parts("regions", 2, {}), replace(about("regions"), out=["eu-west"])).next == (
        "eisbach regions return eu-west"
    )


def test_a_region_is_evacuated_when_no_cell_that_answers_serves_a_viewer() -> None:
    layouts = parts("regions", 2, {})
    told = {"cell/eu-central/c1": 0, "cell/eu-central/c2": 0, "cell/eu-west/c1": 0, "cell/eu-west/c2": 1}
    figures = {cell: {"slots": {"eu/de/main": slots} if slots else {}} for cell, slots in told.items()}
    figures["cell/eu-central/studio"] = {"slots": {"any/all/studio": 64}}

    assert evacuated(layouts, figures) == ["eu-central"]
    assert evacuated(layouts, {}) == []


def test_the_next_command_heals_what_was_broken_on_purpose_and_explains_what_was_not() -> None:
    on_purpose = summarise(parts("regions", 2, {"eu-central": "down"}), about("regions"))
    by_itself = summarise(parts("regions", 2, {"cell/eu-west/c1": "restarting"}, fault=False), about("regions"))
    both_doors = summarise(parts("regions", 2, {"edge/eu-west": "error", "origin/eu-west": "error"}), about("regions"))
    assert both_doors.next == "eisbach heal region/eu-west"
    cut = summarise(
        parts("regions", 2, {}), about("regions", beside=[("a and b are cut off", "link/eu-central/eu-west")])
    )

    assert on_purpose.next == "eisbach heal region/eu-central"
    assert by_itself.next == "eisbach why cell/eu-west/c1"
    assert cut.next == "eisbach heal link/eu-central/eu-west"


def test_a_region_that_is_down_comes_before_the_single_node_beside() -> None:
    """After the red button both are: what the platform does about its region is the news."""
    both = parts("regions", 2, {"eu-central": "down", "single": "down"})

    summary = summarise(both, about("regions"))

    assert summary.sentence == (
        "No viewer of the platform is hurt, though region/eu-central is down since 42 s: viewers of eu-central are"
        " served by eu-west; editors are served by eu-west; viewers of 32 slots of eu/de/main are served by eu-west and"
        " 6 more; beside it hurt: the left side of the demo (single is down); last change: x."
    )
    assert summary.hurt == ["the left side of the demo (single is down)"]
    assert summary.next == "eisbach heal region/eu-central"


def test_before_everything_was_ready_once_it_is_starting() -> None:
    waiting = parts("cells", 1, {"edge": "waiting"}, fault=False)

    summary = summarise(waiting, replace(about("cells"), begun=False))

    assert f"Starting: {len(waiting) - 1} of {len(waiting)} processes are ready." == summary.sentence


def test_what_ends_again_and_again_at_the_start_is_hurt_and_not_on_its_way() -> None:
    """Cells on empty disks refused to begin, and status said to look at status."""
    broken = [
        replace(part, restarts=3) if part.state == "restarting" else part
        for part in parts("regions", 2, {"cell/eu-west/c1": "restarting"}, fault=False)
    ]

    summary = summarise(broken, replace(about("regions"), begun=False))

    assert "cell/eu-west/c1 crashed and restarts" in summary.sentence
    assert summary.next == "eisbach why cell/eu-west/c1"


def test_twins_that_differ_are_an_alarm_before_everything_else() -> None:
    alarm = "cell/eu-west/c1 and its twin in eu-central differ in slot eu/de/main/3 buckets [4]"

    summary = summarise(parts("regions", 2, {"control": "down"}), about("regions", alarms=[alarm]))

    assert summary.sentence.startswith(f"Alarm: {alarm}. Nobody is hurt, though")
    assert summary.hurt == [alarm]
    assert summary.alarms == [alarm]


def test_a_clock_that_stops_writes_is_an_alarm_that_names_the_cell_and_says_to_set_it() -> None:
    target = "cell/eu-central/c1"
    figures = {
        target: {"writes_stopped": "this clock is 3004 ms ahead of region eu-west's; set it"},
        "cell/eu-west/c1": {},
    }
    unready = [
        replace(p, writes_stopped=p.spec.target == target)
        for p in parts("regions", 2, {target: "unready"}, fault=False)
    ]

    summary = summarise(unready, about("regions", alarms=alarms_in(figures)))

    assert summary.sentence == (
        f"Alarm: {target} takes no writes, reads go on: this clock is 3004 ms ahead of region eu-west's; set it. Nobody"
        f" is hurt, though {target} takes no writes since 42 s: writes of viewers of 32 slots of eu/de/main are served"
        " by eu-west; last change: x."
    )
    assert summary.next == f"eisbach why {target}"


def test_when_all_is_well_it_says_so() -> None:
    summary = summarise(parts("regions", 2, {}), about("regions"))

    assert summary.sentence.startswith("Nobody is hurt: all ")
