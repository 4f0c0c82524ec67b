"""The monolith that the figures compare with does what our cells do: one client, the same tests, three services."""

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bench.sides import SIDES, Side, running

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module", params=SIDES)
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    with running(request.param, f"127.62.{os.getpid() % 250 + 1}.{SIDES.index(request.param) + 1}") as found:
        yield found


class Client:
    """A viewer on one connection."""

    def __init__(self, side: Side, device: str) -> None:
        self.side, self.device = side, device
        self.connection = http.client.HTTPConnection(side.host, side.port, timeout=10)
        self.headers: dict[str, str] = {}

    def send(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, raw, {**self.headers, **named})
        answer = self.connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None

    def sign_in(self) -> dict[str, Any]:
        status, found = self.send("POST", "/v1/auth/anonymous", {"device_id": self.device, "mkt": "de"})
        assert status == 200, found
        self.headers = {"Authorization": f"Bearer {found['access']}", "Eisbach-Slot": found["slot"]}
        return found

    def start(self, key: str, title: str = "tears", **more: Any) -> tuple[int, Any]:
        body = {"asset": {"type": "vod", "id": title}, **more}
        return self.send("POST", "/v1/playback/sessions", body, Idempotency_Key=key)

    def beat(self, session: dict[str, Any], seq: int, **more: Any) -> dict[str, Any]:
        body = {"seq": seq, "pos_s": 30, "session": session["session"], **more}
        status, found = self.send("POST", f"/v1/playback/sessions/{session['sid']}/heartbeat", body)
        assert status == 200, found
        return found


@pytest.fixture
def stranger(side: Side) -> Iterator[Callable[[str], Client]]:
    """Makes viewers that have not signed in."""
    made: list[Client] = []

    def make(device: str) -> Client:
        made.append(Client(side, device))
        return made[-1]

    yield make
    for client in made:
        client.connection.close()


@pytest.fixture
def viewer(stranger: Callable[[str], Client]) -> Callable[[str], Client]:
    """Makes viewers that have."""

    def make(device: str) -> Client:
        client = stranger(device)
        client.sign_in()
        return client

    return make


def test_signing_in_again_with_a_device_is_the_same_account(stranger: Callable[[str], Client]) -> None:
    client = stranger("device-again-1")

    assert client.sign_in()["account"] == client.sign_in()["account"]


def test_a_private_call_needs_a_token_that_holds(stranger: Callable[[str], Client]) -> None:
    client = stranger("device-none-1")
    assert client.send("GET", "/v1/me/rails")[0] == 401

    client.sign_in()
    client.headers["Authorization"] += "x"

    assert client.send("GET", "/v1/me/rails")[0] == 401


def test_home_lists_what_may_be_played(stranger: Callable[[str], Client]) -> None:
    status, home = stranger("device-home-1").send("GET", "/v1/de/free/web/12/home")

    assert status == 200
    assert {"tears", "bunny"} <= {item["id"] for rail in home["rails"] for item in rail["items"]}


def test_a_repeated_start_is_one_session(viewer: Callable[[str], Client]) -> None:
    client = viewer("device-start-1")

    (first, session), (second, again) = client.start("k-1"), client.start("k-1")

    assert (first, second) == (201, 201)
    assert session["sid"] == again["sid"]
    assert session["token"]["value"] in session["manifests"]["hls"]


def test_a_device_that_starts_again_takes_the_place_of_its_own_stream(viewer: Callable[[str], Client]) -> None:
    client = viewer("device-limit-1")
    sessions = [client.start(f"k-{n}")[1] for n in range(3)]

    assert [client.beat(session, 1)["action"] for session in sessions] == ["stop", "stop", "continue"]


def test_heartbeats_go_on_until_the_session_is_stopped(viewer: Callable[[str], Client]) -> None:
    client = viewer("device-beat-1")
    session = client.start("k-1")[1]

    assert [client.beat(session, n)["action"] for n in (1, 2, 2, 3)] == ["continue"] * 4
    assert client.beat(session, 4, state="stopped")["action"] == "stop"
    assert client.beat(session, 5)["action"] == "stop"


def test_a_session_signed_by_nobody_is_refused(viewer: Callable[[str], Client]) -> None:
    client = viewer("device-forged-1")
    session = client.start("k-1")[1]
    forged = session["session"][:-4] + "AAAA"

    body = {"seq": 1, "pos_s": 1, "session": forged}

    assert client.send("POST", f"/v1/playback/sessions/{session['sid']}/heartbeat", body)[0] == 403


def test_a_position_is_where_playback_goes_on_and_a_repeat_under_its_key_changes_nothing(
    viewer: Callable[[str], Client],
) -> None:
    client = viewer("device-place-1")
    for _ in range(2):
        body = {"pos_s": 42.5, "dur_s": 100}
        assert client.send("PUT", "/v1/me/progress/tears", body, Idempotency_Key="p-1")[0] == 204
    assert client.send("PUT", "/v1/me/progress/bunny", {"pos_s": 99, "dur_s": 100})[0] == 204

    resume = client.send("GET", "/v1/me/rails")[1]["resume"]

    assert [(entry["title"], entry["pos_s"]) for entry in resume] == [("tears", 42.5)], "bunny is watched to its end"
    assert client.start("k-1")[1]["start_pos_s"] == 42.5
    assert client.start("k-2", "bunny")[1]["start_pos_s"] == 0


def test_what_was_paused_is_found_in_continue_watching(viewer: Callable[[str], Client]) -> None:
    client = viewer("device-pause-1")
    session = client.start("k-1")[1]

    assert client.beat(session, 1, state="paused", pos_s=33)["durable"]

    assert client.send("GET", "/v1/me/rails")[1]["resume"][0]["pos_s"] == 33


def test_a_body_that_is_not_the_calls_is_refused(viewer: Callable[[str], Client]) -> None:
    client = viewer("device-body-1")
    for body in (b"{", {"pos_s": -1, "dur_s": 1}, {"pos_s": 1, "dur_s": 1, "more": 1}):
        assert client.send("PUT", "/v1/me/progress/tears", body)[0] == 400


def test_every_acknowledged_write_is_one_event_in_the_hub(side: Side, viewer: Callable[[str], Client]) -> None:
    client = viewer("device-event-1")
    for second in range(40):
        assert client.send("PUT", f"/v1/me/progress/t-{second % 7}", {"pos_s": second, "dur_s": 100})[0] == 204

    until = time.monotonic() + 10
    positions: list[float] = []
    while len(positions) < 40 and time.monotonic() < until:
        account = client.sign_in()["account"]
        told = [e for e in side.events() if e["type"] == "tv.playback.progress.recorded.v1" and e["subject"] == account]
        positions = [event["data"]["pos_s"] for event in told]

    assert sorted(positions) == [float(second) for second in range(40)]
