"""What ``eisbach why`` says of a target, and shows of a log."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eisbach.deploy.laptop.impact import Summary, summarise
from eisbach.deploy.laptop.logs import distinct
from eisbach.deploy.laptop.lost_stores import lost_stores
from eisbach.deploy.laptop.outs import outs
from eisbach.deploy.laptop.status import FaultRow, Observed, build_status
from eisbach.deploy.laptop.supervised import Change
from eisbach.deploy.laptop.targets import UnknownTarget
from eisbach.deploy.laptop.unfinished import unfinished
from eisbach.deploy.laptop.why import explain

from .test_impact import about, parts
from .test_topology import stage

CELL = "cell/eu-central/c1"
SINCE = 1_795_858_800_000
LINK = "link/eu-central/eu-west"
CHANGES = [Change(at_ms=SINCE, target=LINK, before="up", after="cut", why="fault cut")]


def asked(target: str, faults: Sequence[FaultRow] = (), **more: Any) -> dict[str, Any]:
    """Of a platform of two regions in which every process is ready."""
    topology = stage("regions", 2)
    observed = [Observed(spec=spec, state="ready", pid=1, since_ms=SINCE, restarts=0) for spec in topology.processes]
    base = {"stage": "regions", "front": "", "rehearsal": True, "now_ms": SINCE, "started_ms": 0, "demo": {}}
    status = build_status(
        observed,
        Summary(sentence="", hurt=[], next=""),
        faults,
        [],
        {**base, "regions": [("eu-central", "", "")], **more},
    )
    process = SimpleNamespace(why="", restarts=0, fault="", log=Path("/nowhere"))
    supervisor: Any = SimpleNamespace(
        topology=topology, changes=CHANGES, processes=dict.fromkeys(topology.targets(), process)
    )
    return explain(target, supervisor, status)


def test_a_process_that_says_the_same_at_every_start_is_quoted_once_with_the_last_of_it() -> None:
    lines = ["10:00:01 listening", "10:00:02 the file /data/store.db is missing", "", "10:00:03 listening",
             "10:00:04 the file /data/store.db is missing"]  # fmt: skip

    assert distinct(lines) == ["10:00:03 listening", "10:00:04 the file /data/store.db is missing"]
    assert distinct(["a", "b", "a"]) == ["b", "a"]


EVACUATED: dict[str, Any] = {"out": {"other": "eu-west", "since_ms": SINCE, "slots": 128}}
LOST: dict[str, Any] = {"lost": [{"region": "eu-central", "since_ms": SINCE, "open": 7}]}
AWAY = "eu-central is out: evacuated, its cells have left every viewers' slot to another region"


@pytest.mark.parametrize(
    ("figures", "away", "said", "since_ms", "following"),
    [
        ({"control/eu-central": EVACUATED}, ["eu-central"],
         ("eu-central is out: evacuated to eu-west since 2026-11-28 09:40:00 UTC, 128 slots are proved. eisbach regions"
         " return eu-central brings it back, with a proof."), SINCE, "eisbach regions return eu-central"),
        ({"control/eu-central": {"out": {**EVACUATED["out"], "slots": 127, "unproved": ["eu/de/main/3"]}}}, [],
         ("127 slots are proved, not proved is eu/de/main/3, which differed from its twin and was left with --force."
          " eisbach regions return eu-central"), SINCE, "eisbach regions return eu-central"),
        ({"control/eu-west": LOST}, [],
         "eu-central is out: declared lost in eu-west since 2026-11-28 09:40:00 UTC, 7 ranges are open", SINCE,
         "eisbach regions return eu-central"),
        ({}, ["eu-central"], f"{AWAY}; since when is not known while control/eu-central does not answer.", None,
         "eisbach why control/eu-central"),
        ({"control/eu-central": {"unfinished": {"action": "return", "other": "eu-west", "open": 128, "slots": {}}}},
         ["eu-central"], f"{AWAY}; its return from eu-west is not through: eisbach regions return", None,
         "eisbach regions return eu-central"),
        ({"control/eu-central": {}}, ["eu-central"], f"{AWAY}; control/eu-central has no record of it", None,
         "eisbach regions return eu-central"),
    ],
)  # fmt: skip
def test_a_region_that_is_out_is_not_called_well_though_all_its_processes_are_ready(
    figures: dict[str, Any], away: list[str], said: str, since_ms: int | None, following: str
) -> None:
    found = outs(figures, away)

    region, cell, other = (asked(target, out=found) for target in ("region/eu-central", CELL, "region/eu-west"))

    assert (found[0].how, found[0].since_ms) == ("lost" if "lost in" in said else "evacuated", since_ms)
    assert said in region["sentence"]
    assert "is well" not in region["sentence"]
    assert "processes of it are ready" in region["sentence"]
    assert (region["next"], region["because"]) == (following, [])
    assert (cell["sentence"], cell["next"]) == (f"{CELL} is well: 1 process is ready.", following)
    assert said in cell["because"][0]
    assert "region/eu-west is well" in other["sentence"]


def test_a_region_whose_evacuation_is_not_through_is_not_called_well_either() -> None:
    told = {"action": "evacuate", "other": "eu-west", "open": 1, "slots": {"eu/de/main/3": "it does not follow"}}

    found = asked("region/eu-central", unfinished=unfinished({"control/eu-central": {"unfinished": told}}))

    assert found["sentence"].startswith("The evacuation of eu-central is not through, 1 slots: eu/de/main/3")
    assert found["next"] == "eisbach regions evacuate eu-central"


def test_status_says_of_a_region_that_was_lost_that_it_has_not_returned() -> None:
    summary = summarise(parts("regions", 2, {}), about("regions", lost=["eu-west"], out=["eu-west"]))

    assert "ready; eu-west was declared lost and has not returned; last change" in summary.sentence
    assert summary.next == "eisbach regions return eu-west"


CUT = FaultRow(target="eu-central", kind="cut", since_ms=SINCE - 42_000, other="eu-west")
CUT_SAID = (
    "eu-central and eu-west are cut off from each other since 42 s (fault cut): eisbach heal link/eu-central/eu-west"
)


@pytest.mark.parametrize("target", ["link", LINK, "link/eu-west/eu-central"])
def test_a_link_that_is_cut_is_not_called_well_and_has_the_names_by_which_it_is_healed(target: str) -> None:
    found = asked(target, [CUT])

    assert found["sentence"] == f"{CUT_SAID} ends it. Its process is ready."
    assert (found["state"], found["next"], found["because"]) == ("cut", f"eisbach heal {LINK}", [])
    assert found["changes"][0]["target"] == LINK
    assert asked(target)["sentence"] == f"{target} is well: 1 process is ready."


def test_a_region_that_is_cut_off_is_not_called_well_and_a_cell_of_it_is() -> None:
    assert asked("region/eu-west", [CUT])["sentence"].startswith(f"{CUT_SAID} ends it. All ")
    assert asked(CELL, [CUT])["sentence"] == f"{CELL} is well: 1 process is ready."


@pytest.mark.parametrize("target", ["link/eu-central/us-east", "link/eu-central/eu-central", "link/eu-central"])
def test_a_link_that_is_not_there_is_refused(target: str) -> None:
    with pytest.raises(UnknownTarget):
        asked(target)


def test_a_spoke_that_was_broken_on_purpose_is_not_called_well_because_its_host_is() -> None:
    fault = FaultRow(target="spoke/eu-west/audit", kind="down", since_ms=SINCE)

    spoke, host = asked("spoke/eu-west/audit", [fault]), asked("spokes/eu-west", [fault])

    assert spoke["sentence"] == (
        "spoke/eu-west/audit is down and its events wait since 0 s (fault down): eisbach heal spoke/eu-west/audit ends"
        " it. Its process is ready."
    )
    assert (spoke["state"], host["state"]) == ("down", "ready")
    assert "is well" not in host["sentence"]


def test_of_stores_that_were_lost_each_process_tells_its_own_and_the_region_both() -> None:
    """``why control/R`` told of the spokes' store."""
    told = {"at_ms": 0, "moves": {}, "count": 0}
    spokes = {"at_ms": 0, "why": "it was empty", "empty": True}
    lost = lost_stores({"control/eu-west": {"store_lost": told}, "spokes/eu-west": {"store_lost": spokes}})

    control, host, cell, region = (
        asked(target, unfinished=lost)
        for target in ("control/eu-west", "spokes/eu-west", "cell/eu-west/c1", "region/eu-west")
    )

    assert control["sentence"] == f"{lost[0].sentence} Its process is ready."
    assert host["sentence"] == f"{lost[1].sentence} Its process is ready."
    assert control["because"] == host["because"] == cell["because"] == []
    assert cell["sentence"] == "cell/eu-west/c1 is well: 1 process is ready."
    assert lost[0].sentence in region["sentence"]
    assert region["because"] == [lost[1].sentence]
    assert control["next"] == "eisbach cells list --region eu-west"
