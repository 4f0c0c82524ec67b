"""Stage ``regions`` with real processes: break each part and ask what viewers notice, by request id."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .platform import Platform, call, running
from .viewer import Viewer

pytestmark = pytest.mark.processes

CENTRAL, WEST = "eu-central", "eu-west"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("regions") / "data"
    with running(data, stage="regions", network="127.0.41", arguments=("--no-demo",)) as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def well(platform: Platform) -> bytes:
    """What the front is told while every region is well, taken before the first fault."""
    return (platform.data / "front" / "nginx.conf").read_bytes()


@pytest.fixture(autouse=True)
def whole(platform: Platform) -> Iterator[None]:
    """Each test starts and ends with everything healed."""
    yield
    platform.heal()


def edges(platform: Platform) -> dict[str, str]:
    return {r["name"]: r["edge"] for r in platform.status()["regions"]}


def crowd(edge: str, name: str, count: int = 12) -> list[Viewer]:
    """Enough anonymous viewers that both cells of the market have some."""
    return [Viewer(edge, f"dev-{name}-{number}").sign_in() for number in range(count)]


def cell_of(viewer: Viewer) -> str:
    status, headers, _ = viewer.ask("GET", "/v1/me/rails")
    assert status == 200
    return headers["eisbach-cell"]


class Reading(threading.Thread):
    """Reads as fast as it can until stopped; remembers every answer that was not 200."""

    def __init__(self, viewers: list[Viewer]) -> None:
        super().__init__()
        self.viewers, self.wanted, self.answers, self.failed = viewers, True, 0, []

    def run(self) -> None:
        while self.wanted:
            for viewer in self.viewers:
                try:
                    status, _, _ = viewer.ask("GET", "/v1/me/rails")
                except OSError as error:
                    self.failed.append(f"{viewer.slot}: {error}")
                    continue
                self.answers += 1
                if status != 200:
                    self.failed.append(f"{viewer.slot}: {status}")

    def stop(self) -> list[str]:
        self.wanted = False
        self.join(30)
        return self.failed


def test_a_cell_goes_down_and_its_viewers_go_to_the_twin_without_a_failed_read(platform: Platform) -> None:
    edge = edges(platform)[CENTRAL]
    viewers = crowd(edge, "twin")
    for viewer in viewers:
        assert viewer.write(), viewer.last
    hurt = [v for v in viewers if cell_of(v) == "c1"]
    others = [v for v in viewers if v not in hurt]
    assert hurt
    assert others
    reading = Reading(viewers)
    reading.start()

    platform.fault("down", f"cell/{CENTRAL}/c1")
    written = [viewer.write() for viewer in viewers]
    regions = {v.ask("GET", "/v1/me/rails")[1]["eisbach-region"] for v in hurt}
    failed = reading.stop()

    assert failed == []
    assert all(written)
    assert regions == {WEST}
    assert {v.ask("GET", "/v1/me/rails")[1]["eisbach-region"] for v in others} == {CENTRAL}
    platform.heal()
    platform.until("nothing missing at home", lambda: all(v.missing() == {} for v in viewers), 30)


def test_a_killed_cell_keeps_every_acknowledged_write(platform: Platform) -> None:
    viewers = crowd(edges(platform)[CENTRAL], "kill", 6)

    for round_number in range(3):
        for viewer in viewers:
            viewer.write()
        platform.fault("kill", f"cell/{CENTRAL}/c{1 + round_number % 2}")
        for viewer in viewers:
            viewer.write()

    platform.until("ready", lambda: platform.status().get("ready"), 30)
    platform.until("nothing missing", lambda: all(v.missing() == {} for v in viewers), 30)
    assert sum(len(v.acknowledged) for v in viewers) >= 6 * 3 * 2 * 0.9


@pytest.mark.parametrize("kind", ["down", "hang"])
def test_a_region_that_returns_has_what_was_written_meanwhile(platform: Platform, kind: str) -> None:
    west = edges(platform)[WEST]
    viewers = crowd(west, f"back-{kind}", 6)
    platform.fault(kind, f"region/{CENTRAL}")

    for viewer in viewers:
        assert viewer.write(), viewer.last
    platform.heal()

    central = edges(platform)[CENTRAL]
    platform.until("all of it in eu-central", lambda: all(v.missing(edge=central) == {} for v in viewers), 60)


def test_both_regions_write_during_a_cut_and_both_have_everything_after_it(platform: Platform) -> None:
    edge = edges(platform)
    viewers = crowd(edge[CENTRAL], "cut", 6)
    platform.eisbach("cut", CENTRAL, WEST)

    for viewer in viewers:
        assert viewer.write(edge=edge[CENTRAL]), viewer.last
        assert viewer.write(edge=edge[WEST]), viewer.last
    platform.heal()

    for region in (CENTRAL, WEST):
        platform.until(f"all in {region}", lambda r=region: all(v.missing(edge=edge[r]) == {} for v in viewers), 60)


@pytest.mark.parametrize(
    "target", [f"hub/{CENTRAL}", f"spoke/{CENTRAL}/transcode", f"control/{CENTRAL}", f"agent/{CENTRAL}"]
)
def test_viewers_do_not_notice_that_a_part_behind_them_is_down(platform: Platform, target: str) -> None:
    viewers = crowd(edges(platform)[CENTRAL], f"behind-{target.split('/', maxsplit=1)[0]}", 4)
    reading = Reading(viewers)
    reading.start()

    platform.fault("down", target)
    written = [viewer.write() for _ in range(10) for viewer in viewers]

    assert reading.stop() == []
    assert all(written)
    assert all(v.missing() == {} for v in viewers)


def test_a_cell_whose_disk_is_gone_does_not_begin_anew_and_is_restored_with_everything(platform: Platform) -> None:
    """Healed without a restore it refuses; its twin serves meanwhile; then ``eisbach restore`` fills the empty disk."""
    target = f"cell/{CENTRAL}/c1"
    edge = edges(platform)
    viewers = [v for v in crowd(edge[CENTRAL], "burnt", 10) if cell_of(v) == "c1"]
    for viewer in viewers:
        assert viewer.write(), viewer.last
    platform.fault("down", target)
    for path in (platform.data / "regions" / CENTRAL / "cells" / "c1").glob("store.db*"):
        path.unlink()
    platform.eisbach("heal", target)

    def refused() -> str:
        row = next(p for p in platform.status()["processes"] if p["target"] == target)
        return row["why"] if "empty store" in row["why"] else ""

    why = platform.until("refused", refused, 20)
    for viewer in viewers:
        assert viewer.write(), viewer.last
    platform.fault("down", target)
    done = platform.eisbach("restore", target, "--yes")
    platform.heal()

    assert "eisbach restore" in why
    assert min(done["epochs"].values()) > 1
    platform.until("nothing missing", lambda: all(v.missing() == {} for v in viewers), 30)
    # Not at once: the edge passes over a cell that failed for another three seconds.
    platform.until("home", lambda: _answering(viewers) == {CENTRAL}, 20)
    for viewer in viewers:
        assert viewer.write(edge=edge[CENTRAL]), viewer.last
    west = edge[WEST]
    platform.until("all of it at the twin", lambda: all(v.missing(edge=west) == {} for v in viewers), 30)


def test_a_cell_whose_store_is_put_back_from_an_older_copy_writes_nothing_and_is_restored(platform: Platform) -> None:
    """Its next numbers were used already, as its twin and the hub know."""
    target = f"cell/{CENTRAL}/c1"
    edge = edges(platform)
    viewers = [v for v in crowd(edge[CENTRAL], "older", 10) if cell_of(v) == "c1"]
    for viewer in viewers:
        assert viewer.write(), viewer.last
    folder = platform.data / "regions" / CENTRAL / "cells" / "c1"
    platform.fault("down", target)
    copies = {path: path.read_bytes() for path in folder.glob("store.db*")}
    platform.eisbach("heal", target)
    platform.until("home", lambda: _answering(viewers) == {CENTRAL}, 20)
    for viewer in viewers:
        assert viewer.write(edge=edge[CENTRAL]), viewer.last
    west = edge[WEST]
    platform.until("all of it at the twin", lambda: all(v.missing(edge=west) == {} for v in viewers), 30)
    platform.fault("down", target)
    for path in folder.glob("store.db*"):
        path.unlink()
    for path, content in copies.items():
        path.with_name(path.name + ".put-back").write_bytes(content)
        path.with_name(path.name + ".put-back").rename(path)
    platform.eisbach("heal", target)

    def refused() -> str:
        row = next(p for p in platform.status()["processes"] if p["target"] == target)
        return row["why"] if "older copy" in row["why"] else ""

    why = platform.until("refused", refused, 20)
    for viewer in viewers:
        assert viewer.write(), viewer.last
    platform.fault("down", target)
    done = platform.eisbach("restore", target, "--yes")
    platform.heal()

    assert "eisbach restore" in why
    assert done["older"] > 0
    platform.until("nothing missing", lambda: all(v.missing() == {} for v in viewers), 30)
    platform.until("home", lambda: _answering(viewers) == {CENTRAL}, 20)
    for viewer in viewers:
        assert viewer.write(edge=edge[CENTRAL]), viewer.last
    platform.until("all of it at the twin", lambda: all(v.missing(edge=west) == {} for v in viewers), 30)


def _answering(viewers: list[Viewer]) -> set[str]:
    """Regions that read for them."""
    return {v.ask("GET", "/v1/me/rails")[1]["eisbach-region"] for v in viewers}


def test_a_region_is_lost_with_writes_it_never_sent_and_every_one_of_them_comes_back(platform: Platform) -> None:
    """Unplanned (P12): what may be missing is recorded range by range, and each range is closed by the return."""
    edge = edges(platform)
    viewers = crowd(edge[CENTRAL], "lost", 8)
    assert platform.eisbach("regions", "evacuate", CENTRAL, "--lost", code=2)["error"]["code"] == "invalid"
    platform.eisbach("cut", CENTRAL, WEST)
    for viewer in viewers:
        for _ in range(3):
            assert viewer.write(edge=edge[CENTRAL]), viewer.last
    platform.fault("down", f"region/{CENTRAL}")

    lost = platform.until(
        "declared lost", lambda: platform.eisbach("regions", "evacuate", CENTRAL, "--lost", code=None), 1
    )
    while "error" in lost:  # a cell there was heard less than five seconds ago
        assert "answered" in lost["error"]["message"]
        lost = platform.eisbach("regions", "evacuate", CENTRAL, "--lost", code=None)
    for viewer in viewers:
        assert viewer.write(edge=edge[WEST]), viewer.last
    listed = platform.eisbach("regions", "list")["regions"]
    why = platform.eisbach("why", f"region/{CENTRAL}")
    platform.heal()
    back = platform.until(
        "back", lambda: (found := platform.eisbach("regions", "return", CENTRAL, code=None)) and _closed(found), 60
    )

    assert f"{CENTRAL} is out: declared lost in {WEST} since " in why["because"][-1], why
    assert len(lost["slots"]) == 128
    assert lost["closed_ms"] == 0
    assert [one["losses"][0]["region"] for one in listed if one["region"] == WEST] == [CENTRAL]
    came = sum(found["returned"]["ops"] for found in back["slots"].values())
    assert came >= 24, "three writes of eight viewers, and their sign-ins"
    for region in (CENTRAL, WEST):
        platform.until(f"all in {region}", lambda r=region: all(v.missing(edge=edge[r]) == {} for v in viewers), 60)
    assert platform.eisbach("regions", "list")["regions"][0]["weight"] == 100


def test_a_return_is_not_proved_by_a_cell_that_stood_still_after_it_had_acknowledged_more(platform: Platform) -> None:
    """Evacuate, cut, write there, stop such a cell, heal the link, return: it was "128 of 128 proved", and a 404."""
    edge = edges(platform)
    viewers = crowd(edge[CENTRAL], "unheard", 10)
    for viewer in viewers:
        assert viewer.write(edge=edge[CENTRAL]), viewer.last
    assert "error" not in platform.eisbach("regions", "evacuate", CENTRAL)
    platform.eisbach("cut", CENTRAL, WEST)
    for viewer in viewers:
        assert viewer.write(edge=edge[WEST]), viewer.last
    platform.fault("hang", f"cell/{WEST}/c1")
    platform.eisbach("heal", f"link/{CENTRAL}/{WEST}")

    held = platform.eisbach("regions", "return", CENTRAL, code=None)
    platform.heal()
    back = platform.until(
        "back",
        lambda: (found := platform.eisbach("regions", "return", CENTRAL, code=None)).get("ended_ms") and found,
        60,
    )

    unproved = {slot: one for slot, one in held["slots"].items() if not one["proved"]}
    hung = [viewer.slot for viewer in viewers if viewer.slot in unproved]
    assert 0 < len(unproved) < 128, sorted({one["trouble"] for one in held["slots"].values()})
    assert hung, "some of these viewers are of the cell that hangs"
    assert all("does not say what it has now" in one["trouble"] for one in unproved.values())
    assert all(one["proved"] for one in back["slots"].values())
    missing = {viewer.slot: viewer.missing(edge=edge[CENTRAL]) for viewer in viewers}
    assert {slot: ids for slot, ids in missing.items() if ids} == {}, "at once: that is what was proved"
    assert platform.eisbach("regions", "list")["regions"][0]["weight"] == 100


def _closed(returned: dict[str, Any]) -> dict[str, Any] | None:
    """The loss, once each of its ranges is closed."""
    loss = returned.get("loss")
    return loss if loss and loss["closed_ms"] else None


def test_the_front_is_told_of_a_region_that_is_down_and_of_its_return(platform: Platform, well: bytes) -> None:
    told = platform.data / "front" / "nginx.conf"
    # A region is well after five journeys: the test before may have ended sooner.
    platform.until("well", lambda: told.read_bytes() == well, 30)

    platform.fault("down", f"region/{CENTRAL}")
    platform.until("another order of regions", lambda: told.read_bytes() != well, 30)
    platform.heal()

    platform.until("the order of before", lambda: told.read_bytes() == well, 60)


def test_data_survive_kill_9_of_the_supervisor_and_nothing_stays_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, stage="regions", network="127.0.42", arguments=("--no-demo",)) as first:
        viewers = crowd(edges(first)[CENTRAL], "supervisor", 6)
        for viewer in viewers:
            assert viewer.write(), viewer.last
        first.kill_supervisor()

    with running(data, stage="regions", network="127.0.42", arguments=("--no-demo",)) as second:
        second.until("nothing missing", lambda: all(v.missing() == {} for v in viewers), 20)


def test_wrong_input_gets_a_clear_answer(platform: Platform) -> None:
    edge = edges(platform)[CENTRAL]
    viewer = Viewer(edge, "dev-wrong").sign_in()
    group, _, number = viewer.slot.rpartition("/")
    foreign = f"{group}/{(int(number) + 1) % 64}"
    altered = viewer.token[:-8] + ("A" if viewer.token[-8] != "A" else "B") + viewer.token[-7:]
    table = [
        ("an unknown title", "GET", "/v1/de/titles/no-such-title", None, {}, 404),
        ("bad JSON", "PUT", "/v1/me/progress/x", b"{pos_s:", {}, 400),
        ("a wrong type", "PUT", "/v1/me/progress/x", {"pos_s": "far", "dur_s": 1}, {}, 400),
        ("a huge body", "PUT", "/v1/me/progress/x", b"[" + b"1," * 100_000 + b"1]", {}, 413),
        ("an altered token", "GET", "/v1/me/rails", None, {"Authorization": f"Bearer {altered}"}, 401),
        ("no token", "GET", "/v1/me/rails", None, {"Authorization": ""}, 401),
        ("a malformed slot", "GET", "/v1/me/rails", None, {"Eisbach-Slot": "../../etc"}, 400),
        ("another slot", "GET", "/v1/me/rails", None, {"Eisbach-Slot": foreign}, 421),
    ]

    wrong: list[str] = []
    for what, method, path, body, headers, wanted in table:
        status, answered, problem = call(
            method, f"{edge}{path}", body=body,
            headers={"Authorization": f"Bearer {viewer.token}", "Eisbach-Slot": viewer.slot, **headers},
        )  # fmt: skip
        clear = (
            "problem+json" in answered.get("content-type", "")
            and isinstance(problem, dict)
            and problem.get("code")
            and problem.get("detail")
        )
        if status != wanted or not clear:
            wrong.append(f"{what}: {status} (wanted {wanted}) {answered.get('content-type')} {problem}")

    assert wrong == []


def test_started_from_a_usual_shell_every_process_may_open_enough_files(platform: Platform) -> None:
    """A shell gives 1,024 on most systems, and an nginx that has them in use answers 500."""
    few = {}
    for process in platform.status()["processes"]:
        limits = (Path("/proc") / str(process["pid"]) / "limits").read_text()
        soft = int(next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3])
        if soft < 4608:
            few[process["target"]] = soft

    assert few == {}


def test_what_a_platform_writes_is_its_users_alone(platform: Platform) -> None:
    others = [str(path) for path in (platform.data, *platform.data.rglob("*")) if path.lstat().st_mode & 0o077]

    assert [path for path in others if not Path(path).is_symlink()] == []


def test_an_unknown_target_is_refused_with_the_nearest_one(platform: Platform) -> None:
    answer = platform.eisbach("fault", "down", "cell/eu-central/c9", code=None)

    assert "cell/eu-central/c" in str(answer)
