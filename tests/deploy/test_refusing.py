"""What ``status`` and ``why`` say of a process that answers and whose disk refuses what it writes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from eisbach.bootstrap.entrance import overloaded
from eisbach.deploy.laptop.impact import Part, summarise
from eisbach.deploy.laptop.observer import Observer
from eisbach.deploy.laptop.status import Status
from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.topology import Topology
from eisbach.deploy.laptop.why import explain
from eisbach.testing.manual_clock import ManualClock

from .conftest import HOST
from .test_impact import about, parts
from .test_topology import stage

C1, TWIN = "cell/eu-central/c1", "cell/eu-west/c1"
FULL = "a write was tried and refused: the disk refused (FullError); nothing was written; free space on the disk of /c1"
SINCE = 1_795_858_800_000
SAID = f"since 2026-11-28 09:40:00 UTC {FULL}"


class Watched:
    """A platform of two regions whose processes are all ready, and what one of them says of itself."""

    def __init__(self, root: Path, target: str) -> None:
        self.told: dict[str, Any] = {}
        self.clock, self.target = ManualClock(wall_ms=SINCE + 42_000), target
        whole = stage("regions", 2)
        specs = tuple(
            replace(spec, url=f"http://{HOST}:8101") if spec.target == target else replace(spec, run="")
            for spec in whole.processes
        )
        topology = Topology(stage="regions", front="", regions=whole.regions, processes=specs)
        self.supervisor = Supervisor(topology, root=root, clock=self.clock, rehearsal=True, token="t")
        self.supervisor.processes = {spec.target: self.supervisor._supervised(spec) for spec in specs}
        for process in self.supervisor.processes.values():
            process.state = "ready"
            process.was_ready.set()
        regions = [(name, "", "") for name in whole.regions]
        self.observer = Observer(self.supervisor, token="t", regions=regions, demo=dict)

    async def status(self) -> Status:
        await self.clock.advance(5)
        return await self.observer.fresh()

    async def why(self, target: str) -> dict[str, Any]:
        return explain(target, self.supervisor, await self.status())


@asynccontextmanager
async def watched(root: Path, target: str = C1) -> AsyncIterator[Watched]:
    one = Watched(root, target)

    async def told(_: web.Request) -> web.Response:
        return web.json_response(one.told)

    app = web.Application()
    app.router.add_get("/status", told)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 8101).start()
    try:
        yield one
    finally:
        await runner.cleanup()


async def test_status_names_a_cell_whose_disk_is_full_with_since_when_who_takes_its_writes_and_what_to_do(
    tmp_path: Path,
) -> None:
    """It was ``Nobody is hurt: all processes are ready``, while the cell answered every write with 503."""
    async with watched(tmp_path) as platform:
        platform.told = {"refuses": {"since_ms": SINCE, "why": FULL}}
        full = await platform.status()
        platform.told = {"refuses": {}}
        room = await platform.status()

    assert full.alarms == [f"{C1} takes no writes, reads go on: {SAID}"]
    assert full.sentence.startswith(
        f"Alarm: {full.alarms[0]}. Nobody is hurt, though {C1} takes no writes since 47 s: writes of viewers of 32 slots"
        " of eu/de/main are served by eu-west; last change: "
    )
    assert full.next == f"eisbach why {C1}"
    assert not full.ready
    (row,) = [row for row in full.processes if row.target == C1]
    assert (row.state, row.since_ms, row.why, row.writes_stopped) == ("unready", SINCE, SAID, True)
    assert {region.name: region.state for region in full.regions} == {"eu-central": "degraded", "eu-west": "up"}
    assert room.sentence.startswith("Nobody is hurt: all ")
    assert (list(room.alarms), room.ready) == ([], True)


async def test_a_write_whose_outcome_the_cell_does_not_know_is_sent_on_by_no_door_and_so_its_viewers_are_hurt(
    tmp_path: Path,
) -> None:
    """An I/O error in a commit: the front answers 503 ``outcome_unknown`` and asks no other region."""
    async with watched(tmp_path) as platform:
        platform.told = {"refuses": {"since_ms": SINCE, "why": FULL, "unknown": True}}
        found = await platform.status()
        said = await platform.why(C1)

    assert f"Hurt since 47 s: writes of viewers of 32 slots of eu/de/main ({C1} takes no writes);" in found.sentence
    assert said["because"][1] == "hurt: writes of viewers of 32 slots of eu/de/main"


async def test_viewers_of_a_cell_that_takes_no_more_connections_are_hurt_for_what_is_shed_goes_nowhere_else(
    tmp_path: Path,
) -> None:
    """It was said that the other region serves them; the doors answered ``overloaded``."""
    async with watched(tmp_path) as platform:
        process = platform.supervisor.processes[C1]
        process.state = "unready"
        process.why = f"answered 503: {await refused_by_the_entrance()}"
        found = await platform.status()

    assert f"viewers of 32 slots of eu/de/main ({C1} is not ready)" in found.hurt


async def refused_by_the_entrance() -> str:
    """What a process without a connection answers whoever asks for its readiness."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await overloaded("5 are open")({"type": "http"}, receive, send)
    return str(json.loads(sent[1]["body"])["detail"])


async def test_why_says_of_a_cell_whose_disk_is_full_what_it_does_to_viewers_and_what_to_do(tmp_path: Path) -> None:
    """It was ``is well``."""
    async with watched(tmp_path) as platform:
        platform.told = {"refuses": {"since_ms": SINCE, "why": FULL}}
        said = await platform.why(C1)

    assert said["sentence"] == f"{C1} takes no writes, reads go on, since 47 s."
    assert said["because"][:2] == [
        SAID,
        "nobody is hurt: writes of viewers of 32 slots of eu/de/main are served by eu-west",
    ]
    assert said["since_ms"] == SINCE


def refusing(*targets: str, down: str = "") -> list[Part]:
    states = {**dict.fromkeys(targets, "unready"), **({down: "down"} if down else {})}
    return [
        replace(p, writes_stopped=p.spec.target in targets) for p in parts("regions", 2, states, fault=False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "hurt"),
    [
        (refusing(C1, TWIN), [f"writes of viewers of 32 slots of eu/de/main ({t} takes no writes)" for t in (C1, TWIN)]),
        (refusing(TWIN, down=C1), [f"writes of viewers of 32 slots of eu/de/main ({C1} is down)",
                                   f"writes of viewers of 32 slots of eu/de/main ({TWIN} takes no writes)"]),
    ],
)  # fmt: skip
def test_where_the_twin_cannot_write_either_writes_are_hurt_and_reads_are_not(
    found: list[Part], hurt: list[str]
) -> None:
    assert summarise(found, about("regions")).hurt == hurt


@pytest.mark.parametrize(("name", "whose"), [("single", "everybody"), ("regions", "the left side of the demo")])
def test_of_a_single_node_whose_disk_refuses_writes_are_hurt_and_reads_are_not(name: str, whose: str) -> None:
    """It was ``Hurt: everybody`` behind an alarm that said that reads go on."""
    found = parts(name, 2 if name == "regions" else 1, {"single": "unready"}, fault=False)
    refusing = [replace(p, writes_stopped=p.spec.target == "single") for p in found]

    assert summarise(refusing, about(name)).hurt == [f"writes of {whose} (single takes no writes)"]


def test_a_region_all_of_whose_cells_take_no_writes_still_serves_and_is_not_called_down() -> None:
    cells = [p.spec.target for p in parts("regions", 2, {}) if p.spec.kind == "cell" and p.spec.region == "eu-west"]

    summary = summarise(refusing(*cells), about("regions"))

    assert "writes of viewers of 32 slots of eu/de/main are served by eu-central" in summary.sentence
    assert "writes of editors are served by eu-central" in summary.sentence


async def test_a_region_whose_only_cell_takes_no_writes_is_degraded(tmp_path: Path) -> None:
    async with watched(tmp_path) as platform:
        for target, process in platform.supervisor.processes.items():
            if target.startswith("cell/eu-central/") and target != C1:
                process.state = "down"
        platform.told = {"refuses": {"since_ms": SINCE, "why": FULL}}
        found = await platform.status()

    assert found.regions[0].state == "degraded"


async def test_an_agent_that_puts_no_new_slot_map_in_force_is_told_with_what_it_means(tmp_path: Path) -> None:
    """It was ``Nobody is hurt: all processes are ready`` and ``is well``, with every map refused."""
    agent = "agent/eu-central"
    why = "the disk refused /agent/edge/map.json (No space left on device); free space on that disk"
    async with watched(tmp_path, agent) as platform:
        platform.told = {"refuses": {"since_ms": SINCE, "why": why, "unknown": False}}
        full = await platform.status()
        said = await platform.why(agent)
        platform.told = {"refuses": {}}
        room = await platform.status()

    assert full.alarms == [f"{agent} takes no new slot map: since 2026-11-28 09:40:00 UTC {why}"]
    assert full.sentence.startswith(
        f"Alarm: {full.alarms[0]}. Nobody is hurt, though {agent} takes no new slot map since 47 s: the edge keeps its"
        " last good map; last change: "
    )
    assert (full.next, full.ready) == (f"eisbach why {agent}", False)
    assert {region.name: region.state for region in full.regions} == {"eu-central": "degraded", "eu-west": "up"}
    assert said["sentence"].startswith(f"{agent} takes no new slot map since ")
    assert said["because"][0] == f"since 2026-11-28 09:40:00 UTC {why}"
    assert room.sentence.startswith("Nobody is hurt: all ")
