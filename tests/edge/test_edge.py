"""What the edge promises beside routing: cache, CORS, limits, problems, peers, logs - on a real nginx."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map
from eisbach.kernel.errors import Invalid
from eisbach.kernel.slotmap import CellEntry

from .maps import ALONE, CELLS, CENTRAL, DOOR, EDGE, HOST, PEER_DOOR, slot_map
from .nginx_host import PROCESS, Answering, Nginx, Stub, ask, nginx, stubs, until

pytestmark = pytest.mark.processes
SLOT = {"Eisbach-Slot": "eu/de/main/0"}
HOME = "/v1/de/free/web/12/home"
CACHED = {
    "Cache-Control": "public, max-age=0, s-maxage=60, stale-while-revalidate=60, stale-if-error=60",
    "ETag": '"e1"',
}


@dataclass
class Rig:
    host: Nginx
    cells: dict[str, Stub]

    def all(self, told: Answering) -> None:
        for cell in self.cells.values():
            cell.behave = told

    def asked(self) -> list[str]:
        return [a for cell in self.cells.values() for a in cell.asked]


def site(tmp_path: Path, **changes: object) -> EdgeSite:
    fields: dict[str, object] = {
        "region": CENTRAL, "host": HOST, "port": EDGE, "peer_port": PEER_DOOR, "media": str(tmp_path / "media"),
        "origins": ("http://tv.example",), "process": PROCESS,
    }  # fmt: skip
    return EdgeSite(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    prefix = tmp_path / "edge"
    prefix.mkdir()
    (prefix / PEER_TOKEN_FILE).write_text(peer_token_map("-peer_token"))
    (prefix / "map.json").write_text('{"map":1}')
    async with (
        stubs({**CELLS, "@eu-west": DOOR}) as cells,
        nginx(prefix, edge_config(site(tmp_path), slot_map()), port=EDGE) as host,
    ):
        yield Rig(host, cells)


async def test_who_has_no_slot_yet_signs_in_elsewhere_when_the_region_is_out_whichever_cell_is_asked_first(
    rig: Rig,
) -> None:
    for name in ("c1", "c3"):
        rig.cells[name].behave = Answering(status=421, headers={"Eisbach-Owner": "c2"})
    rig.cells["c2"].behave = Answering(status=421, headers={"Eisbach-Owner": "eu-west"})
    rig.cells["@eu-west"].behave = Answering(body=b"granted")

    got = [await ask(EDGE, "/v1/auth/anonymous", method="POST", body=b"{}") for _ in range(9)]

    assert {(g.status, g.body) for g in got} == {(200, b"granted")}
    assert all(rig.cells[name].asked for name in ("c1", "c2", "c3"))
    assert len(rig.cells["@eu-west"].asked) == 9


@pytest.mark.parametrize("door", [EDGE, PEER_DOOR], ids=["public", "peer"])
async def test_a_cell_that_hangs_is_passed_over_also_where_every_caller_gives_up_before_the_edge_does(
    rig: Rig, door: int
) -> None:
    """A front waits for a second, another edge as long as this one: neither was there to see the cell time out."""
    rig.cells["c3"].behave = Answering(silent=True)
    callers = [await asyncio.open_connection(HOST, door) for _ in range(3)]
    for _, writer in callers:
        writer.write(b"POST /v1/auth/anonymous HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    await until(lambda: rig.cells["c3"].asked, what="one in three meets the cell that hangs")
    for _, writer in callers:
        writer.transport.abort()

    await until(lambda: "upstream timed out" in rig.host.logs(), what="the edge sees that the cell is silent")
    got = [await ask(door, "/v1/auth/anonymous", method="POST", body=b"{}") for _ in range(6)]

    assert [g.status for g in got] == [200] * 6
    assert len(rig.cells["c3"].asked) == 1


async def test_fifty_callers_of_one_page_cost_one_fetch(rig: Rig) -> None:
    rig.all(Answering(headers=CACHED, body=b"home", delay_s=0.2))

    got = await asyncio.gather(*(ask(EDGE, HOME) for _ in range(50)))

    assert {(g.status, g.body) for g in got} == {(200, b"home")}
    assert rig.asked() == [f"GET {HOME}"]
    assert (await ask(EDGE, HOME)).headers["eisbach-cache"] == "HIT"


async def test_a_page_is_renewed_behind_the_back_of_who_asks(rig: Rig) -> None:
    rig.all(Answering(headers={"Cache-Control": "public, s-maxage=1, stale-while-revalidate=60"}, body=b"old"))
    await ask(EDGE, HOME)
    rig.all(Answering(headers={"Cache-Control": "public, s-maxage=60"}, body=b"new", delay_s=0.3))
    seen: list[bytes] = []
    slowest = 0.0

    async def renewed() -> bool:
        nonlocal slowest
        started = time.monotonic()
        seen.append((await ask(EDGE, HOME)).body)
        slowest = max(slowest, time.monotonic() - started)
        return seen[-1] == b"new"

    await until(renewed, what="the new page")

    assert set(seen) == {b"old", b"new"}
    assert slowest < 0.3


async def test_a_page_is_stale_rather_than_lost_when_nobody_answers(rig: Rig) -> None:
    rig.all(Answering(headers={**CACHED, "Cache-Control": "public, s-maxage=1, stale-if-error=60"}, body=b"home"))
    await ask(EDGE, HOME)
    for cell in rig.cells.values():
        await cell.stop()

    async def stale() -> bool:
        got = await ask(EDGE, HOME)
        assert (got.status, got.body) == (200, b"home")
        return got.headers["eisbach-cache"] == "STALE"

    await until(stale, what="the page goes stale")


async def test_a_shed_page_is_stale_rather_than_refused(rig: Rig) -> None:
    rig.all(Answering(headers={"Cache-Control": "public, s-maxage=1, stale-if-error=60"}, body=b"home"))
    await ask(EDGE, HOME)
    rig.all(Answering(status=503, headers={"Retry-After": "1"}))

    async def stale() -> bool:
        got = await ask(EDGE, HOME)
        assert (got.status, got.body) == (200, b"home")
        return got.headers["eisbach-cache"] == "STALE"

    await until(stale, what="the page goes stale")


async def test_nothing_of_a_viewer_reaches_a_cell_with_a_public_page_or_its_key(rig: Rig) -> None:
    rig.all(Answering(headers=CACHED, body=b"home"))
    who = {**SLOT, "Authorization": "Bearer a", "Cookie": "b=c", "Eisbach-Position": "{}", "Accept-Encoding": "gzip"}

    await ask(EDGE, HOME, headers=who)
    second = await ask(EDGE, HOME, headers={"Authorization": "Bearer other"})

    heads = next(cell.heads[0] for cell in rig.cells.values() if cell.heads)
    assert second.headers["eisbach-cache"] == "HIT"
    assert set(heads) & {"authorization", "cookie", "eisbach-slot", "eisbach-position", "accept-encoding"} == set()
    assert "vary" not in second.headers


async def test_a_private_answer_is_never_cached(rig: Rig) -> None:
    rig.all(Answering(headers=CACHED))

    await ask(EDGE, "/v1/me/rails", headers=SLOT)
    await ask(EDGE, "/v1/me/rails", headers=SLOT)

    assert rig.cells["c1"].asked == ["GET /v1/me/rails"] * 2


async def test_a_preflight_is_answered_by_the_edge_for_two_hours(rig: Rig) -> None:
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "eisbach-slot,idempotency-key"}
    allowed = ["http://tv.example", "http://localhost:5173", "http://127.0.0.1:8000"]

    got = [await ask(EDGE, "/v1/playback/sessions", method="OPTIONS", headers={"Origin": o, **asking}) for o in allowed]

    assert [g.status for g in got] == [204] * 3
    assert [g.headers["access-control-allow-origin"] for g in got] == allowed
    assert {g.headers["access-control-max-age"] for g in got} == {"7200"}
    assert {"eisbach-slot", "idempotency-key", "authorization"} <= set(
        got[0].headers["access-control-allow-headers"].lower().split(", ")
    )
    assert rig.asked() == []


async def test_a_foreign_origin_may_not_read_private_answers_but_everybody_public_ones(rig: Rig) -> None:
    rig.all(Answering(headers=CACHED))
    foreign = [
        {"Origin": o} for o in ("http://evil.example", "http://localhost.evil.example", "http://tv.example.evil")
    ]

    private = [await ask(EDGE, "/v1/me/rails", headers={**SLOT, **o}) for o in foreign]
    public = await ask(EDGE, HOME, headers=foreign[0])

    assert [g.headers.get("access-control-allow-origin") for g in private] == [None] * 3
    assert public.headers["access-control-allow-origin"] == "*"
    assert "Eisbach-Position" in public.headers["access-control-expose-headers"]


async def test_a_request_id_is_kept_or_made_and_reaches_the_cell_and_the_caller(rig: Rig) -> None:
    kept = await ask(EDGE, "/v1/me/rails", headers={**SLOT, "Eisbach-Request-Id": "abcd-1234"})
    made = await ask(EDGE, "/v1/me/rails", headers={**SLOT, "Eisbach-Request-Id": 'x" y'})

    assert kept.headers["eisbach-request-id"] == "abcd-1234"
    assert len(made.headers["eisbach-request-id"]) == 32
    assert [h["eisbach-request-id"] for h in rig.cells["c1"].heads] == [
        "abcd-1234", made.headers["eisbach-request-id"],
    ]  # fmt: skip


async def test_a_body_above_64_kib_is_refused_as_a_problem_and_one_below_passes(rig: Rig) -> None:
    small = await ask(EDGE, "/v1/telemetry", method="POST", headers=SLOT, body=b"x" * 65536)
    large = await ask(EDGE, "/v1/telemetry", method="POST", headers=SLOT, body=b"x" * 65537)
    upload = await ask(EDGE, "/studio/uploads/u1/content", method="PUT", body=b"x" * 200_000)

    assert (small.status, large.status, upload.status) == (200, 413, 200)
    assert json.loads(large.body)["code"] == "too_large"
    assert rig.cells["studio"].bodies == [b"x" * 200_000]


async def test_every_refusal_of_the_edge_is_a_problem_that_names_the_request(rig: Rig) -> None:
    for cell in rig.cells.values():
        await cell.stop()
    got = [
        await ask(EDGE, "/v1/me/rails", headers={"Eisbach-Slot": "x"}),
        await ask(EDGE, "/v1/me/rails", headers={"Eisbach-Slot": "us/us/main/1"}),
        await ask(EDGE, "/nowhere"),
        await ask(EDGE, "/v1/me/rails", headers=SLOT),
        await ask(EDGE, "/%zz"),
        await ask(EDGE, "/v1/me?" + "x" * 9000),
        await ask(EDGE, "/v1/me", headers={"X": "y" * 9000}),
    ]

    assert [g.status for g in got] == [400, 421, 404, 502, 400, 414, 431]
    assert {g.headers["content-type"] for g in got} == {"application/problem+json"}
    assert [json.loads(g.body)["status"] for g in got] == [g.status for g in got]
    assert json.loads(got[3].body)["retry_after_ms"] in (1000, 2000, 3000)
    assert json.loads(got[3].body)["request"] == got[3].headers["eisbach-request-id"]
    assert [g for g in got if "nginx/" in g.headers.get("server", "")] == []


async def test_a_hanging_cell_costs_one_read_timeout_and_then_nothing_while_it_is_passed_over(rig: Rig) -> None:
    rig.cells["c1"].behave = Answering(silent=True)

    started = time.monotonic()
    first = await ask(EDGE, "/v1/me/rails", headers=SLOT)
    middle = time.monotonic()
    second = await ask(EDGE, "/v1/me/rails", headers=SLOT)
    ended = time.monotonic()

    assert (first.headers["eisbach-cell"], second.headers["eisbach-cell"]) == ("@eu-west", "@eu-west")
    assert 1.4 < middle - started < 2.5
    assert ended - middle < 0.5


async def test_a_dead_cell_hurts_no_read_of_its_viewers_and_nobody_else(rig: Rig) -> None:
    await rig.cells["c1"].stop()

    mine = [await ask(EDGE, "/v1/me/rails", headers=SLOT) for _ in range(20)]
    others = [await ask(EDGE, "/v1/me/rails", headers={"Eisbach-Slot": "eu/de/main/2"}) for _ in range(20)]

    assert {(g.status, g.headers["eisbach-cell"]) for g in mine} == {(200, "@eu-west")}
    assert {(g.status, g.headers["eisbach-cell"]) for g in others} == {(200, "c2")}


async def test_a_cell_that_is_back_is_used_again_within_seconds(rig: Rig) -> None:
    await rig.cells["c1"].stop()
    await ask(EDGE, "/v1/me/rails", headers=SLOT)
    await rig.cells["c1"].start()

    async def back() -> bool:
        return (await ask(EDGE, "/v1/me/rails", headers=SLOT)).headers["eisbach-cell"] == "c1"

    await until(back, what="c1 answers", seconds=6)


async def test_in_one_region_alone_a_dead_cell_is_a_clear_problem_and_pages_come_from_the_others(
    tmp_path: Path,
) -> None:
    prefix = tmp_path / "edge"
    prefix.mkdir()
    (prefix / PEER_TOKEN_FILE).write_text(peer_token_map("p"))
    config = edge_config(site(tmp_path, region=ALONE), slot_map())
    async with stubs(CELLS) as cells, nginx(prefix, config, port=EDGE):
        await cells["c1"].stop()

        mine = await ask(EDGE, "/v1/me/rails", headers=SLOT)
        pages = [await ask(EDGE, f"/v1/de/titles/t-{n}") for n in range(6)]

    assert (mine.status, json.loads(mine.body)["code"]) == (502, "unavailable")
    assert {(g.status, g.headers["eisbach-cell"]) for g in pages} == {(200, "c2")}


async def test_calls_are_refused_by_class_as_a_cell_fills_and_never_taken_to_the_twin(tmp_path: Path) -> None:
    """Ten connections: bulk is refused from 7 on, degraded from 9 on, critical from 10 on."""
    prefix = tmp_path / "edge"
    prefix.mkdir()
    (prefix / PEER_TOKEN_FILE).write_text(peer_token_map("p"))
    config = edge_config(site(tmp_path, connections_max=10), slot_map())
    async with stubs({**CELLS, "@eu-west": DOOR}) as cells, nginx(prefix, config, port=EDGE):
        cells["c1"].behave = Answering(delay_s=1.0)
        taken: list[asyncio.Task[object]] = []

        async def hold(count: int) -> None:
            beat = "/v1/playback/sessions/s/heartbeat"
            taken.extend(asyncio.create_task(ask(EDGE, beat, method="POST", headers=SLOT)) for _ in range(count))
            await until(lambda: len(cells["c1"].asked) >= len(taken), what="the cell is asked")

        async def refused(target: str) -> bool:
            got = asyncio.create_task(ask(EDGE, target, headers=SLOT))
            done, _ = await asyncio.wait([got], timeout=0.15)
            got.cancel()
            return bool(done) and got.result().status == 503

        await hold(7)
        at_seven = [await refused("/v1/telemetry")]
        await hold(2)
        at_nine = [await refused("/v1/telemetry"), await refused("/v1/me/rails")]
        last = asyncio.create_task(ask(EDGE, "/v1/playback/sessions/s/token", method="POST", headers=SLOT))
        await until(lambda: "POST /v1/playback/sessions/s/token" in cells["c1"].asked, what="the last place is taken")
        full = await ask(EDGE, "/v1/playback/sessions", headers={**SLOT, "Idempotency-Key": "k"}, method="POST")
        await asyncio.gather(*taken, last)

    assert (at_seven, at_nine) == ([True], [True, True])
    assert (full.status, json.loads(full.body)["code"]) == (503, "overloaded")
    assert int(full.headers["retry-after"]) >= 1
    assert cells["@eu-west"].asked == []


async def test_the_peer_door_gives_map_pulls_and_media_to_bearers_of_the_peer_token_only(
    rig: Rig, tmp_path: Path
) -> None:
    folder = tmp_path / "media" / "vod" / "a1" / "v480"
    folder.mkdir(parents=True)
    (folder / "1.m4s").write_bytes(b"segment")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "up-1").write_bytes(b"film")
    (tmp_path / "claims" / "2026-11-26").mkdir(parents=True)
    (tmp_path / "claims" / "2026-11-26" / "ab").write_bytes(b"large")
    (tmp_path / "uploads" / ".x.part").write_bytes(b"half")
    bearer = {"Authorization": "Bearer -peer_token"}
    asking = [("GET", "/peer/map"), ("GET", "/peer/media/vod/a1/v480/1.m4s"), ("POST", "/peer/cells/c2/pull")]
    asking += [("GET", "/peer/uploads/up-1"), ("GET", "/peer/claims/2026-11-26/ab")]

    let_in = [await ask(PEER_DOOR, t, method=m, headers=bearer) for m, t in asking]
    wrong = [{}, {"Authorization": "Bearer -PEER_token"}, {"Authorization": "Bearer -peer_tokenx"}]
    denied = [(await ask(PEER_DOOR, t, method=m, headers=h)).status for m, t in asking for h in wrong]
    public = [(await ask(EDGE, t, method=m, headers=bearer)).status for m, t in asking]
    paths = (
        "media/vod/../../edge/peer_token.map",
        "uploads/../edge/peer_token.map",
        "uploads/.x.part",
        "uploads/",
        "claims/../edge/n",
    )
    outside = [(await ask(PEER_DOOR, f"/peer/{path}", headers=bearer)).status for path in paths]

    assert [(g.status, g.body) for g in let_in] == [
        (200, b'{"map":1}'), (200, b"segment"), (200, b"{}"), (200, b"film"),
        (200, b"large"),
    ]  # fmt: skip
    assert rig.cells["c2"].asked == ["POST /peer/cells/c2/pull"]
    assert denied == [403] * 15
    assert public == [404] * 5
    assert outside == [404] * 5


async def test_a_pull_of_several_hundred_kib_passes_and_may_wait_longer_than_a_call(rig: Rig) -> None:
    rig.cells["c1"].behave = Answering(delay_s=2.0, body=b"y" * 300_000)

    got = await ask(
        PEER_DOOR,
        "/peer/cells/c1/pull",
        method="POST",
        headers={"Authorization": "Bearer -peer_token"},
        body=b"x" * 300_000,
    )

    assert (got.status, len(got.body), len(rig.cells["c1"].bodies[0])) == (200, 300_000, 300_000)


async def test_the_log_has_one_line_a_call_without_query_and_token(rig: Rig) -> None:
    await ask(EDGE, "/v1/me/rails?secret=1", headers={**SLOT, "Authorization": "Bearer abc"})
    await until(lambda: rig.host.access().count("\n") == 1, what="a line")

    line = json.loads(rig.host.access())
    assert (line["path"], line["status"], line["upstream"]) == ("/v1/me/rails", 200, CELLS["c1"])
    assert "abc" not in rig.host.logs()


async def test_lanes_cannot_be_addressed_from_outside(rig: Rig) -> None:
    got = [(await ask(EDGE, t)).status for t in ("/=call_critical", "/=upload", "/=health", "/=moved", "/@silent")]

    assert set(got) <= {400, 404}
    assert rig.asked() == []


@pytest.mark.parametrize("evil", ["c1;", "c1 {", 'c"', "c$1", "../c1", ""])
def test_a_map_cannot_write_directives(tmp_path: Path, evil: str) -> None:
    cells = {**slot_map().cells, evil: CellEntry(address=f"{HOST}:9")}

    with pytest.raises(Invalid):
        edge_config(site(tmp_path), slot_map(cells=cells))

    with pytest.raises(Invalid):
        edge_config(site(tmp_path), slot_map(cells={**cells, "c1": CellEntry(address=f"{HOST}:1; include x")}))
