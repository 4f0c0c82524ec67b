"""The path from upload to title as real processes, with everything in it killed."""

import json
import resource
import shutil
import urllib.error
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from region_host import RegionHost

from eisbach.bootstrap.tools import locate_footage

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RegionHost]:
    region = RegionHost(tmp_path)
    for kind in ("hub", "cell", "spokes", "worker"):
        await region.start(kind)
    for kind, port in (("cell", 8100), ("spokes", 8202), ("worker", 8203)):
        await region.ready(kind, port)
    yield region
    await region.aclose()


def upload(region: RegionHost, name: str) -> dict[str, str]:
    footage = locate_footage()
    assert footage is not None
    made = region.ask("POST", "/studio/uploads", json.dumps({"name": name, "publish": True}).encode())
    region.ask("PUT", f"/studio/uploads/{made['upload']}/content", footage.read_bytes())
    return made


def published(region: RegionHost, title: str) -> dict[str, object] | None:
    found = region.get("/studio/titles") or {"titles": []}
    return next((t for t in found["titles"] if t["id"] == title and t.get("state") == "published"), None)


def batches(region: RegionHost) -> dict[str, dict[str, object]]:
    return {batch["kind"]: batch for batch in (region.get("/studio/jobs") or {"jobs": []})["jobs"]}


async def test_everything_is_killed_on_the_way_and_the_title_is_published_once(region: RegionHost) -> None:
    """Worker and spoke host in a job, the hub with all its files, then the studio: each only delays."""
    made = upload(region, "Big Buck Bunny.mp4")
    await region.until("a chunk is in work", lambda: batches(region).get("transcode", {}).get("leases"))

    for kind in ("worker", "spokes", "hub"):
        await region.kill(kind)
    shutil.rmtree(region.folder / "jetstream")
    await region.kill("cell")
    for kind in ("cell", "hub", "spokes", "worker"):
        await region.start(kind)

    title = await region.until("the title is published", lambda: published(region, made["title"]))
    status = await region.until("the spokes are idle", lambda: idle(region))

    assert (title["asset"], title["revision"]) == (made["asset"], 2)
    assert {kind: batch["state"] for kind, batch in batches(region).items()} == dict.fromkeys(
        ("probe", "transcode", "package"), "done"
    )
    assert {row["spoke"]: row["dead_letters"] for row in status["spokes"] if row["dead_letters"]} == {}


async def test_while_the_hub_is_away_uploads_are_taken_and_go_on_afterwards(region: RegionHost) -> None:
    await region.kill("hub")
    made = upload(region, "taken.mp4")

    await region.start("hub")

    await region.until("the title is published", lambda: published(region, made["title"]))


async def test_a_spokes_host_whose_disk_refuses_is_not_ready_and_says_why_until_a_write_passes(
    region: RegionHost,
) -> None:
    """The kernel refuses by RLIMIT_FSIZE; nothing happens in the region meanwhile."""
    pid, free = region.pid("spokes"), resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, free))
    told = await region.until("it is told", lambda: (region.get("/status", port=8202) or {}).get("refuses"))
    ready = region.get("/readyz", port=8202, raw=True)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (free, free))

    assert "spokes.db: SQLite refused" in told["why"]
    assert ready is None
    await region.ready("spokes", 8202)


async def test_calls_without_a_token_or_with_nonsense_are_refused_clearly(region: RegionHost) -> None:
    token, region._token = region._token, "wrong"
    assert problem(region, "POST", "/studio/uploads", b"{}") == (401, "token_invalid")
    region._token = token
    assert problem(region, "POST", "/studio/uploads", b"{") == (400, "invalid")
    assert problem(region, "POST", "/studio/uploads", b'{"name": 7}') == (400, "invalid")
    assert problem(region, "POST", "/studio/jobs/nope/heartbeat", b'{"fence": 1}') == (404, "not_found")
    assert problem(region, "POST", "/studio/jobs/a.b.c/complete", b'{"fence": 1}') == (409, "lease_lost")
    assert problem(region, "PUT", "/studio/titles/a", b"x" * 5_000_000) == (413, "body_too_large")


def idle(region: RegionHost) -> dict[str, object] | None:
    status = region.get("/status", port=8202)
    return status if status and all(not r["backlog"] and not r["commands_waiting"] for r in status["spokes"]) else None


def problem(region: RegionHost, method: str, path: str, body: bytes) -> tuple[int, str]:
    try:
        region.ask(method, path, body)
    except urllib.error.URLError as error:
        if not isinstance(error, urllib.error.HTTPError):
            return 413, "body_too_large"  # the refusal came, and the line was cut, while we were still sending
        with error:
            found = error.read()
            return error.code, json.loads(found)["code"] if found.startswith(b"{") else ""
    raise AssertionError(f"{method} {path} was accepted")
