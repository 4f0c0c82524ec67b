"""The front, a real nginx: regions in the order of ``route``, one passed over when lost, pages, console."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eisbach.edge.nginx_front import FrontRegion, FrontSite, front_config
from eisbach.edge.rules import passed_on
from eisbach.kernel.routing import RegionState, route

from .maps import HOST
from .nginx_host import PROCESS, Answering, Nginx, Stub, ask, nginx, stubs, until

pytestmark = pytest.mark.processes
FRONT = 8000
ADDRESSES = {
    "central": f"{HOST}:8110", "west": f"{HOST}:8111", "us": f"{HOST}:8112",
    "central-origin": f"{HOST}:8113", "west-origin": f"{HOST}:8114", "us-origin": f"{HOST}:8115",
    "console": f"{HOST}:8116",
}  # fmt: skip
DISTANCES = {
    "central": {"de": 8, "ie": 32, "us": 95},
    "west": {"de": 24, "ie": 4, "us": 75},
    "us": {"de": 90, "ie": 70, "us": 12},
}
RESIDENCY = {"central": "eu", "west": "eu", "us": "us"}
HEALTHY = {
    name: RegionState(weight=100, healthy=True, distance=DISTANCES[name], residency=RESIDENCY[name])
    for name in RESIDENCY
}
PREFERRED = {"eu/de/main": ["central", "west"], "us/us/main": ["us", "us"], "any/all/studio": ["west", "central"]}


def site(tmp_path: Path, states: dict[str, RegionState] = HEALTHY) -> FrontSite:
    return FrontSite(
        listens=(f"{HOST}:{FRONT}",),
        static=str(tmp_path / "static"),
        regions={
            name: FrontRegion(
                edge=f"http://{ADDRESSES[name]}", origin=f"http://{ADDRESSES[f'{name}-origin']}", state=state
            )
            for name, state in states.items()
        },
        preferred=PREFERRED,
        console=ADDRESSES["console"],
        process=PROCESS,
    )


@dataclass
class Rig:
    host: Nginx
    at: dict[str, Stub]

    def asked(self) -> dict[str, int]:
        return {name: len(stub.asked) for name, stub in self.at.items() if stub.asked}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<html>app</html>")
    (static / "assets" / "app-1.js").write_text("1")
    async with stubs(ADDRESSES) as at, nginx(tmp_path / "front", front_config(site(tmp_path)), port=FRONT) as host:
        yield Rig(host, at)


async def test_every_call_goes_first_where_route_says(rig: Rig) -> None:
    """Every place, with no slot, with a slot of each preference, in public and in private."""
    wrong = []
    for place in ("de", "ie", "us", "xx", ""):
        for slot, preferred, residency in (
            ("", None, None), ("eu/de/main/0", "central", "eu"), ("eu/de/main/1", "west", "eu"),
            ("us/us/main/0", "us", "us"), ("not a slot", None, None),
        ):  # fmt: skip
            for path in (
                "/v1/me/rails",
                "/v1/de/channels",
                "/v1/us/channels",
                "/steer?x=1",
                "/t/tok/vod/a/1.m4s",
                "/studio/titles",
            ):
                at = place if place in ("de", "ie", "us") else "de"
                market = {"/v1/de/channels": "eu", "/v1/us/channels": "us"}.get(path)
                media = path.startswith("/t/")
                bound = "any" if media else residency or market or ("us" if at == "us" else "eu")
                if market and not residency:
                    bound = market
                first = None if market or media else preferred
                bound = market or bound
                wanted = route(
                    HEALTHY, place=at, kind="private" if first else "public", residency=bound, preferred=first
                )
                for stub in rig.at.values():
                    stub.asked.clear()

                await ask(
                    FRONT,
                    path,
                    headers={"Eisbach-Place": place, "Eisbach-Slot": slot} if slot else {"Eisbach-Place": place},
                )

                expected = {wanted[0].region + ("-origin" if media else ""): 1}
                if rig.asked() != expected:
                    wrong.append((place, slot, path, expected, rig.asked()))
    assert wrong == []


async def test_data_of_one_residency_never_go_to_a_region_of_another(rig: Rig) -> None:
    for name in ("central", "west"):
        await rig.at[name].stop()

    got = [
        (await ask(FRONT, path, headers={"Eisbach-Slot": "eu/de/main/0"})).status
        for path in ("/v1/me/rails", "/v1/de/channels", "/v1/playback/sessions")
    ]
    signing_in = await ask(FRONT, "/v1/auth/anonymous", method="POST", headers={"Idempotency-Key": "k"}, body=b"{}")

    assert (got, signing_in.status) == ([502] * 3, 502)
    assert rig.asked() == {}


async def test_a_refusing_region_is_passed_over_without_a_failed_call(rig: Rig) -> None:
    await rig.at["central"].stop()
    await rig.at["central-origin"].stop()

    calls = [(await ask(FRONT, "/v1/de/channels")).status for _ in range(10)]
    media = [(await ask(FRONT, f"/t/tok/vod/a/v/{n}.m4s")).status for n in range(10)]

    assert (calls, media) == ([200] * 10, [200] * 10)


async def test_a_hanging_region_costs_one_second_once(rig: Rig) -> None:
    rig.at["central"].behave = rig.at["central-origin"].behave = Answering(silent=True)

    times = []
    for path in ("/v1/de/channels", "/v1/me/rails", "/t/tok/vod/a/v/1.m4s", "/t/tok/vod/a/v/2.m4s"):
        started = time.monotonic()
        assert (await ask(FRONT, path)).status == 200
        times.append(time.monotonic() - started)

    assert [0.9 < t < 1.6 for t in times] == [True, False, True, False]
    assert max(times[1], times[3]) < 0.4


async def test_a_shedding_region_is_believed_and_one_that_only_looks_like_it_is_passed_over(rig: Rig) -> None:
    """The SDK reads a 503 in the same way."""
    rig.at["central"].behave = Answering(status=503, headers={"Retry-After": "2", "Eisbach-Code": "overloaded"})
    shed = await ask(FRONT, "/v1/de/channels")
    before = rig.asked()
    rig.at["central"].behave = Answering(status=503)
    dead = await ask(FRONT, "/v1/de/channels")
    unkeyed = await ask(FRONT, "/v1/me/profiles", method="POST", headers={"Eisbach-Slot": "eu/de/main/0"}, body=b"{}")

    assert (shed.status, json.loads(shed.body)["code"], before) == (503, "overloaded", {"central": 1})
    assert int(shed.headers["retry-after"]) >= 1
    assert dead.status == 200
    assert (unkeyed.status, rig.asked()) == (503, {"central": 3, "west": 1})


@pytest.mark.parametrize("code", ["", "unavailable", "slot_frozen", "overloaded", "outcome_unknown", "later", "UP"])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_the_front_asks_the_other_region_after_the_refusals_that_the_rule_names_and_keeps_the_code_of_others(
    rig: Rig, method: str, waits: bool, code: str
) -> None:
    told = {"Retry-After": "2"} if waits else {}
    rig.at["central"].behave = Answering(status=503, headers=told | ({"Eisbach-Code": code} if code else {}))

    got = await ask(FRONT, "/v1/me/progress/t-1", method=method, headers={"Eisbach-Slot": "eu/de/main/0"}, body=b"{}")

    if passed_on(code, waits=waits, repeatable=method == "PUT"):
        assert (got.status, got.headers["eisbach-cell"], rig.asked()) == (200, "west", {"central": 1, "west": 1})
    else:
        kept = code if code.islower() else "unavailable"
        assert (got.status, json.loads(got.body)["code"], rig.asked()) == (503, kept, {"central": 1})


async def test_what_both_regions_refuse_is_told_in_the_second_ones_words_and_nobody_is_asked_twice(rig: Rig) -> None:
    refusing = Answering(
        status=503, headers={"Retry-After": "2", "Eisbach-Code": "unavailable"}, body=b'{"code":"theirs"}'
    )
    slot = {"Eisbach-Slot": "eu/de/main/0"}
    rig.at["central"].behave = rig.at["west"].behave = refusing

    both = await ask(FRONT, "/v1/me/progress/t-1", method="PUT", headers=slot)
    asked = rig.asked()
    rig.at["central"].behave = Answering(silent=True)
    behind = await ask(FRONT, "/v1/me/rails", headers=slot)

    assert (both.status, json.loads(both.body)["code"], asked) == (503, "theirs", {"central": 1, "west": 1})
    assert (behind.status, json.loads(behind.body)["code"]) == (503, "unavailable")
    assert rig.asked() == {"central": 2, "west": 2}


async def test_a_refusal_of_the_only_region_of_a_residency_keeps_its_code(rig: Rig) -> None:
    rig.at["us"].behave = Answering(status=503, headers={"Retry-After": "2", "Eisbach-Code": "slot_frozen"})

    got = await ask(FRONT, "/v1/me/rails", headers={"Eisbach-Slot": "us/us/main/0"})

    assert (got.status, json.loads(got.body)["code"], rig.asked()) == (503, "slot_frozen", {"us": 1})


@pytest.mark.parametrize(("method", "told"), [("PUT", (504, "outcome_unknown")), ("GET", (503, "overloaded"))])
async def test_a_refusal_behind_a_region_that_was_silent_is_no_word_on_what_that_one_did(
    rig: Rig, method: str, told: tuple[int, str]
) -> None:
    rig.at["central"].behave = Answering(silent=True)
    rig.at["west"].behave = Answering(status=503, headers={"Retry-After": "2", "Eisbach-Code": "overloaded"})
    slot = {"Eisbach-Slot": "eu/de/main/0"}

    first = await ask(FRONT, "/v1/me/progress/t-1", method=method, headers=slot)
    passed_over = await ask(FRONT, "/v1/me/progress/t-1", method=method, headers=slot)

    assert (first.status, json.loads(first.body)["code"]) == told
    assert (passed_over.status, json.loads(passed_over.body)["code"]) == (503, "overloaded"), "it was sent to one alone"
    assert rig.asked() == {"central": 1, "west": 2}


@pytest.mark.parametrize(("told", "method", "status"), [(502, "POST", 502), (504, "POST", 504), (504, "GET", 502)])
async def test_an_edge_that_says_that_it_reached_nobody_is_believed_and_one_that_does_not_know_too(
    rig: Rig, told: int, method: str, status: int
) -> None:
    rig.at["central"].behave = Answering(status=told)

    got = await ask(FRONT, "/v1/me/profiles", method=method, headers={"Eisbach-Slot": "eu/de/main/0"}, body=b"{}")

    assert (got.status, rig.asked()) == (status, {"central": 1})


async def test_an_unkeyed_post_is_never_sent_twice_and_a_keyed_one_reaches_the_other_region(rig: Rig) -> None:
    rig.at["central"].behave = Answering(drop=True)
    slot = {"Eisbach-Slot": "eu/de/main/0"}

    unkeyed = await ask(FRONT, "/v1/me/profiles", method="POST", headers=slot, body=b"{}")
    between = rig.asked()
    keyed = await ask(
        FRONT, "/v1/auth/anonymous", method="POST", headers={**slot, "Idempotency-Key": "k"}, body=b'{"a":1}'
    )

    assert (unkeyed.status, json.loads(unkeyed.body)["code"], between) == (504, "outcome_unknown", {"central": 1})
    assert (keyed.status, rig.at["west"].bodies) == (200, [b'{"a":1}'])


@pytest.mark.parametrize("status", [404, 500, 502, 503])
async def test_a_segment_that_one_origin_cannot_give_comes_from_the_other(rig: Rig, status: int) -> None:
    rig.at["central-origin"].behave = Answering(status=status)
    rig.at["west-origin"].behave = Answering(body=b"segment")

    got = await ask(FRONT, "/t/tok/vod/a/v/1.m4s", headers={"Range": "bytes=0-"})

    assert (got.status, got.body) == (200, b"segment")


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_segment_comes_whole_although_the_first_origin_dies_in_the_middle_of_it(rig: Rig, hangs: bool) -> None:
    body = bytes(range(256)) * 3000
    rig.at["central-origin"].behave = Answering(body=body, torn=True, silent=hangs)
    rig.at["west-origin"].behave = Answering(
        body=body, headers={"Cache-Control": "immutable", "Eisbach-Region": "west"}
    )

    got = await ask(FRONT, "/t/tok/vod/a/v/1.m4s")

    assert (got.status, got.body == body) == (200, True)
    assert (got.headers["eisbach-region"], got.headers["cache-control"]) == ("west", "immutable")


async def test_a_segment_that_is_torn_everywhere_is_a_problem_and_never_half_a_segment(rig: Rig) -> None:
    for name in ("central-origin", "west-origin"):
        rig.at[name].behave = Answering(body=b"x" * 1000, torn=True)

    got = await ask(FRONT, "/t/tok/vod/a/v/1.m4s")

    assert (got.status, json.loads(got.body)["code"]) == (502, "unavailable")


async def test_an_evacuated_region_comes_last(tmp_path: Path) -> None:
    states = {**HEALTHY, "central": RegionState(weight=0, healthy=True, distance=DISTANCES["central"], residency="eu")}
    async with stubs(ADDRESSES) as at, nginx(tmp_path / "front", front_config(site(tmp_path, states)), port=FRONT):
        await ask(FRONT, "/v1/me/rails", headers={"Eisbach-Slot": "eu/de/main/0"})
        first = {name for name, stub in at.items() if stub.asked}
        await at["west"].stop()
        last = await ask(FRONT, "/v1/me/rails", headers={"Eisbach-Slot": "eu/de/main/0"})

    assert (first, last.headers["eisbach-cell"]) == ({"west"}, "central")


async def test_pages_are_served_with_the_app_for_every_route_of_its_own(rig: Rig) -> None:
    pages = [await ask(FRONT, t) for t in ("/", "/title/t-1", "/watch/live/demo")]
    script = await ask(FRONT, "/assets/app-1.js")
    absent = await ask(FRONT, "/assets/app-2.js")

    assert {(p.status, p.body, p.headers["cache-control"]) for p in pages} == {(200, b"<html>app</html>", "no-cache")}
    assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "immutable" in script.headers["cache-control"]
    assert absent.status == 404


async def test_console_demo_and_ops_are_the_supervisors_with_the_host_unchanged(rig: Rig) -> None:
    got = [
        (await ask(FRONT, t)).headers["eisbach-cell"]
        for t in ("/console/", "/demo/?token=x", "/ops/status", "/ops/events")
    ]
    await rig.at["console"].stop()
    gone = await ask(FRONT, "/ops/status")

    assert got == ["console"] * 4
    assert {h["host"] for h in rig.at["console"].heads} == {f"{HOST}:{FRONT}"}
    assert (gone.status, json.loads(gone.body)["code"]) == (502, "unavailable")


async def test_uploads_stream_to_one_region_and_large_calls_are_refused(rig: Rig) -> None:
    upload = await ask(FRONT, "/studio/uploads/u1/content", method="PUT", body=b"x" * 300_000)
    large = await ask(FRONT, "/v1/telemetry", method="POST", body=b"x" * 65_537)

    assert (upload.status, large.status) == (200, 413)
    assert json.loads(large.body)["code"] == "too_large"
    assert rig.at["central"].bodies == [b"x" * 300_000]


async def test_a_slot_that_no_region_here_may_have_is_refused_and_not_called_an_outage(rig: Rig) -> None:
    got = await ask(FRONT, "/v1/me/rails", headers={"Eisbach-Slot": "xx/xx/main/3"})

    assert (got.status, json.loads(got.body)["code"]) == (421, "slot_elsewhere")


async def test_no_media_token_is_in_a_log_of_the_front(rig: Rig) -> None:
    await ask(FRONT, "/t/k1.4000000000.asset.SECRETSECRET/vod/asset/v/1.m4s")
    for name in ("central-origin", "west-origin", "us-origin"):
        await rig.at[name].stop()
    await ask(FRONT, "/t/k1.4000000000.asset.SECRETSECRET/vod/asset/v/2.m4s")
    await until(lambda: rig.host.access().count("\n") == 2, what="two lines")

    assert "SECRET" not in rig.host.logs()
