"""A worker: one job at a time, reports until heard, drops what it lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from studio_desk import Desk
from test_ingest import DeskJobs

from eisbach.domain.jobs import LeasedJob
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.limits import JOB_HEARTBEAT, JOB_LEASE
from eisbach.spokes.worker import JobDoer, JobWorker
from eisbach.testing.manual_clock import ManualClock, settle


class Flaky(DeskJobs):
    """The studio cannot be reached while ``away``."""

    away = False

    async def lease(self, worker: str, kinds: Sequence[str], *, wait_ms: int) -> LeasedJob | None:
        return await self._unless_away(lambda: DeskJobs.lease(self, worker, kinds, wait_ms=wait_ms))

    async def _report(self, job: LeasedJob, verb: str, **body: object) -> None:
        await self._unless_away(lambda: DeskJobs._report(self, job, verb, **body))

    async def _unless_away(self, call: Callable[[], Awaitable[object]]) -> object:
        if self.away:
            raise Unavailable("the studio is away")
        return await call()


@asynccontextmanager
async def working(
    desk: Desk, clock: ManualClock, do: JobDoer, name: str = "w1"
) -> AsyncIterator[tuple[JobWorker, Flaky]]:
    source = Flaky(desk)
    worker = JobWorker(name, ["encode"], source=source, do=do, clock=clock, rng=random.Random(2))
    task = asyncio.create_task(worker.run())
    await settle(200)
    yield worker, source
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def make(desk: Desk, *parts: str) -> None:
    jobs = [{"part": part} for part in parts]
    await desk.ask("POST", "/studio/jobs", {"asset": "wave", "kind": "encode", "home": "eu-central", "jobs": jobs})
    await settle(200)


async def test_jobs_are_done_in_order_and_reported(desk: Desk, clock: ManualClock) -> None:
    done: list[str] = []

    async def do(job: LeasedJob, progress: Callable[[float], None]) -> object:
        done.append(job.part)
        return {"made": job.part}

    async with working(desk, clock, do) as (worker, _):
        await make(desk, "a", "b", "c")
        await settle(500)

    assert done == ["a", "b", "c"]
    assert worker.statistics().done == 3
    assert b'"results":{"a":{"made":"a"}' in bytes((await desk.events())[0].data)


async def test_a_worker_killed_in_a_job_is_relieved_and_the_job_finished(desk: Desk, clock: ManualClock) -> None:
    async def hang(job: LeasedJob, progress: Callable[[float], None]) -> object:
        return await asyncio.Event().wait()

    async def do(job: LeasedJob, progress: Callable[[float], None]) -> object:
        return None

    async with working(desk, clock, hang):
        await make(desk, "a")
    async with working(desk, clock, do, "w2"):
        before = await desk.types()
        await clock.advance(JOB_LEASE.total_seconds() + 2)
        await settle(500)

    assert (before, await desk.types()) == ([], ["tv.transcode.job.completed.v1"])


async def test_a_worker_that_was_relieved_drops_its_work(desk: Desk, clock: ManualClock) -> None:
    dropped = asyncio.Event()

    async def do(job: LeasedJob, progress: Callable[[float], None]) -> object:
        try:
            return await asyncio.Event().wait()
        finally:
            dropped.set()

    async with working(desk, clock, do) as (worker, source):
        await make(desk, "a")
        source.away = True
        await clock.advance(JOB_LEASE.total_seconds())
        relief = await desk.ask("POST", "/studio/jobs:lease", {"worker": "w2", "kinds": ["encode"]})
        source.away = False
        await clock.advance(JOB_HEARTBEAT.total_seconds())
        await settle(200)

        assert dropped.is_set()
        assert (relief["fence"], worker.statistics().lost) == (2, 1)


async def test_a_long_job_keeps_its_lease_and_shows_its_progress(desk: Desk, clock: ManualClock) -> None:
    async def do(job: LeasedJob, progress: Callable[[float], None]) -> object:
        progress(0.4)
        return await asyncio.Event().wait()

    async with working(desk, clock, do):
        await make(desk, "a")
        await clock.advance(10 * JOB_LEASE.total_seconds())
        (batch,) = (await desk.ask("GET", "/studio/jobs"))["jobs"]

    assert batch["leases"] == [{"part": "a", "worker": "w1", "attempt": 1, "progress": 0.4}]


async def test_a_result_is_reported_until_the_studio_hears_it(desk: Desk, clock: ManualClock) -> None:
    gate = asyncio.Event()

    async def do(job: LeasedJob, progress: Callable[[float], None]) -> object:
        await gate.wait()
        return None

    async with working(desk, clock, do) as (_, source):
        await make(desk, "a")
        source.away = True
        gate.set()
        await clock.advance(60)
        source.away = False
        await clock.advance(10)
        await settle(200)

    assert await desk.types() == ["tv.transcode.job.completed.v1"]


async def test_a_source_that_is_to_blame_ends_the_batch_and_anything_else_is_tried_again(
    desk: Desk, clock: ManualClock
) -> None:
    tries: list[int] = []

    async def do(job: LeasedJob, progress: Callable[[float], None]) -> object:
        tries.append(job.attempt)
        if job.attempt < 3:
            raise RuntimeError("ffmpeg crashed")
        raise Invalid("the picture is broken")

    async with working(desk, clock, do):
        await make(desk, "a")
        await clock.advance(60)
        await settle(500)

    assert tries == [1, 2, 3]
    assert b'"reason":"the picture is broken"' in bytes((await desk.events())[0].data)
