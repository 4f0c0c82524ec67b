"""A cell whose wall clock runs ahead: it takes no writes, its twin does, and the operator is told (P10)."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .platform import Platform, call, running
from .viewer import Viewer

pytestmark = pytest.mark.processes

CELL, WEST = "cell/eu-central/c1", "eu-west"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path / "data", stage="regions", network="127.0.62", arguments=("--no-demo",)) as started:
        yield started


def shift_clock(platform: Platform, by_ms: int) -> None:
    token = (platform.data / "secrets" / "operator-token").read_text().strip()
    url, headers = f"{platform.url(CELL)}/rehearsal/clock", {"Authorization": f"Bearer {token}"}
    assert call("PUT", url, body={"shift_ms": by_ms}, headers=headers)[0] == 204


def alarmed(platform: Platform) -> dict[str, Any] | None:
    told = platform.status()
    unready = {p["target"] for p in told["processes"] if p["state"] == "unready"}
    return told if told["alarms"] and CELL in unready else None


def test_the_front_takes_writes_of_a_cell_whose_clock_is_ahead_to_its_twin_and_status_says_to_set_it(
    platform: Platform,
) -> None:
    front = platform.front
    edge = next(r["edge"] for r in platform.status()["regions"] if r["name"] == "eu-central")
    crowd = [Viewer(edge, f"dev-clock-{number}").sign_in() for number in range(10)]
    viewers = [v for v in crowd if v.ask("GET", "/v1/me/rails")[1]["eisbach-cell"] == "c1"]

    shift_clock(platform, 3000)
    platform.until("not ready", lambda: not platform.status()["ready"], 20)
    time.sleep(2)  # from now on it is known not to be ready: what it says of itself must still be read
    told = platform.until("an alarm", lambda: alarmed(platform), 20)
    written = [v.ask("PUT", "/v1/me/progress/tears", {"pos_s": 7, "dur_s": 9}, edge=front) for v in viewers]
    body = {"device_id": "dev-clock-new", "plat": "web", "mkt": "de"}
    new = call("POST", f"{front}/v1/auth/anonymous", body=body)
    why = platform.eisbach("why", CELL)
    left = platform.eisbach("regions", "evacuate", WEST, code=2)
    weights = platform.eisbach("regions", "list")["regions"]
    refused = viewers[0].ask("PUT", "/v1/me/progress/tears", {"pos_s": 7, "dur_s": 9})
    shift_clock(platform, 0)
    platform.until("no alarm", lambda: (s := platform.status())["ready"] and not s["alarms"], 20)
    home = viewers[0].ask("PUT", "/v1/me/progress/tears", {"pos_s": 8, "dur_s": 9})

    assert {(status, headers.get("eisbach-region")) for status, headers, _ in written} == {(204, WEST)}
    assert new[0] == 200
    assert (refused[0], refused[1]["eisbach-code"], refused[2]["code"]) == (503, "unavailable", "unavailable")
    assert home[0] == 204
    assert "slots have no writer, eu/de/main/" in left["error"]["message"], left
    assert {one["weight"] for one in weights} == {100}
    assert told["sentence"].startswith(f"Alarm: {CELL} takes no writes, reads go on: this clock is ")
    assert "chrony" in told["sentence"]
    assert any("set the clocks" in line for line in why["because"]), why
