"""Slots that stand at the cut of a move while control is dead: ``status`` and ``why`` name them, and what to do."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from eisbach.deploy.laptop.cuts import Cut, Cuts
from eisbach.deploy.laptop.impact import summarise
from eisbach.deploy.laptop.observer import Observer
from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.topology import Topology
from eisbach.testing.manual_clock import ManualClock

from .conftest import HOST, spec
from .test_impact import NOW, about, parts
from .test_why import asked

CELL = "cell/eu-central/c1"
SLOTS = [f"eu/de/main/{number}" for number in range(5)]


def standing(*frozen: str, control: tuple[str, bool], for_ms: int = 42_000) -> list[Cut]:
    cuts = Cuts()
    cuts.note(CELL, frozen, now_ms=NOW - for_ms)
    return cuts.standing({"eu-central": control, "eu-west": ("ready", False)}, now_ms=NOW)


def test_what_is_seen_for_two_seconds_stands_and_what_is_over_or_began_anew_does_not() -> None:
    cuts, controls = Cuts(), {"eu-central": ("down", True)}
    cuts.note(CELL, SLOTS[:2], now_ms=1_000)
    cuts.note("cell/eu-central/c2", SLOTS[2:3], now_ms=1_000)
    early = cuts.standing(controls, now_ms=2_999)
    cuts.note(CELL, SLOTS[1:3], now_ms=2_500)
    cuts.note("cell/eu-central/c2", [], now_ms=2_500)

    (found,) = cuts.standing(controls, now_ms=3_000)

    assert early == []
    assert (found.target, found.slots, found.since_ms) == (CELL, [SLOTS[1]], 1_000)
    assert cuts.standing({}, now_ms=9_000) == [], "without a control process nothing moves"


@pytest.mark.parametrize(
    ("control", "how", "following"),
    [
        (("down", True), "only control/eu-central can end the move, and that is down: eisbach heal control/eu-central",
         "eisbach heal control/eu-central"),
        (("restarting", False), "and that is restarting: eisbach why control/eu-central", "eisbach why control/eu-central"),
        (("ready", False), "eisbach cells list --region eu-central says what it waits for",
         "eisbach cells list --region eu-central"),
    ],
)  # fmt: skip
def test_count_cell_first_slots_since_when_and_what_to_do_are_said(
    control: tuple[str, bool], how: str, following: str
) -> None:
    (many,), (single,) = standing(*SLOTS, control=control), standing(SLOTS[0], control=control)

    assert many.sentence.startswith(
        f"5 slots of {CELL} are frozen by a move for 42 s at least, read but not written here: eu/de/main/0,"
        " eu/de/main/1, eu/de/main/2 and 2 more; "
    )
    assert single.sentence.startswith(f"1 slot of {CELL} is frozen by a move for 42 s at least, read but not written")
    assert how in many.sentence
    assert many.next == following


def test_where_another_region_takes_the_writes_nobody_is_hurt_and_else_these_viewers_are() -> None:
    cuts = standing(*SLOTS[:2], control=("down", True))
    states = {"control/eu-central": "down"}

    two = summarise(parts("regions", 2, states), about("regions", cuts=cuts))
    one = summarise(parts("cells", 1, states), about("cells", cuts=cuts))
    alone = summarise(parts("cells", 1, {}), about("cells", cuts=standing(SLOTS[0], control=("ready", False))))
    out = summarise(parts("regions", 2, {}), about("regions", cuts=cuts, out=["eu-west"]))

    assert two.sentence.startswith("Nobody is hurt, though control/eu-central is down since 42 s: ")
    assert two.sentence.endswith(cuts[0].sentence)
    assert one.sentence.startswith(f"Hurt since 42 s: writes of viewers of 2 slots ({CELL} has them frozen); last")
    assert one.hurt == [f"writes of viewers of 2 slots ({CELL} has them frozen)"] == out.hurt
    assert (two.next, one.next) == ("eisbach heal control/eu-central",) * 2
    assert alone.sentence.startswith("Hurt since 42 s: writes of viewers of 1 slots")
    assert (alone.next, alone.sentence.count(CELL)) == ("eisbach cells list --region eu-central", 2)


def test_why_says_it_of_the_cell_of_its_control_and_of_the_region_and_calls_none_of_them_well() -> None:
    cuts = standing(*SLOTS, control=("ready", False))

    cell, control, region, other = (
        asked(target, frozen=cuts) for target in (CELL, "control/eu-central", "region/eu-central", "cell/eu-west/c1")
    )

    assert cell["sentence"] == f"{cuts[0].sentence} Its process is ready."
    assert region["sentence"].startswith(cuts[0].sentence)
    assert control["because"] == [cuts[0].sentence]
    assert {one["next"] for one in (cell, control, region)} == {"eisbach cells list --region eu-central"}
    assert (other["because"], "is well" in other["sentence"]) == ([], True)


async def test_what_a_cell_says_comes_into_the_status_document_with_the_time_of_the_first_sight(tmp_path: Path) -> None:
    async def told(_: web.Request) -> web.Response:
        return web.json_response(answer)

    answer: Mapping[str, Any] = {"frozen": SLOTS[:1]}
    app = web.Application()
    app.router.add_get("/status", told)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 8101).start()
    specs = (replace(spec(tmp_path, CELL, 8101), run="cell"), spec(tmp_path, "control/eu-central", 8200))
    topology = Topology(stage="cells", front="", regions=("eu-central",), processes=specs)
    clock = ManualClock()
    supervisor = Supervisor(topology, root=tmp_path, clock=clock, rehearsal=True, token="t")
    supervisor.processes = {one.target: supervisor._supervised(one) for one in specs}
    supervisor.processes[CELL].state = "ready"
    observer = Observer(supervisor, token="t", regions=[], demo=dict)

    await clock.advance(5)
    seen = clock.wall_ms()
    early = await observer.fresh()
    await clock.advance(5)
    late = await observer.fresh()
    answer = {"frozen": []}
    await clock.advance(5)
    over = await observer.fresh()
    await runner.cleanup()

    assert (early.frozen, over.frozen) == ([], [])
    assert [(one.target, one.slots, one.since_ms) for one in late.frozen] == [(CELL, SLOTS[:1], seen)]
    assert late.frozen[0].sentence in late.sentence
