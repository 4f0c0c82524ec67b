"""Viewers' calls over a composed cell: real store, real event log, no network."""

from pathlib import Path

import jsonschema
import pytest
from kit import beat, device_of, make_secrets, opened, play, signed_in, title

from eisbach.testing.asgi_client import AsgiClient


async def test_signing_in_twice_with_a_device_is_the_same_account_and_names_slot_and_both_regions(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, peers=[]) as cell:
        client = AsgiClient(cell.app)
        body = {"device_id": device_of([0, 1, 2, 3]), "plat": "tv", "mkt": "de"}

        first, again = [(await client.send("POST", "/v1/auth/anonymous", body)).json() for _ in range(2)]

    assert first["account"] == again["account"]
    assert first["slot"].startswith("eu/de/main/")
    assert [e["region"] for e in first["endpoints"]] == ["eu-central"]


async def test_sign_in_at_the_wrong_cell_names_the_owner(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        body = {"device_id": device_of([5]), "mkt": "de"}

        answer = await AsgiClient(cell.app).send("POST", "/v1/auth/anonymous", body)

    assert answer.status == 421
    assert answer.headers["eisbach-owner"] == "c2"
    assert answer.json()["code"] == "slot_moved"


async def test_a_market_without_a_group_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        answer = await AsgiClient(cell.app).send(
            "POST", "/v1/auth/anonymous", {"device_id": "device-0001", "mkt": "ch"}
        )

    assert (answer.status, answer.json()["code"]) == (403, "market")


async def test_home_is_public_cacheable_and_answers_304_to_its_own_etag(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        client = AsgiClient(cell.app)

        home = await client.send("GET", "/v1/de/free/web/12/home")
        again = await client.send("GET", "/v1/de/free/web/12/home", headers={"If-None-Match": home.headers["etag"]})

    rails = {rail["id"]: [card["id"] for card in rail["items"]] for rail in home.json()["rails"]}
    assert set(rails["new"]) == {"tears", "bunny"}, "the film is from 16"
    assert rails["live"] == ["one"]
    for word in ("public", "s-maxage=", "stale-while-revalidate=", "stale-if-error="):
        assert word in home.headers["cache-control"]
    assert (again.status, again.body) == (304, b"")


async def test_title_channels_and_programme_now_come_from_the_catalogue(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        client = AsgiClient(cell.app)

        page = (await client.send("GET", "/v1/de/titles/tears")).json()
        channels = (await client.send("GET", "/v1/de/channels")).json()
        (now,) = (await client.send("GET", "/v1/de/epg/now")).json()
        unknown = await client.send("GET", "/v1/de/titles/nothing")

    assert page["tracks"]["audio"] == [{"lang": "de"}]
    assert [c["id"] for c in channels] == ["one"]
    assert {now["now"]["title"], now["next"]["title"]} == {"tears", "bunny"}
    assert now["now"]["to_ms"] == now["next"]["from_ms"]
    assert (unknown.status, unknown.json()["code"]) == (404, "not_found")


async def test_a_position_is_there_when_it_was_answered_and_the_title_is_resumed_from_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        put = await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 42.5, "dur_s": 100})
        rails = (await viewer.send("GET", "/v1/me/rails")).json()
        session = (await play(viewer, "k1")).json()

    assert (put.status, put.headers["eisbach-durability"]) == (204, "local")
    assert put.headers["eisbach-position"].startswith('{"eu-central":[1,')
    assert [(r["title"], r["pos_s"], r["card"]["id"]) for r in rails["resume"]] == [("tears", 42.5, "tears")]
    assert session["start_pos_s"] == 42.5


async def test_the_watch_list_keeps_what_was_saved_until_it_is_taken_off(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        for name in ("tears", "bunny"):
            assert (await viewer.send("PUT", f"/v1/me/watchlist/{name}")).status == 204
        await viewer.send("DELETE", "/v1/me/watchlist/tears")
        rails = (await viewer.send("GET", "/v1/me/rails")).json()

    assert [s["title"] for s in rails["watchlist"]] == ["bunny"]


async def test_a_playback_session_has_all_that_a_player_needs(tmp_path: Path) -> None:
    from kit import peer

    async with opened(tmp_path, peers=[peer("eu-west")]) as cell:
        viewer = await signed_in(cell)

        answer = await play(viewer, "k1")

    session = answer.json()
    assert answer.status == 201
    assert [e["region"] for e in session["endpoints"]] == ["eu-central", "eu-west"], "the answering region first"
    token = session["token"]["value"]
    assert session["manifests"]["hls"] == f"http://eu-central.origin/t/{token}/vod/tears-a/master.m3u8"
    assert session["endpoints"][1]["dash"] == f"http://eu-west.origin/t/{token}/vod/tears-a/manifest.mpd"
    assert session["thumbnails"]["vtt"] == "/img/tears-a/thumbs.vtt"
    assert session["lease"]["heartbeat_s"] == 30
    assert session["tracks"]["text"] == [{"lang": "en", "kind": "subtitles"}]


async def test_the_same_key_gives_the_same_session_and_takes_one_place(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        first, again = [(await play(viewer, "k1")).json() for _ in range(2)]
        other = await signed_in_again(cell, viewer)
        second = await play(other, "k2")

    assert first == again
    assert second.status == 201


async def signed_in_again(cell: object, viewer: AsgiClient) -> AsgiClient:
    return AsgiClient(cell.app, viewer.headers)  # type: ignore[attr-defined]


async def test_a_session_needs_a_key(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        answer = await viewer.send("POST", "/v1/playback/sessions", {"asset": {"type": "vod", "id": "tears"}})

    assert (answer.status, answer.json()["code"]) == (400, "invalid")
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_a_title_that_is_too_old_or_unknown_or_premium_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        old = await play(viewer, "k1", asset={"type": "vod", "id": "film"})
        unknown = await play(viewer, "k2", asset={"type": "vod", "id": "nothing"})

    assert (old.status, old.json()["code"]) == (403, "age_pin")
    assert (unknown.status, unknown.json()["code"]) == (404, "not_found")


async def test_live_starts_at_the_edge_of_the_channel(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        session = (await play(viewer, "k1", asset={"type": "live", "id": "one"})).json()
        path = session["manifests"]["hls"].removeprefix("http://eu-central.origin/")
        token = path.split("/")[1]
        manifest = await viewer.send("GET", f"/manifests/ch/one/master.m3u8?t={token}")
        playlist = await viewer.send("GET", "/manifests/ch/one/v720.m3u8")

    assert session["start_pos_s"] == 0
    assert manifest.status == 200, manifest.body
    assert b"v720.m3u8" in manifest.body
    assert b"#EXTINF" in playlist.body


async def test_heartbeats_are_written_on_pause_and_a_repeat_is_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        session = (await play(viewer, "k1")).json()

        written = [
            (await beat(viewer, session, 1))["durable"]
            if False
            else (await beat(viewer, session, 1)).get("durable", False),
            (await beat(viewer, session, 2, state="paused", pos_s=50)).get("durable", False),
            (await beat(viewer, session, 2, state="paused", pos_s=51)).get("durable", False),
        ]
        rails = (await viewer.send("GET", "/v1/me/rails")).json()

    assert written == [False, True, False]
    assert [r["pos_s"] for r in rails["resume"]] == [50]


async def test_a_prefetched_session_takes_its_place_with_its_first_heartbeat(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        session = (await play(viewer, "k1", intent="prefetch")).json()
        answer = await beat(viewer, session, 1)

    assert answer == {"action": "continue", "heartbeat_s": 30, "durable": True}


async def test_over_the_limit_the_viewer_may_take_one_over_and_that_one_is_told_to_stop(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        guard = await three_devices(cell, viewer)

        refused = await play(guard, "k3")
        code = refused.json()["more"]["conflicts"][0]["termination_code"]
        taken = await play(guard, "k3", takeover=[code])

    assert (refused.status, refused.json()["code"]) == (409, "concurrency")
    assert taken.status == 201


async def three_devices(cell: object, viewer: AsgiClient) -> AsgiClient:
    """Two more devices of the same account hold its two places; the viewer's own comes third."""
    import msgspec

    from eisbach.domain.playback import Stream, StreamGuard
    from eisbach.kernel.ops import ItemChange
    from eisbach.kernel.slots import Slot
    from eisbach.ports.store import Transaction, Write

    slot = Slot.parse(viewer.headers["Eisbach-Slot"])
    account = (await viewer.send("GET", "/v1/me/rails")).headers and _subject(viewer)
    far = 1 << 50
    streams = [
        Stream(sid=f"s-{n}", device=f"other-{n}", platform="tv", asset="vod:x", started_ms=n, expires_ms=far)
        for n in (1, 2)
    ]
    guard = ItemChange(account, "guard/streams", msgspec.json.encode(StreamGuard(streams=streams)))
    await cell.store.transact(Transaction(slot=slot, writes=[Write(guard)]))  # type: ignore[attr-defined]
    return viewer


def _subject(viewer: AsgiClient) -> str:
    import base64
    import json

    payload = viewer.headers["Authorization"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"]


async def test_a_stopped_session_frees_its_place_and_a_repeat_is_harmless(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        session = (await play(viewer, "k1")).json()
        path = f"/v1/playback/sessions/{session['sid']}"

        stops = [await viewer.send("DELETE", path, {"session": session["session"], "pos_s": 60}) for _ in range(2)]
        late = await beat(viewer, session, 9)

    assert [s.status for s in stops] == [204, 204]
    assert late["action"] == "stop"


async def test_a_media_token_is_renewed_by_the_signed_session_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        session = (await play(viewer, "k1")).json()
        nobody = AsgiClient(cell.app)

        renewed = await nobody.send("POST", session["token"]["renew_url"], {"session": session["session"]})
        forged = await nobody.send("POST", session["token"]["renew_url"], {"session": session["session"][:-2] + "xx"})

    assert renewed.status == 200
    assert renewed.json()["manifests"]["hls"].endswith("/vod/tears-a/master.m3u8")
    assert (forged.status, forged.json()["code"]) == (403, "session_signature")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", "/v1/me/progress/tears", b'{"pos_s": 1, "dur_s":', 400, "invalid"),
        ("PUT", "/v1/me/progress/tears", b'{"pos_s": 1, "dur_s": 5, "\xff": 1}', 400, "invalid"),
        ("POST", "/v1/auth/anonymous", b'{"device_id": "\xff"}', 400, "invalid"),
        ("PUT", "/v1/me/progress/tears", b'{"pos_s": -1, "dur_s": 5}', 400, "invalid"),
        ("PUT", "/v1/me/progress/tears", b'{"pos_s": 1, "dur_s": 5, "mood": 1}', 400, "invalid"),
        ("PUT", "/v1/me/watchlist/nothing", b"", 404, "not_found"),
        ("PUT", "/v1/me/progress/tears", b" " * 65_537, 413, "body_too_large"),
        ("GET", "/v1/nothing", b"", 404, "no_such_call"),
        ("POST", "/v1/me/rails", b"", 405, "method"),
        ("DELETE", "/v1/me/watchlist/..%2Fetc", b"", 400, "invalid"),
        ("GET", "/v1/xx/channels", b"", 404, "not_found"),
        ("GET", "/v1/de/free/web/13/home", b"", 400, "invalid"),
        ("POST", "/peer/pull", b"", 401, "token_invalid"),
        ("GET", "/status", b"", 401, "token_invalid"),
    ],
)
async def test_wrong_input_gets_a_clear_problem(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        answer = await viewer.send(method, path, body)

    assert (answer.status, answer.json()["code"], answer.headers["eisbach-code"]) == (status, code, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert cell.metrics.bugs == 0


async def test_a_bad_body_is_told_where_it_is_bad(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        answer = await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": "x", "dur_s": 1})

    assert "$.pos_s" in answer.json()["detail"]


async def test_another_slot_in_the_header_than_in_the_token_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        answer = await viewer.send("GET", "/v1/me/rails", headers={"Eisbach-Slot": "eu/de/main/7"})

    assert (answer.status, answer.json()["code"]) == (421, "slot_mismatch")


async def test_reading_waits_for_what_was_written_elsewhere_and_else_says_how_old_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        ahead = await viewer.send("GET", "/v1/me/rails", headers={"Eisbach-Position": '{"eu-west":[1,7]}'})
        wrong = await viewer.send("GET", "/v1/me/rails", headers={"Eisbach-Position": "[1]"})

    assert ahead.status == 200
    assert "eisbach-age-ms" in ahead.headers
    assert wrong.status == 400


async def test_the_openapi_document_describes_every_call_and_its_own_answers(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)

        document = (await viewer.send("GET", "/v1/openapi.json")).json()
        rails = (await viewer.send("GET", "/v1/me/rails")).json()
        session = (await play(viewer, "k1")).json()

    assert "put" in document["paths"]["/v1/me/progress/{title}"]
    assert document["paths"]["/v1/playback/sessions"]["post"]["x-class"] == "critical"
    for name, found in (("Rails", rails), ("SessionAnswer", session)):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.validate(found, schema)


async def test_probes_need_no_token_and_status_has_what_the_supervisor_reads(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        nobody = AsgiClient(cell.app)

        live, ready = [(await nobody.send("GET", path)).status for path in ("/healthz", "/readyz")]
        metrics = await nobody.send("GET", "/metrics")
        status = (await nobody.send("GET", "/status", headers={"Authorization": "Bearer operator"})).json()

    assert (live, ready) == (200, 200)
    assert b"eisbach_calls_total" in metrics.body
    assert status["slots"] == {"eu/de/main": 4}
    assert status["requests"] >= 3


async def test_a_wall_clock_that_jumped_and_erasures_that_wait_are_gauges_that_an_alarm_can_watch(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as cell:
        nobody = AsgiClient(cell.app)
        before = (await nobody.send("GET", "/metrics")).body
        cell.store._writer.hlc.physical_ms(wall_ms=0, monotonic_ms=0)  # type: ignore[attr-defined]  # as after a jump
        cell.store._writer.erasing = 2  # type: ignore[attr-defined]
        after = (await nobody.send("GET", "/metrics")).body
        cell.store._writer.erasing = 0  # type: ignore[attr-defined]

    assert b"eisbach_clock_jumped 0.0" in before
    assert b"eisbach_store_erasing 0.0" in before
    assert b"eisbach_clock_jumped 1.0" in after
    assert b"eisbach_store_erasing 2.0" in after


async def test_the_catalogue_survives_a_restart_without_the_hub(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass

    async with opened(tmp_path, demo=False, hub=f"sqlite:{tmp_path}/another/hub.db") as cell:
        answer = await AsgiClient(cell.app).send("GET", "/v1/de/titles/tears")

    assert answer.status == 200


async def test_a_newer_revision_replaces_a_title_at_once(tmp_path: Path) -> None:
    from kit import catalogue_envelope, until

    async with opened(tmp_path) as cell:
        last = await cell.event_log.last("eu-central/studio")
        newer = title("tears", revision=2, names={"en": "Tears II"})
        await cell.event_log.append(catalogue_envelope(newer, hlc=9, lsn=9), expected=last.sequence)
        await until(lambda: cell.catalogue and cell.catalogue.snapshot().titles["tears"].revision == 2)

        page = (await AsgiClient(cell.app).send("GET", "/v1/de/titles/tears")).json()

    assert page["names"]["en"] == "Tears II"


async def test_a_viewer_of_another_cell_is_sent_there_for_reads_and_writes_and_heartbeats(tmp_path: Path) -> None:
    keys = make_secrets()
    async with opened(tmp_path, keys=keys) as here, opened(tmp_path, cell="c2", keys=keys) as there:
        viewer = await signed_in(there)
        session = (await play(viewer, "k1")).json()
        lost = AsgiClient(here.app, viewer.headers)
        beat_body = {"seq": 7, "pos_s": 1, "session": session["session"]}

        answers = [
            await lost.send("GET", "/v1/me/rails"),
            await lost.send("PUT", "/v1/me/progress/tears", {"pos_s": 1, "dur_s": 2}),
            await lost.send("POST", f"/v1/playback/sessions/{session['sid']}/heartbeat", beat_body),
        ]

    assert [(a.status, a.headers["eisbach-owner"]) for a in answers] == [(421, "c2")] * 3


async def test_where_no_edge_does_it_the_cell_answers_preflights_and_shows_its_headers(tmp_path: Path) -> None:
    async with opened(tmp_path, cors=True) as cell:
        client = AsgiClient(cell.app, {"Origin": "http://elsewhere"})
        asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "eisbach-slot"}

        preflight = await client.send("OPTIONS", "/v1/me/progress/tears", headers=asked)
        answer = await client.send("GET", "/v1/de/channels")

    assert (preflight.status, preflight.headers["access-control-max-age"]) == (200, "86400")
    assert "Eisbach-Position" in answer.headers["access-control-expose-headers"]


async def test_what_is_least_important_is_shed_first_and_told_when_to_come_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        gate = cell.gate
        gate.in_work = 320

        history = await viewer.send("GET", "/v1/me/history")
        rails = await viewer.send("GET", "/v1/me/rails")
        gate.in_work = 380
        shed = await viewer.send("GET", "/v1/me/rails")
        session = await play(viewer, "k1")

    assert [a.status for a in (history, rails, shed, session)] == [503, 200, 503, 201]
    assert int(history.headers["retry-after"]) >= 1
    assert history.headers["eisbach-code"] == "overloaded"
