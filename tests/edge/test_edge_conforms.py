"""The real nginx is held to ``rules``: one table of calls and failing cells, driven through both."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map
from eisbach.edge.rules import (
    READS,
    Answer,
    Call,
    Forward,
    Outcome,
    Refuse,
    circular,
    decide,
    doubtful,
    follow,
    next_hop,
)

from .maps import CELLS, CENTRAL, DOOR, EDGE, FAR_DOOR, HOST, PEER_DOOR, slot_map
from .nginx_host import PROCESS, Answering, Nginx, Stub, ask, nginx, stubs, until

MAP = slot_map()
SITE = EdgeSite(region=CENTRAL, host=HOST, port=EDGE, peer_port=PEER_DOOR, media="/nowhere", process=PROCESS)
REFUSED, DROP, SILENT = "refused", "drop", "silent"
C1, C2, C3, STUDIO, DOOR_HOP = "c1", "c2", "c3", "studio", "@eu-west"


@dataclass(frozen=True)
class Row:
    call: Call
    behave: dict[str, str | int | tuple[int, str]] = field(default_factory=dict)


def call(method: str, target: str, slot: str = "", **more: str) -> Call:
    return Call(method=method, target=target, slot=slot, **more)  # type: ignore[arg-type]


S = "eu/de/main/"
HEARTBEAT = "/v1/playback/sessions/s-1/heartbeat"
PLAIN = [
    Row(c)
    for c in (
        *(call("GET", "/v1/me/rails", f"{S}{n}") for n in range(4)),
        call("GET", "/v1/me/rails", "eu/at/main/3"),
        call("GET", "/v1/me", f"{S}0"),
        call("POST", "/v1/playback/sessions", f"{S}2", key="k1"),
        call("POST", "/v1/auth/anonymous"),
        call("POST", "/v1/telemetry", f"{S}1", intent="prefetch"),
        call("PATCH", "/v1/me/profiles/p1", f"{S}1"),
        # Slots: the strict form, and what this region does not have.
        *(
            call("GET", "/v1/me/rails", s)
            for s in (
                "eu/de/main/4", "us/us/main/1", "any/all/studio/9", "EU/de/main/1", "eu/de/main/01", "eu/de/main/+1",
                "eu/de/main", "eu/de//1", "eu/de/main/1, eu/de/main/2", "x", "eu/de/main/99999",
                "good:eu/de/main/1", "none", "eu/de/main/%31", "a/b/c/d/1",
            )
        ),
        call("GET", "/v1/de/free/web/config", "not a slot"),
        # Paths.
        *(
            call("GET", t, f"{S}0")
            for t in (
                "/v1/me/../de/x", "/v1/me//rails", "/v1/me/%72ails", "/v1/me/rails%3Fx", "/v1/./me", "/v1/me/.hidden",
                "/v1/me/rails?x=%2e%2e&y=/../", "/", "/v2/me", "/v1", "/v1/", "/v1/xx/home", "/v1/me/rails/", "/peer/map",
                "/status", "/manifests/ch/demo/v.m3u8", "/v1/medium", "/v1/playback", "/steer?sid=1",
                "/steering", "/studio", "/studio/titles", "/studio/titles?q=/content", "/v1/openapi.json", "/v1/openapi_json",
                "/healthz", "/healthz/x", "/v1/de/search?q=a", "/v1/de/searching", "/v1/at/titles/t-1", "/v1/de/titles/t-1",
                "/v1/me/a~b:c@d_e-f.g",
            )
        ),
        # Methods.
        *(call(m, "/v1/de/titles/t-1") for m in ("HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND")),
        *(call(m, "/v1/me/rails", f"{S}0") for m in ("HEAD", "OPTIONS", "PROPFIND")),
        call("OPTIONS", "/v1/%zz"),
        call("POST", "/steer"),
        call("POST", "/studio/uploads/u1/content"),
        call("PUT", "/studio/uploads/u1/content"),
        call("PUT", "/studio/titles/t-1", "bad slot"),
    )
]  # fmt: skip
FAILING = [
    Row(call(method, target, f"{S}0", key=key), {C1: fault})
    for (method, target, key), fault in itertools.product(
        [
            ("GET", "/v1/me/rails", ""),
            ("PUT", "/v1/me/progress/t-1", ""),
            ("DELETE", "/v1/me/watchlist/t-1", ""),
            ("POST", "/v1/playback/sessions", "key-1"),
            ("POST", "/v1/playback/sessions", ""),
            ("POST", "/v1/playback/sessions", "not a key"),
            ("PATCH", "/v1/me/profiles/p1", ""),
            ("PATCH", "/v1/me/profiles/p1", "key-2"),
            ("POST", HEARTBEAT, ""),
            ("POST", "/v1/playback/sessions/s-1/token?x=1", ""),
            ("POST", "/v1/playback/sessions/s-1/heartbeat/x", ""),
            ("POST", "/v1/drm/clearkey", ""),
        ],
        [REFUSED, DROP],
    )
] + [
    Row(call(method, "/v1/playback/sessions", f"{S}0", door=door), {C1: fault, DOOR_HOP: REFUSED})
    for method in ("GET", "POST")
    for fault in (REFUSED, DROP)
    for door in ("public", "peer")
]
SPECIAL = [
    *(Row(call("GET", "/v1/me/rails", f"{S}0"), {C1: s}) for s in (429, 500, 502, 503, 504, 404)),
    *(Row(call("POST", "/v1/playback/sessions", f"{S}0", key="k"), {C1: s}) for s in (429, 503)),
    Row(call("GET", "/v1/me/rails", f"{S}0"), {C1: SILENT}),
    Row(call("POST", "/v1/me/profiles", f"{S}0"), {C1: SILENT}),
    Row(call("GET", "/v1/me/rails", f"{S}0"), {C1: SILENT, DOOR_HOP: SILENT}),
    # Who was silent may have carried it out: another one's refusal is no word on that, its answer is.
    *(Row(call("PUT", "/v1/me/progress/t", f"{S}0"), {C1: how, DOOR_HOP: s})
      for how in (SILENT, DROP, REFUSED) for s in (200, 404, 421, 429, 502, 503)),
    *(Row(call("POST", "/v1/playback/sessions", f"{S}0", key="k"), {C1: DROP, DOOR_HOP: s}) for s in (200, 409, 429, 502, 503)),
    *(Row(call("GET", "/v1/me/rails", f"{S}0"), {C1: DROP, DOOR_HOP: s}) for s in (421, 429, 503)),
    *(Row(call("PUT", "/v1/me/progress/t", f"{S}0"), {C1: (421, C2), C2: how, DOOR_HOP: 503}) for how in (DROP, REFUSED)),
    # Who refused by 421, or the connection, did nothing, and neither did an edge that reached nobody.
    *(Row(call("POST", "/v1/me/profiles", f"{S}0", key=key, door=door), {C1: (421, C2), C2: REFUSED, DOOR_HOP: how})
      for key in ("", "k") for door in ("public", "peer") for how in (REFUSED, DROP, 502, 504, 200)),
    *(Row(call("POST", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: (421, "eu-west"), DOOR_HOP: how})
      for how in (REFUSED, DROP, 502, 504)),
    *(Row(call("PUT", "/v1/me/progress/t", f"{S}0"), {C1: REFUSED, DOOR_HOP: how}) for how in (REFUSED, 502, 504)),
    *(Row(call("POST", "/v1/me/profiles", f"{S}0"), {C1: REFUSED, DOOR_HOP: (421, C2), C2: how}) for how in (REFUSED, DROP)),
    Row(call("PUT", "/v1/me/progress/t", f"{S}0"), {C1: DROP, DOOR_HOP: (421, C2)}),
    Row(call("PUT", "/v1/me/progress/t", f"{S}0"), {C1: 504}),
    Row(call("PUT", "/v1/me/progress/t", f"{S}0", door="peer"), {C1: DROP}),
    Row(call("PUT", "/v1/me/progress/t"), {C1: DROP, C2: DROP, C3: DROP, DOOR_HOP: DROP}),
    # No slot.
    Row(call("GET", "/v1/at/titles/t-1"), {C3: REFUSED}),
    Row(call("GET", "/v1/at/titles/t-2"), {C3: REFUSED, DOOR_HOP: REFUSED}),
    Row(call("GET", "/v1/at/titles/t-3", door="peer"), {C3: REFUSED}),
    *(Row(call("GET", f"/v1/de/titles/t-{n}"), {C1: REFUSED}) for n in range(10, 14)),
    *(Row(call("GET", f"/v1/de/titles/t-{n}"), {C1: DROP, C2: REFUSED}) for n in range(20, 24)),
    *(Row(call("GET", f"/v1/de/titles/t-{n}"), {C1: 503, C2: 503}) for n in range(30, 32)),
    *(Row(call("GET", f"/v1/de/titles/t-{n}"), {C1: (421, C3), C2: (421, C3)}) for n in range(40, 42)),
    Row(call("GET", "/studio/titles"), {STUDIO: REFUSED}),
    Row(call("POST", "/studio/titles/t/publish"), {STUDIO: DROP}),
    Row(call("PUT", "/studio/uploads/u1/content"), {STUDIO: DROP}),
    Row(call("PUT", "/studio/uploads/u1/content"), {STUDIO: (421, C1)}),
]  # fmt: skip
MOVED = [
    # 421: by every method, once to a cell of this region, once to the other region.
    *(Row(call(m, "/v1/me/profiles", f"{S}0"), {C1: (421, o)}) for m in ("GET", "POST") for o in (
        C2, "/c2", "eu-central/c2", "eu-west", "eu-west/c1", "eu-westerly", "us-east/c1", "c9", "", "eu-west/c1/c2", "c2/c1")),
    Row(call("POST", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: (421, C3)}),
    Row(call("POST", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: (421, C1)}),
    *(Row(call(m, "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: (421, o)})
      for m in ("GET", "POST") for o in ("eu-west", "eu-west/c1", "us-east", "eu-central/c1", C2, "")),
    *(Row(call("PUT", "/v1/me/progress/t", f"{S}0"), {C1: (421, C2), C2: (421, "eu-west"), DOOR_HOP: how})
      for how in (DROP, 503, (421, C3), (421, "eu-west"), (421, "us-east"))),
    *(Row(call("GET", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: how, DOOR_HOP: (421, o)})
      for how in (DROP, REFUSED) for o in (C3, "eu-west")),
    Row(call("GET", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: (421, "eu-west"), DOOR_HOP: REFUSED}),
    Row(call("GET", "/v1/me/profiles", f"{S}0", door="peer"), {C1: (421, C2), C2: (421, "eu-west")}),
    Row(call("GET", "/v1/me/profiles", f"{S}0"), {C1: (421, "eu-west"), DOOR_HOP: (421, C2)}),
    # The other region has left the slot to this one, whose cell does not answer or has left it as well.
    *(Row(call(m, "/v1/me/profiles", f"{S}0"), {C1: how, DOOR_HOP: (421, o)})
      for m in ("GET", "POST") for how in (REFUSED, (421, "eu-west"))
      for o in ("eu-central", "eu-central/c1", "eu-centrally", "")),
    *(Row(call(m, "/v1/me/profiles", f"{S}0"), {C1: DROP, DOOR_HOP: (421, "eu-central")}) for m in ("GET", "PUT")),
    Row(call("POST", "/v1/me/profiles", f"{S}0", door="peer"), {C1: (421, "eu-central")}),
    Row(call("GET", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: REFUSED}),
    Row(call("GET", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: DROP}),
    Row(call("POST", "/v1/me/profiles", f"{S}0"), {C1: (421, C2), C2: DROP}),
    Row(call("POST", "/v1/me/profiles", f"{S}0", key="k"), {C1: (421, C2), C2: DROP}),
    Row(call("GET", "/v1/me/profiles", f"{S}0", door="peer"), {C1: (421, C2)}),
    Row(call("GET", "/v1/me/profiles", f"{S}0", door="peer"), {C1: (421, "eu-west/c1")}),
    Row(call("GET", "/v1/me/rails", f"{S}0"), {C1: REFUSED, DOOR_HOP: (421, C2)}),
]  # fmt: skip


def outcome_of(told: str | int | tuple[int, str]) -> Outcome:
    if isinstance(told, tuple):
        return told[0]
    return told if isinstance(told, int) else "refused" if told == REFUSED else "silent"


def expected(row: Row) -> tuple[list[str], int]:
    """What the function says: hops in order, and the status the caller sees."""
    first = decide(row.call, region=CENTRAL, slot_map=MAP)
    if isinstance(first, Refuse | Answer):
        return [], first.status
    hops: list[str] = []
    forward: Forward = first
    while True:
        tried: list[str] = []
        outcomes: list[Outcome] = []
        hop: str | None = forward.cells[0]
        outcome: Outcome = "silent"
        while hop is not None:
            tried.append(hop)
            told = row.behave.get(hop, 200)
            outcome = outcome_of(told)
            outcomes.append(outcome)
            hop = next_hop(forward, tried, outcome)
        hops += tried
        if doubtful(forward, outcomes):
            return hops, 504
        if outcome == 421 and isinstance(told, tuple):
            following = follow(forward, told[1], region=CENTRAL, slot_map=MAP)
            if following is not None:
                forward = following
                continue
            if circular(tried[-1], told[1], region=CENTRAL):
                return hops, 502
        break
    if outcome == 504:
        return hops, 502 if row.call.method in READS else 504
    return hops, outcome if isinstance(outcome, int) else 502


class Rig:
    def __init__(self, host: Nginx, stubs: dict[str, Stub]) -> None:
        self.host, self.stubs = host, stubs

    async def fresh(self) -> None:
        """Forget which cells were silent: a reload starts with a clean memory."""
        old = self.host.workers
        self.host.reload()
        await until(lambda: self.host.workers and not set(old) & set(self.host.workers), what="new workers")

    async def seen(self, row: Row) -> tuple[list[str], int]:
        for name, stub in self.stubs.items():
            told = row.behave.get(name, 200)
            stub.asked.clear()
            if told == REFUSED:
                await stub.stop()
            elif stub._server is None:
                await stub.start()
            stub.behave = Answering(
                status=told[0] if isinstance(told, tuple) else told if isinstance(told, int) else 200,
                headers={"Eisbach-Owner": told[1]} if isinstance(told, tuple) else {},
                drop=told == DROP,
                silent=told == SILENT,
            )
        heads = {"Eisbach-Slot": row.call.slot, "Idempotency-Key": row.call.key, "Request-Intent": row.call.intent}
        port = EDGE if row.call.door == "public" else PEER_DOOR
        got = await ask(
            port,
            row.call.target,
            method=row.call.method,
            headers={k: v for k, v in heads.items() if v},
            body=b"{}" if row.call.method in ("POST", "PUT", "PATCH") else b"",
        )
        return [name for name, stub in self.stubs.items() for _ in stub.asked], got.status


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    (tmp_path / PEER_TOKEN_FILE).write_text(peer_token_map("peer"))
    async with (
        stubs({**CELLS, "@eu-west": DOOR, "@us-east": FAR_DOOR}) as cells,
        nginx(tmp_path, edge_config(SITE, MAP), port=EDGE) as host,
    ):
        yield Rig(host, cells)


def as_set(row: Row, hops: list[str]) -> list[str]:
    """Where every cell is right, count the hops; where a cell refuses, it is in no cell's memory."""
    first = decide(row.call, region=CENTRAL, slot_map=MAP)
    if isinstance(first, Forward) and first.any:
        return ["any"] * len(hops)
    return sorted(hop for hop in hops if row.behave.get(hop) != REFUSED)


def test_a_slot_that_was_left_to_a_region_whose_cells_are_down_is_unavailable_not_elsewhere() -> None:
    """It was told 421 with the name of the region that had been asked: who followed that went round for ever."""
    left = {C1: REFUSED, DOOR_HOP: (421, "eu-central")}

    assert expected(Row(call("POST", "/v1/me/profiles", f"{S}0"), left)) == ([C1, DOOR_HOP], 502)


@pytest.mark.processes
@pytest.mark.parametrize("table", [PLAIN, FAILING, SPECIAL, MOVED], ids=["plain", "failing", "special", "moved"])
async def test_the_real_edge_does_what_the_rules_say(rig: Rig, table: list[Row]) -> None:
    wrong: list[str] = []
    for row in table:
        hops, status = expected(row)

        seen, got = await rig.seen(row)

        if (as_set(row, hops), status) != (as_set(row, seen), got):
            wrong.append(f"{row}\n    rules: {hops} {status}\n    nginx: {seen} {got}")
        if row.behave:
            await rig.fresh()

    assert wrong == [], "\n".join(wrong)
