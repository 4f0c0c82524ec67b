"""What ``eisbach regions`` and ``cells`` say when the control process refuses: whose refusal it is, and what to do."""

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import typer

from eisbach.cli import cells, regions
from eisbach.cli.cells import Control
from eisbach.cli.shared import Shared
from eisbach.kernel.errors import EisbachError, Invalid, Unavailable

FULL = "writing control store /d/control.db: SQLite refused (FullError: full); nothing was written; free space there"


STANDS: dict[str, Any] = {"/region/standing?wait_ms=1000": {"why_not": "", "silent": []}}


class FakeSupervisor:
    token = "t"

    def __init__(self) -> None:
        self.weights = {"eu-central": 100, "eu-west": 100}
        self.url = "http://127.0.0.1:1"

    def get(self, path: str) -> Any:
        if path == "/ops/weights":
            return {"weights": dict(self.weights)}
        process = {"target": "control/eu-central", "region": "eu-central", "url": self.url}
        return {"regions": [{"name": name} for name in self.weights], "processes": [process]}

    def post(self, _: str, body: Any) -> Any:
        self.weights = {**self.weights, body["region"]: body["weight"]}


def refusing(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> FakeSupervisor:
    supervisor = FakeSupervisor()

    def urlopen(request: urllib.request.Request, **_: Any) -> Any:
        if "/region/leave?" in request.full_url:
            return BytesIO(b"{}")
        raise urllib.error.HTTPError(request.full_url, status, "", Message(), BytesIO(body))

    for module in (cells, regions):
        monkeypatch.setattr(module, "find", lambda _: supervisor)
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return supervisor


@contextlib.contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> Iterator[None]:
    """Control of eu-central answers these; that of eu-west is not there."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    supervisor = FakeSupervisor()
    for module in (cells, regions):
        monkeypatch.setattr(module, "find", lambda _: supervisor)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        supervisor.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (
            409,
            json.dumps({"detail": FULL, "code": "unavailable"}).encode(),
            Unavailable,
            f"control of eu-central: {FULL}",
        ),
        (400, b'{"detail": "no such slot", "code": "invalid"}', Invalid, "no such slot"),
        (
            500,
            b"Internal Server Error",
            Unavailable,
            "control of eu-central answered 500 to /region and did not say why",
        ),
    ],
)
def test_a_refusal_names_the_process_and_a_full_disk_is_not_the_callers_mistake(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, error: type[EisbachError], said: str
) -> None:
    refusing(monkeypatch, status, body)

    with pytest.raises(error) as refused:
        Control("/d", "eu-central").call("/region")

    assert str(refused.value).startswith(said)


def test_an_evacuation_that_a_full_disk_stops_says_what_the_front_does_already(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = refusing(monkeypatch, 409, json.dumps({"detail": FULL, "code": "unavailable"}).encode())

    with pytest.raises(Unavailable) as refused:
        regions._perform(Shared(data=Path("/d"), as_json=False), "eu-central", "evacuate")

    assert FULL in str(refused.value)
    assert "the front sends nobody new to eu-central already" in str(refused.value)
    assert supervisor.weights["eu-central"] == 0


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a process that is stopped: its kernel takes connections, and nobody answers."""
    supervisor = FakeSupervisor()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        supervisor.url = url
        for module in (cells, regions):
            monkeypatch.setattr(module, "find", lambda _: supervisor)
        monkeypatch.setattr(cells, "_ANSWER_S", 0.1)
        yield url


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    ("path", "look"),
    [
        ("/moves", "eisbach cells list --region eu-central"),
        ("/region/evacuate", "eisbach regions list"),
        ("/region/return", "eisbach regions list"),
        ("/losses/declare", "eisbach regions list"),
        ("/losses/close", "eisbach regions list"),
    ],
)
def test_a_request_that_was_not_answered_may_be_carried_out_yet_and_it_is_said_how_to_look(
    path: str, look: str
) -> None:
    with pytest.raises(Unavailable, match=f"may carry the request out yet: {look} shows .* does nothing twice"):
        Control("/d", "eu-central").call(path, {})


@pytest.mark.usefixtures("silent")
def test_a_question_that_was_not_answered_is_asked_again() -> None:
    with pytest.raises(Unavailable, match=r"try again$"):
        Control("/d", "eu-central").call("/region")


def test_a_request_that_reached_nobody_is_not_said_to_be_carried_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (cells, regions):
        monkeypatch.setattr(module, "find", lambda _: FakeSupervisor())

    with pytest.raises(
        Unavailable, match=r"at http://127\.0\.0\.1:1: connection refused; viewers do not need it, try again$"
    ):
        Control("/d", "eu-central").call("/moves", {})


@pytest.mark.parametrize(
    ("action", "follows"), [("evacuate", "eisbach regions return eu-central"), ("return", "regions evacuate REGION")]
)
def test_a_list_of_regions_offers_the_way_back_while_one_is_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, action: str, follows: str
) -> None:
    slots = {"eu/de/main/0": {"cell": "c1", "proved": True, "trouble": ""}}
    record = {"region": "eu-central", "other": "eu-west", "action": action, "ended_ms": 1, "slots": slots}
    with answering(monkeypatch, {"/region": {"last": record}, "/losses": {"losses": []}, **STANDS}):
        regions.list_regions(data=Path("/d"), as_json=False)

    assert f"Next: {follows}" in capsys.readouterr().out.replace(
        "Next: eisbach regions evacuate", "Next: regions evacuate"
    )


def test_an_evacuation_that_leaves_slots_behind_says_which_and_how_to_finish_or_take_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = {"eu/de/main/0": (True, ""), "eu/de/main/3": (False, "eu-west has not asked; nothing was stopped")}
    slots = {slot: {"cell": "c1", "proved": proved, "trouble": why} for slot, (proved, why) in proofs.items()}
    record = {"region": "eu-central", "other": "eu-west", "action": "evacuate", "ended_ms": 0, "slots": slots}
    answers = {
        "/region/leave?to=eu-west": {},
        "/region/evacuate": record,
        "/region": {"last": record},
        "/losses": {"losses": []},
        **STANDS,
    }
    with answering(monkeypatch, answers):
        with pytest.raises(typer.Exit):
            regions._perform(Shared(data=Path("/d"), as_json=False), "eu-central", "evacuate")
        performed = capsys.readouterr().out
        regions.list_regions(data=Path("/d"), as_json=False)
        listed = capsys.readouterr().out

    for said in (performed, listed):
        assert "eu/de/main/3 at c1: eu-west has not asked; nothing was stopped" in said
        assert "eu/de/main/0 at" not in said
        assert "when eu-west follows eu-central again" in said
        assert "eisbach regions evacuate eu-central goes on with the rest" in said
        assert "eisbach regions return eu-central takes back what has left" in said


def test_a_return_by_force_from_a_region_that_is_gone_gives_the_weight_back_and_says_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question about a loss reached nobody, and its error was all that was said; the front sent nobody."""
    slots = {"eu/de/main/3": {"cell": "c1", "proved": False, "trouble": "taken back by --force: nobody says"}}
    record = {"region": "eu-central", "other": "eu-west", "action": "return", "ended_ms": 1, "slots": slots}
    with answering(monkeypatch, {"/region/return": record, "/region": {"last": {**record, "action": "evacuate"}}}):
        supervisor = regions.find("/d")
        supervisor.post("/ops/weights", {"region": "eu-central", "weight": 0})
        with pytest.raises(typer.Exit):
            regions._perform(Shared(data=Path("/d"), as_json=False), "eu-central", "return", force=True)

    said = capsys.readouterr().out
    assert supervisor.get("/ops/weights")["weights"]["eu-central"] == 100
    assert "eu/de/main/3 at c1: taken back by --force: nobody says" in said
    assert "whether eu-west has declared eu-central lost, and what came late, is not known: " in said
    assert "eisbach regions return eu-central again closes what is open" in said


def test_a_list_names_the_cell_that_hangs_and_says_what_it_knows_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It blamed control, after eleven seconds, and said nothing of its region."""
    stands = {"/region/standing?wait_ms=1000": {"why_not": "", "silent": ["c2"]}}
    with answering(monkeypatch, {"/region": {"last": None}, "/losses": {"losses": []}, **stands}):
        regions.list_regions(data=Path("/d"), as_json=False)

    said = capsys.readouterr().out
    assert "eu-central   weight 100   serves\n" in said
    assert (
        "  cell/eu-central/c2 did not answer within 1 s: eisbach why cell/eu-central/c2; what is said here is without it"
        in said
    )


def test_a_list_asks_also_a_control_of_the_version_before_which_names_no_silent_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ended in ``KeyError: 'silent'``."""
    before = {"/region/standing?wait_ms=1000": {"why_not": ""}}
    with answering(monkeypatch, {"/region": {"last": None}, "/losses": {"losses": []}, **before}):
        regions.list_regions(data=Path("/d"), as_json=False)

    assert "eu-central   weight 100   serves" in capsys.readouterr().out


def test_many_slots_that_are_not_proved_are_told_by_cell_and_reason_with_a_few_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each was a line of its own, with the same words: 128 of them."""
    why = {"c1": "region eu-west has not asked for its ops lately", "c2": "cell c2 did not answer within 4 s"}
    slots = {
        f"eu/de/main/{n}": {"cell": cell, "proved": False, "trouble": why[cell]}
        for n, cell in zip((10, 0, 1, 9, 3, 11, 40, 5), ["c1", "c1", "c1", "c2", "c2", "c2", "c2", "c2"], strict=True)
    }
    slots["eu/de/main/99"] = {"cell": "c1", "proved": False, "trouble": "it is frozen"}

    regions._say_rest({"region": "eu-central", "action": "evacuate", "slots": slots})

    assert capsys.readouterr().out.splitlines() == [
        "  5 slots (eu/de/main/3, eu/de/main/5, eu/de/main/9, …) at c2: cell c2 did not answer within 4 s",
        "  3 slots (eu/de/main/0, eu/de/main/1, eu/de/main/10) at c1: region eu-west has not asked for its ops lately",
        "  eu/de/main/99 at c1: it is frozen",
    ]


def test_slots_that_each_have_a_reason_of_their_own_are_counted_behind_the_first_six(
    capsys: pytest.CaptureFixture[str],
) -> None:
    slots = {f"s{n}": {"cell": "c1", "proved": False, "trouble": f"slot s{n} is busy"} for n in range(20)}

    regions._say_rest({"region": "eu-central", "action": "evacuate", "slots": slots})

    said = capsys.readouterr().out.splitlines()
    assert (len(said), said[-1]) == (7, "  and 14 more slots, of other reasons: --json has all")


def test_of_a_declared_loss_a_few_ranges_are_shown_and_the_rest_is_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = {f"eu/de/main/{n}": {"head": [1, n], "held": [1, 0], "until": None} for n in range(1, 41)}
    record = {"region": "eu-west", "heard_ms": 0, "closed_ms": 0, "slots": slots}
    with answering(monkeypatch, {"/losses/declare": record}):
        regions._declare_lost(Shared(data=Path("/d"), as_json=False), "eu-west")

    said = capsys.readouterr().out.splitlines()
    assert "  eu/de/main/5: eu-west 1.0 is here, it wrote up to 1.5 at least" in said
    assert "  and 35 more slots of which something is known to be missing: --json has all" in said
    assert len(said) == 8
