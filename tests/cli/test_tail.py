"""``eisbach events tail``: what comes, filtered, for eyes or as CloudEvents, until there is enough of it."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.cli.events import tail
from eisbach.cli.talk import Supervisor
from eisbach.kernel.cloudevents import to_structured
from eisbach.testing.event_log_promises import an_event

TITLE, ACCOUNT = "tv.catalog.title.published.v1", "tv.account.created.v1"


def line(seq: int, type_: str, subject: str, market: str) -> bytes:
    event = msgspec.structs.replace(an_event(seq, subject=subject), type=type_, market=market)
    return to_structured(event) + b"\n"


LINES = [
    line(1, TITLE, "wave", "de"), line(2, ACCOUNT, "acc-1", "de"), line(3, TITLE, "film", "at"),
    line(4, TITLE, "wave", "de"),
]  # fmt: skip


class Hub(http.server.BaseHTTPRequestHandler):
    """The supervisor's tail, which ends where a real one would go on for ever."""

    asked: str
    authorised: str

    def do_GET(self) -> None:
        Hub.asked, Hub.authorised = self.path, self.headers["Authorization"]
        self.send_response(200 if "lost" not in self.path else 503)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has enough hangs up; a traceback would stand in the output
            self.wfile.writelines(LINES if "lost" not in self.path else [b"the hub is away"])

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = Supervisor({"console": f"http://127.0.0.1:{server.server_port}"}, "a-token")
    monkeypatch.setattr(tail, "find", lambda _data: found)
    yield
    server.shutdown()
    server.server_close()


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(application(), ["events", "tail", *words], env={"COLUMNS": "200"})
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), [1, 2, 3, 4]), (("--type", "tv.catalog"), [1, 3, 4]), (("--subject", "wave"), [1, 4]),
        (("--market", "at"), [3]), (("--type", "tv.catalog", "--market", "de", "--limit", "1"), [1]),
    ],
)  # fmt: skip
def test_what_was_asked_for_is_shown_as_cloudevents_one_a_line(
    hub: None, words: tuple[str, ...], wanted: list[int]
) -> None:
    code, said = run("--json", "--region", "eu-west", *words)

    events = [json.loads(one) for one in said.splitlines()]
    assert (code, [int(event["seq"]) for event in events]) == (0, wanted)
    assert {event["specversion"] for event in events} == {"1.0"}
    assert (Hub.asked, Hub.authorised) == ("/ops/hub-events?region=eu-west", "Bearer a-token")


def test_for_eyes_an_event_is_a_line_of_time_type_and_subject(hub: None) -> None:
    code, said = run("--type", ACCOUNT)

    (shown,) = said.splitlines()
    assert (code, ACCOUNT in shown, "acc-1" in shown) == (0, True, True)


def test_a_hub_that_cannot_be_followed_is_said_in_a_sentence(hub: None) -> None:
    code, said = run("--region", "lost")

    assert (code, "the hub of lost cannot be followed" in said) == (3, True)
