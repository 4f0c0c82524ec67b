"""The studio's calls: each has its effect once, says so in an event, and refuses clearly."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from studio_desk import Desk

from eisbach.hub.claim_check import ClaimChecks
from eisbach.hub.events import BatchCompleted
from eisbach.kernel.errors import Invalid, LeaseLost, NotFound, Unavailable
from eisbach.kernel.event_types import read_data
from eisbach.kernel.limits import JOB_LEASE
from eisbach.testing.manual_clock import ManualClock, settle

UPLOAD = {"name": "Münchner Surfer.mp4", "names": {"de": "Eisbachwelle"}, "market": "de", "publish": True}
ASSET = {"id": "wave", "duration_ms": 4000, "tracks": [], "files_sha256": "ab" * 32}
TITLE = {"id": "wave", "revision": 0, "names": {"en": "Wave"}}
CHANNEL = {
    "id": "demo", "revision": 0, "number": 1, "names": {"en": "Demo"}, "markets": ["de"], "start_ms": 2000,
    "loop": [{"title": "wave", "asset": "wave", "duration_ms": 4000}],
}  # fmt: skip


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The kernel itself refuses writes, as a full disk does: also those that ``close`` tries again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def uploaded(desk: Desk) -> dict[str, str]:
    made = await desk.ask("POST", "/studio/uploads", UPLOAD)
    await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"x" * 100_000)
    return made


async def test_an_upload_becomes_an_event_once_its_content_is_whole(desk: Desk) -> None:
    made = await desk.ask("POST", "/studio/uploads", UPLOAD)
    before = await desk.types()

    await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"x" * 100_000)

    assert before == ["tv.catalog.title.upserted.v1"]
    assert await desk.types() == [*before, "tv.ingest.asset.received.v1"]
    assert made["asset"].startswith("eisbachwelle-")
    assert await desk.blobs.read(f"uploads/{made['upload']}") == b"x" * 100_000


async def test_announcing_again_under_the_same_key_gives_the_same_ids_and_no_second_title(desk: Desk) -> None:
    one = await desk.ask("POST", "/studio/uploads", UPLOAD, key="k-1")

    two = await desk.ask("POST", "/studio/uploads", UPLOAD, key="k-1")

    assert one == two
    assert len(await desk.types()) == 1


async def test_a_disk_without_room_refuses_the_upload_and_the_same_upload_goes_on_when_there_is_some(
    desk: Desk,
) -> None:
    made = await desk.ask("POST", "/studio/uploads", UPLOAD)
    before = await desk.types()

    with no_file_above(50_000), pytest.raises(Unavailable, match="could not be stored"):
        await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"x" * 100_000)
    assert await desk.types() == before, "nothing is said of content that is not on disk"
    assert [path for path in (desk.folder / "blobs").rglob("*") if path.is_file()] == []

    await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"x" * 100_000)
    assert await desk.types() == [*before, "tv.ingest.asset.received.v1"]


async def test_sending_the_content_again_has_no_second_event(desk: Desk) -> None:
    made = await uploaded(desk)
    before = await desk.types()

    await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"x" * 100_000)

    assert await desk.types() == before
    with pytest.raises(Invalid, match="other content"):
        await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"y")
    with pytest.raises(Invalid, match="other content"):
        await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"")
    assert await desk.blobs.read(f"uploads/{made['upload']}") == b"x" * 100_000, "what was whole is what it was"


async def test_a_rejected_asset_tells_its_title_why(desk: Desk) -> None:
    made = await uploaded(desk)

    for _ in range(2):
        await desk.ask("POST", f"/studio/assets/{made['asset']}/reject", {"reason": "the file is text"})

    (title,) = (await desk.ask("GET", "/studio/titles"))["titles"]
    assert (title["state"], title["reason"]) == ("rejected", "the file is text")
    assert (await desk.types())[2:] == ["tv.ingest.asset.rejected.v1", "tv.catalog.title.upserted.v1"]


async def test_an_asset_made_elsewhere_becomes_known_when_it_is_ready(desk: Desk) -> None:
    for _ in range(2):
        await desk.ask("POST", "/studio/assets/wave/ready", ASSET)

    view = await desk.ask("GET", "/studio/assets/wave")
    assert (view["record"]["state"], view["regions"]) == ("ready", ["eu-central"])
    assert await desk.types() == ["tv.package.asset.ready.v1"]


async def test_a_copy_counts_only_when_its_digest_is_the_assets(desk: Desk) -> None:
    with pytest.raises(Unavailable):
        await desk.ask("POST", "/studio/assets/wave/at/eu-west", {"files_sha256": "ab" * 32})
    await desk.ask("POST", "/studio/assets/wave/ready", ASSET)

    for _ in range(2):
        await desk.ask("POST", "/studio/assets/wave/at/eu-west", {"files_sha256": "ab" * 32})

    with pytest.raises(Invalid, match="copy it again"):
        await desk.ask("POST", "/studio/assets/wave/at/eu-west", {"files_sha256": "cd" * 32})
    assert (await desk.ask("GET", "/studio/assets"))["assets"][0]["regions"] == ["eu-central", "eu-west"]
    assert (await desk.types())[1:] == ["tv.package.asset.copied.v1"]


async def test_a_title_is_published_once_and_with_an_asset_only(desk: Desk) -> None:
    await desk.ask("PUT", "/studio/titles/wave", TITLE)
    with pytest.raises(Invalid, match="no asset yet"):
        await desk.ask("POST", "/studio/titles/wave/publish")

    for _ in range(2):
        title = await desk.ask("POST", "/studio/titles/wave/publish", {"asset": "wave"})

    assert (title["state"], title["asset"], title["revision"]) == ("published", "wave", 2)
    assert await desk.types() == ["tv.catalog.title.upserted.v1", "tv.catalog.title.published.v1"]


async def test_writing_the_same_document_again_changes_nothing(desk: Desk) -> None:
    for _ in range(2):
        await desk.ask("PUT", "/studio/titles/wave", TITLE)
        await desk.ask("PUT", "/studio/channels/demo", CHANNEL)

    assert len(await desk.types()) == 2
    assert (await desk.ask("GET", "/studio/channels"))["channels"][0]["revision"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/studio/uploads", {"name": ""}, "printable"),
        ("POST", "/studio/uploads", {"name": "a", "age": 7}, "age 7"),
        ("POST", "/studio/uploads", {"name": "a", "market": "../x"}, "country"),
        ("POST", "/studio/uploads", {"name": "a", "colour": 1}, "unknown field"),
        ("POST", "/studio/uploads", {"name": "a", "title": "No Id"}, "is not an id"),
        ("PUT", "/studio/titles/other", TITLE, "must agree"),
        ("PUT", "/studio/titles/wave", {**TITLE, "state": "moon"}, "state 'moon'"),
        ("PUT", "/studio/channels/demo", {**CHANNEL, "start_ms": 2001}, "multiples"),
        ("PUT", "/studio/channels/demo", {**CHANNEL, "loop": []}, "must be a programme"),
        ("POST", "/studio/assets/other/ready", ASSET, "must agree"),
        ("POST", "/studio/assets/a.b/ready", {**ASSET, "id": "a.b"}, "has a dot"),
        ("POST", "/studio/jobs", {"asset": "a", "kind": "probe", "home": "eu-west", "jobs": []}, "their home"),
        ("POST", "/studio/jobs", {"asset": "a", "kind": "probe", "home": "eu-central", "jobs": []}, "1 to"),
        ("POST", "/studio/jobs", {"asset": "a", "kind": "P", "home": "eu-central", "jobs": []}, "a-z"),
        ("POST", "/studio/jobs", {"asset": "a", "kind": "x", "home": "eu-central", "jobs": [{"part": "../x"}]}, "part"),
        ("POST", "/studio/jobs:lease", {"worker": "w1"}, "kinds"),
    ],
)  # fmt: skip
async def test_malformed_calls_are_refused_and_leave_nothing(
    desk: Desk, method: str, path: str, body: object, says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        await desk.ask(method, path, body)

    assert await desk.types() == []


async def test_what_is_unknown_is_not_found(desk: Desk) -> None:
    for method, path, body in [
        ("PUT", "/studio/uploads/up-1/content", b"x"),
        ("GET", "/studio/assets/nope", None),
        ("POST", "/studio/assets/nope/reject", {"reason": "x"}),
        ("POST", "/studio/titles/nope/publish", None),
        ("POST", "/studio/jobs/nope/heartbeat", {"fence": 1}),
    ]:
        with pytest.raises(NotFound):
            await desk.ask(method, path, body)


# Jobs


async def make_jobs(desk: Desk, *parts: str, kind: str = "transcode", asset: str = "wave") -> dict[str, object]:
    jobs = [{"part": part, "n": place} for place, part in enumerate(parts)]
    body = {"asset": asset, "kind": kind, "home": "eu-central", "jobs": jobs, "common": {"plan": {"fps": 25}}}
    return await desk.ask("POST", "/studio/jobs", body)


async def take(desk: Desk, worker: str = "w1", **more: object) -> dict[str, object] | None:
    return await desk.ask("POST", "/studio/jobs:lease", {"worker": worker, "kinds": ["transcode", "probe"], **more})


async def test_every_job_is_leased_once_and_the_last_completion_says_so(desk: Desk) -> None:
    await make_jobs(desk, *[f"v{n:04d}" for n in range(40)])
    await make_jobs(desk, *[f"v{n:04d}" for n in range(40)])  # a repeat is no change

    jobs = []
    while (job := await take(desk)) is not None:
        jobs.append(job)
    for job in jobs:
        body = {"fence": job["fence"], "result": {"part": job["part"]} if job["part"] == "v0007" else None}
        await desk.ask("POST", f"/studio/jobs/{job['job']}/complete", body)

    assert [job["part"] for job in jobs] == [f"v{n:04d}" for n in range(40)]
    assert jobs[3]["spec"] == {"plan": {"fps": 25}, "part": "v0003", "n": 3}
    (event,) = await desk.events()
    assert event.type == "tv.transcode.job.completed.v1"
    assert b'"results":{"v0007":{"part":"v0007"}}' in bytes(event.data)
    (batch,) = (await desk.ask("GET", "/studio/jobs"))["jobs"]
    assert (batch["state"], batch["done"], batch["total"]) == ("done", 40, 40)


async def test_results_that_are_too_large_for_an_event_go_by_claim_check(desk: Desk) -> None:
    """Five results of 30 KiB: more than an item or an event may hold."""
    await make_jobs(desk, *[f"v{n:04d}" for n in range(5)])
    while (job := await take(desk)) is not None:
        result = {"part": job["part"], "text": "x" * 30_000}
        await desk.ask("POST", f"/studio/jobs/{job['job']}/complete", {"fence": job["fence"], "result": result})

    (event,) = await desk.events()
    redeemed = await ClaimChecks(desk.blobs, region="eu-central", clock=ManualClock()).redeem(event)
    done = read_data(redeemed, BatchCompleted)

    assert len(event.data) < 100
    assert sorted(done.results) == [f"v{n:04d}" for n in range(5)]
    assert {len(raw) for raw in done.results.values()} == {30_026}


async def test_a_full_blob_store_refuses_the_completion_and_a_repeat_succeeds(desk: Desk) -> None:
    await make_jobs(desk, "v0000", "v0001", "v0002")
    jobs = [await take(desk) for _ in range(3)]
    report = {"result": {"text": "x" * 30_000}}
    for job in jobs[:2]:
        await desk.ask("POST", f"/studio/jobs/{job['job']}/complete", {"fence": job["fence"], **report})
    last = jobs[2]

    with no_file_above(50_000), pytest.raises(Unavailable):
        await desk.ask("POST", f"/studio/jobs/{last['job']}/complete", {"fence": last["fence"], **report})
    before = await desk.types()
    await desk.ask("POST", f"/studio/jobs/{last['job']}/complete", {"fence": last["fence"], **report})

    assert (before, await desk.types()) == ([], ["tv.transcode.job.completed.v1"])


async def test_two_workers_never_hold_one_job(desk: Desk) -> None:
    await make_jobs(desk, *[f"v{n:04d}" for n in range(12)])

    taken = await asyncio.gather(*[take(desk, f"w{n}") for n in range(12)])

    assert len({job["part"] for job in taken if job}) == 12


async def test_a_worker_that_vanished_is_relieved_and_its_late_report_refused(desk: Desk, clock: ManualClock) -> None:
    await make_jobs(desk, "v0000")
    lost = await take(desk, "w1")

    before = await take(desk, "w2")
    await clock.advance(JOB_LEASE.total_seconds())
    relief = await take(desk, "w2")
    await desk.ask("POST", f"/studio/jobs/{relief['job']}/complete", {"fence": relief["fence"]})

    assert before is None
    assert (lost["fence"], relief["fence"], relief["attempt"]) == (1, 2, 2)
    for report in ("heartbeat", "complete", "fail"):
        with pytest.raises(LeaseLost):
            await desk.ask("POST", f"/studio/jobs/{lost['job']}/{report}", {"fence": lost["fence"]})


async def test_a_heartbeat_keeps_a_job(desk: Desk, clock: ManualClock) -> None:
    await make_jobs(desk, "v0000")
    job = await take(desk, "w1")

    for _ in range(5):
        await clock.advance(JOB_LEASE.total_seconds() - 1)
        await desk.ask("POST", f"/studio/jobs/{job['job']}/heartbeat", {"fence": 1, "progress": 0.5})

    assert await take(desk, "w2") is None
    assert (await desk.ask("GET", "/studio/jobs"))["jobs"][0]["progress"] == 0.5


async def test_completing_again_is_no_change(desk: Desk) -> None:
    await make_jobs(desk, "v0000")
    job = await take(desk)

    for _ in range(2):
        await desk.ask("POST", f"/studio/jobs/{job['job']}/complete", {"fence": 1})

    assert await desk.types() == ["tv.transcode.job.completed.v1"]


async def test_a_job_that_fails_five_times_ends_its_batch(desk: Desk, clock: ManualClock) -> None:
    await make_jobs(desk, "v0000", "v0001")
    for _ in range(5):
        job = await take(desk, "w1")
        await desk.ask("POST", f"/studio/jobs/{job['job']}/fail", {"fence": job["fence"], "reason": "disk on fire"})
        await clock.advance(60)
    await take(desk)

    (event,) = await desk.events()

    assert event.type == "tv.transcode.job.failed.v1"
    assert b"given up after 5 attempts: disk on fire" in bytes(event.data)
    assert await take(desk) is None


async def test_a_final_failure_ends_the_batch_at_once_and_other_workers_learn_it(desk: Desk) -> None:
    await make_jobs(desk, "v0000", "v0001")
    one, other = await take(desk, "w1"), await take(desk, "w2")

    await desk.ask("POST", f"/studio/jobs/{one['job']}/fail", {"fence": 1, "reason": "the file is text", "final": True})

    with pytest.raises(LeaseLost):
        await desk.ask("POST", f"/studio/jobs/{other['job']}/heartbeat", {"fence": 1})
    assert b"the file is text" in bytes((await desk.events())[0].data)


async def test_whoever_waits_for_a_job_gets_it_when_it_is_made(desk: Desk) -> None:
    waiting = asyncio.ensure_future(take(desk, wait_ms=10_000))
    await settle()

    await make_jobs(desk, "v0000")

    async with asyncio.timeout(5):
        assert (await waiting)["part"] == "v0000"


async def test_waiting_for_a_job_ends(desk: Desk, clock: ManualClock) -> None:
    waiting = asyncio.ensure_future(take(desk, wait_ms=3000))
    await settle()

    await clock.advance(4)

    assert await waiting is None
