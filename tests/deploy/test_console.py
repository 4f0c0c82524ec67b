"""The console's HTTP API: who may call it, and what it answers (docs/internals.md, "Console")."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eisbach.deploy.laptop.console import Console, _answer
from eisbach.deploy.laptop.doors import COOKIE, Doors
from eisbach.deploy.laptop.observer import Observer
from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.topology import Topology
from eisbach.engines.embedded.clock import SystemClock

from .conftest import spec, until

HOST, TOKEN = "localhost:8000", "the-operator"
CONTRACT = {
    "ready": bool, "stage": str, "front": str, "sentence": str, "hurt": list, "next": str, "regions": list, "processes": list,
    "cells": list, "replication": list, "hub": list, "jobs": list, "faults": list, "demo": dict, "now_ms": int,
}  # fmt: skip


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None, host: str = HOST
) -> Answer:
    """Call an ASGI application."""
    url, _, query = path.partition("?")
    pairs = {"host": host, **(headers or {})}
    sent: list[Any] = []
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    messages = [{"type": "http.request", "body": raw, "more_body": False}]

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": url,
        "raw_path": url.encode(), "query_string": query.encode(), "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8001), "headers": [(k.encode(), v.encode()) for k, v in pairs.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    found = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))


@asynccontextmanager
async def console(
    root: Path, *, rehearsal: bool = True, static: Path | None = None
) -> AsyncIterator[tuple[Any, Supervisor, Doors]]:
    """A console over processes that were never started."""
    numbers = iter(range(10_000))
    doors = Doors(hosts={HOST}, token=TOKEN, random_token=lambda: f"r{next(numbers)}")
    processes = (spec(root, "edge/eu-central", 8080), spec(root, "cell/eu-central/c1", 8101))
    topology = Topology(stage="cells", front="http://localhost:8000", regions=("eu-central",), processes=processes)
    supervisor = Supervisor(topology, root=root, clock=SystemClock(), rehearsal=rehearsal, token=TOKEN)
    await supervisor.open()
    observer = Observer(
        supervisor, token=TOKEN, regions=[("eu-central", "http://e", "http://o")],
        demo=lambda: {"state": "none", "done": 0, "total": 0, "detail": ""},
    )  # fmt: skip
    one = Console(supervisor, observer, doors, static=static, demo=lambda: {"left": None})
    try:
        yield one.app(), supervisor, doors
    finally:
        one.close()
        await supervisor.aclose()


BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("host", "headers", "status", "code"),
    [
        (HOST, {}, 401, "token_missing"),
        (HOST, {"authorization": "Bearer wrong"}, 401, "token_missing"),
        (HOST, {"authorization": f"Basic {TOKEN}"}, 401, "token_missing"),
        (HOST, {"cookie": f"{COOKIE}=guessed"}, 401, "token_missing"),
        (HOST, {**BEARER, "origin": "http://evil.example"}, 403, "wrong_origin"),
        (HOST, {**BEARER, "origin": "null"}, 403, "wrong_origin"),
        (HOST, {**BEARER, "origin": "https://localhost:8000"}, 403, "wrong_origin"),
        (HOST, {**BEARER, "origin": "http://localhost:8000.evil.example"}, 403, "wrong_origin"),
        ("evil.example", BEARER, 421, "wrong_host"),
        ("localhost:9999", BEARER, 421, "wrong_host"),
        (HOST, {**BEARER, "origin": "http://localhost:8000"}, 200, None),
        (HOST, BEARER, 200, None),
    ],
)
async def test_who_may_press_the_button(
    tmp_path: Path, host: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    async with console(tmp_path) as (app, _, _):
        answer = await ask(app, "POST", "/ops/heal", body={}, headers=headers, host=host)

    assert (answer.status, answer.json().get("code")) == (status, code)


@pytest.mark.processes
async def test_reading_needs_no_token_but_a_known_host(tmp_path: Path) -> None:
    async with console(tmp_path) as (app, _, _):
        found = [(await ask(app, "GET", "/ops/status", host=host)).status for host in (HOST, "evil.example", "")]

    assert found == [200, 421, 421]


@pytest.mark.processes
async def test_a_link_lets_a_browser_in_once(tmp_path: Path) -> None:
    async with console(tmp_path) as (app, _, doors):
        ticket = doors.ticket()
        first = await ask(app, "GET", f"/console/?token={ticket}")
        second = await ask(app, "GET", f"/console/?token={ticket}")
        cookie = first.headers["set-cookie"].partition(";")[0]
        pressed = await ask(app, "POST", "/ops/heal", body={}, headers={"cookie": cookie})

    assert (first.status, first.headers["location"]) == (303, "/console/")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {
        word.strip() for word in first.headers["set-cookie"].split(";")
    }
    assert "set-cookie" not in second.headers
    assert pressed.status == 200


def test_unused_links_are_bounded() -> None:
    numbers = iter(range(10_000))
    doors = Doors(hosts=(), token="t", random_token=lambda: str(next(numbers)))
    tickets = [doors.ticket() for _ in range(100)]

    assert doors.exchange(tickets[0]) is None
    assert doors.exchange(tickets[-1]) is not None


def test_without_a_token_nobody_is_the_operator() -> None:
    doors = Doors(hosts=(), token="", random_token=lambda: "r")

    assert not doors.is_operator(authorization="Bearer ", cookie=None)
    assert not doors.is_operator(authorization="Bearer", cookie=None)


@pytest.mark.processes
async def test_status_is_the_contract(tmp_path: Path) -> None:
    async with console(tmp_path) as (app, _, _):
        status = (await ask(app, "GET", "/ops/status")).json()

    names = {bool: "boolean", str: "string", list: "array", dict: "object", int: "integer"}
    row = {"type": "object", "required": ["target", "kind", "region", "pid", "state", "url"]}
    jsonschema.validate(status, {
        "type": "object", "required": list(CONTRACT),
        "properties": {
            **{key: {"type": names[kind]} for key, kind in CONTRACT.items()},
            "processes": {"type": "array", "minItems": 2, "items": row},
            "regions": {"type": "array", "minItems": 1, "items": {"required": ["name", "edge", "origin", "state"]}},
        },
    })  # fmt: skip


@pytest.mark.processes
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"action": "fault", "kind": "down", "target": "cell/eu-central/c7"}, 404, "did you mean 'cell/eu-central/c1'"),
        ({"action": "fault", "kind": "melt", "target": "cell/eu-central/c1"}, 400, "kill, down, hang, slow"),
        ({"action": "explode", "target": "cell/eu-central/c1"}, 400, "is not fault or cut"),
        ({"action": "cut", "target": "eu-central", "other": "mars"}, 400, "no link between"),
        ({"action": "fault", "target": 7}, 400, "$.target"),
        ({"action": "fault", "target": "x", "more": 1}, 400, "unknown field"),
        (b"{", 400, "not what this call takes"),
        (b" " * 70_000, 400, "over 65536 bytes"),
    ],
)
async def test_a_wrong_call_gets_a_clear_answer(tmp_path: Path, body: Any, status: int, said: str) -> None:
    async with console(tmp_path) as (app, _, _):
        answer = await ask(app, "POST", "/ops/faults", body=body, headers=BEARER)

    assert answer.status == status
    assert said in answer.json()["detail"]


@pytest.mark.processes
async def test_without_rehearsal_nothing_can_be_broken(tmp_path: Path) -> None:
    async with console(tmp_path, rehearsal=False) as (app, _, _):
        body = {"action": "fault", "kind": "kill", "target": "cell/eu-central/c1"}
        answer = await ask(app, "POST", "/ops/faults", body=body, headers=BEARER)

    assert (answer.status, answer.json()["code"]) == (409, "no_rehearsal")


@pytest.mark.processes
async def test_why_explains_a_target_and_names_the_nearest_of_an_unknown_one(tmp_path: Path) -> None:
    async with console(tmp_path) as (app, supervisor, _):
        await until("ready", lambda: supervisor.ready)
        await ask(
            app,
            "POST",
            "/ops/faults",
            body={"action": "fault", "kind": "down", "target": "edge/eu-central"},
            headers=BEARER,
        )
        known = (await ask(app, "GET", "/ops/why?target=edge/eu-central")).json()
        unknown = (await ask(app, "GET", "/ops/why?target=egde/eu-central")).json()

    assert (known["state"], known["next"]) == ("down", "eisbach heal edge/eu-central")
    assert "fault down" in known["because"]
    assert unknown["nearest"] == "edge/eu-central"


@pytest.mark.processes
async def test_events_begin_with_the_whole_status_and_go_on_with_what_changed(tmp_path: Path) -> None:
    async with console(tmp_path) as (app, supervisor, _):
        await until("ready", lambda: supervisor.ready)
        lines: asyncio.Queue[bytes] = asyncio.Queue()

        async def send(message: Any) -> None:
            if body := message.get("body"):
                await lines.put(body)

        async def receive() -> Any:
            await asyncio.sleep(60)

        scope = {"type": "http", "method": "GET", "path": "/ops/events", "headers": [(b"host", HOST.encode())],
                 "query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http"}  # fmt: skip
        listening = asyncio.create_task(app(scope, receive, send))
        first = await asyncio.wait_for(lines.get(), 5)
        await supervisor.fault("down", "edge/eu-central")
        later = [await asyncio.wait_for(lines.get(), 5) for _ in range(2)]
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    assert first.startswith(b"event: status\ndata: {")
    assert later[0].startswith(b"event: change\ndata: ")
    assert json.loads(later[0].partition(b"data: ")[2])["to"] == "down"
    patch = json.loads(later[1].partition(b"data: ")[2])
    assert {"ready", "sentence", "processes", "faults"} <= set(patch)
    assert "cells" not in patch


@pytest.mark.processes
async def test_pages_are_served_and_cannot_be_framed(tmp_path: Path) -> None:
    static = tmp_path / "static"
    (static / "console").mkdir(parents=True)
    (static / "console" / "index.html").write_text("<title>console</title>")
    (tmp_path / "secret").write_text("x")
    async with console(tmp_path / "data", static=static) as (app, _, _):
        page = await ask(app, "GET", "/console/")
        escape = await ask(app, "GET", "/console/../../secret")

    assert (page.status, page.headers["x-frame-options"]) == (200, "DENY")
    assert escape.status == 404


async def test_a_full_disk_of_the_supervisor_is_told_in_words() -> None:
    async def act() -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/front/weights.json")

    answer = await _answer(act)

    assert answer.status_code == 503
    assert b"the supervisor's machine refused: [Errno 28] No space left on device" in answer.body
    assert b"free space on the disk of the data folder" in answer.body
