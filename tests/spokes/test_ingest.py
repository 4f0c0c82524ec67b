"""From an upload to a published title, with real media tools and every part of the path in one process."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from studio_desk import Desk, open_desk

from eisbach.bootstrap.tools import locate_footage, locate_tools
from eisbach.domain.jobs import LeasedJob
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.host import SpokeHost
from eisbach.hub.relay import Relay
from eisbach.hub.runner import Surroundings
from eisbach.media.jobs import Workspace
from eisbach.media.work import FolderWork
from eisbach.settings import Settings
from eisbach.spokes.ingest import INGEST_SPOKES
from eisbach.spokes.media_work import MEDIA_KINDS, do_media_job
from eisbach.spokes.worker import JobWorker

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


class DeskJobs:
    """``JobSource`` over the studio's real routes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def lease(self, worker: str, kinds: Sequence[str], *, wait_ms: int) -> LeasedJob | None:
        body = {"worker": worker, "kinds": list(kinds), "wait_ms": wait_ms}
        found = await self._desk.ask("POST", "/studio/jobs:lease", body)
        return None if found is None else msgspec.convert(found, LeasedJob)

    async def heartbeat(self, job: LeasedJob, *, progress: float) -> None:
        await self._report(job, "heartbeat", progress=progress)

    async def complete(self, job: LeasedJob, result: object) -> None:
        await self._report(job, "complete", result=result)

    async def fail(self, job: LeasedJob, *, reason: str, final: bool) -> None:
        await self._report(job, "fail", reason=reason, final=final)

    async def _report(self, job: LeasedJob, verb: str, **body: object) -> None:
        await self._desk.ask("POST", f"/studio/jobs/{job.job}/{verb}", {"fence": job.fence, **body})


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Desk]:
    """Studio, relay, event log, spokes and one worker."""
    clock, rng = SystemClock(), random.Random(1)
    tools = locate_tools(Settings()).media
    async with contextlib.AsyncExitStack() as stack:
        desk = await stack.enter_async_context(open_desk(tmp_path, clock))
        log = await SqliteEventLog(tmp_path / "hub.db", clock=clock).open()
        spokes = await SqliteSpokeStore(tmp_path / "spokes.db").open()
        relay = Relay(desk.store, log, source="eu-central/studio", clock=clock, rng=rng)
        around = Surroundings(region="eu-central", log=log, store=spokes, clock=clock, rng=rng)
        host = SpokeHost(INGEST_SPOKES, around, transport=desk)
        do = partial(do_media_job, work=FolderWork(Workspace(desk.folder / "blobs")), tools=tools)
        worker = JobWorker("w1", MEDIA_KINDS, source=DeskJobs(desk), do=do, clock=clock, rng=rng)
        running = [asyncio.create_task(part) for part in (relay.run(), host.run(), worker.run())]
        yield desk
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        crashed = {n: s["trouble"] for n, s in host.statistics()["spokes"].items() if s["restarts"]}
        assert crashed == {}
        await spokes.aclose()
        await log.aclose()


async def upload(desk: Desk, name: str, content: bytes) -> dict[str, str]:
    made = await desk.ask("POST", "/studio/uploads", {"name": name, "publish": True, "credit": "someone"})
    await desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", content)
    return made


async def until(desk: Desk, type_: str) -> None:
    lsn = 0
    async with asyncio.timeout(100):
        while type_ not in await desk.types():
            lsn = await desk.store.wait_for_commit(lsn)


async def test_an_upload_becomes_a_published_title_by_itself(path: Desk) -> None:
    footage = locate_footage()
    assert footage is not None, "the extra 'laptop' is installed for tests"

    made = await upload(path, "Big Buck Bunny.mp4", footage.read_bytes())
    await until(path, "tv.catalog.title.published.v1")

    assert await path.types() == [
        "tv.catalog.title.upserted.v1",
        "tv.ingest.asset.received.v1",
        "tv.transcode.job.completed.v1",  # probe
        "tv.transcode.job.completed.v1",  # chunks and sound
        "tv.transcode.job.completed.v1",  # package
        "tv.package.asset.ready.v1",
        "tv.catalog.title.published.v1",
    ]
    (title,) = (await path.ask("GET", "/studio/titles"))["titles"]
    assert (title["state"], title["asset"]) == ("published", made["asset"])
    media = path.folder / "blobs" / "media" / "vod" / made["asset"]
    view = await path.ask("GET", f"/studio/assets/{made['asset']}")
    listed = hashlib.sha256((media / "files.json").read_bytes()).hexdigest()
    assert view["record"]["asset"]["files_sha256"] == listed
    assert (media / "v720" / "init.mp4").exists()


async def test_a_text_file_is_rejected_with_the_reason(path: Desk) -> None:
    made = await upload(path, "notes.mp4", b"Dear diary, this is not a video.\n" * 100)

    await until(path, "tv.ingest.asset.rejected.v1")

    view = await path.ask("GET", f"/studio/assets/{made['asset']}")
    assert view["record"]["reason"] == "the file is text, not a video; upload the media itself"
