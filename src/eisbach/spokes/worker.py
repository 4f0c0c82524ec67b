"""A worker: leases one job at a time, does it, reports under its fence.

Promises: whoever is killed is relieved when its lease runs out; a worker that learns it was relieved drops its work
and its tools; a report whose answer was lost is repeated. May not know: HTTP, what a job does.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import structlog

from eisbach.domain.jobs import LeasedJob
from eisbach.hub.delays import delay_after
from eisbach.kernel.errors import Invalid, LeaseLost, Retryable
from eisbach.kernel.limits import JOB_HEARTBEAT
from eisbach.ports.clock import Clock

__all__ = ["JobDoer", "JobSource", "JobWorker", "WorkerStatistics"]

_WAIT_MS: Final = 8000
_FIRST_DELAY: Final = timedelta(milliseconds=200)
_LONGEST_DELAY: Final = timedelta(seconds=5)

_logger = structlog.get_logger(__name__)

JobDoer = Callable[[LeasedJob, Callable[[float], None]], Awaitable[object]]
"""Does a job, calling with the share done; its result as JSON-able value or None.

``Invalid`` means that no repeat can succeed; anything else raised is tried again. Cancelling it ends its tools."""


class JobSource(Protocol):
    """Where jobs come from; errors are those of the tree."""

    async def lease(self, worker: str, kinds: Sequence[str], *, wait_ms: int) -> LeasedJob | None:
        """A job, or None after ``wait_ms``."""
        ...

    async def heartbeat(self, job: LeasedJob, *, progress: float) -> None:
        """Prolong the lease."""
        ...

    async def complete(self, job: LeasedJob, result: object) -> None:
        """Report success."""
        ...

    async def fail(self, job: LeasedJob, *, reason: str, final: bool) -> None:
        """Report failure."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatistics:
    """Since start."""

    done: int
    failed: int
    lost: int
    """Jobs that somebody else took over."""
    job: str | None
    """In work now."""
    progress: float


class JobWorker:
    """One job at a time."""

    def __init__(
        self, name: str, kinds: Sequence[str], *, source: JobSource, do: JobDoer, clock: Clock, rng: random.Random
    ) -> None:
        self._name, self._kinds = name, kinds
        self._source, self._do, self._clock, self._rng = source, do, clock, rng
        self._done = self._failed = self._lost = self._failures = 0
        self._job: LeasedJob | None = None
        self._progress = 0.0

    async def run(self) -> None:
        """Work until cancelled; a job in work then ends with its tools, and is free when its lease runs out."""
        while True:
            try:
                job = await self._source.lease(self._name, self._kinds, wait_ms=_WAIT_MS)
                self._failures = 0
            except Retryable as error:
                await self._pause(error)
                continue
            if job is not None:
                await self._work(job)

    def statistics(self) -> WorkerStatistics:
        """What happened since start, and what is in work."""
        return WorkerStatistics(
            done=self._done,
            failed=self._failed,
            lost=self._lost,
            job=self._job.job if self._job else None,
            progress=self._progress,
        )

    async def _work(self, job: LeasedJob) -> None:
        self._job, self._progress = job, 0.0
        _logger.info("job_begins", job=job.job, attempt=job.attempt)
        work = asyncio.ensure_future(self._do(job, self._note))
        beat = asyncio.create_task(self._beat(job, work), name=f"heartbeat of {job.job}")
        try:
            await asyncio.wait({work})
            await self._report(job, work)
        except LeaseLost as error:
            self._lost += 1
            _logger.warning("job_lost", job=job.job, reason=str(error))
        finally:
            work.cancel()
            beat.cancel()
            await asyncio.gather(work, beat, return_exceptions=True)
            self._job = None

    async def _report(self, job: LeasedJob, work: "asyncio.Future[object]") -> None:
        """Repeat until the studio has heard it; the beat goes on meanwhile.

        Raises:
            LeaseLost: somebody else has it.
        """
        if work.cancelled():
            raise LeaseLost(f"job {job.job} was dropped: its heartbeat was refused")
        error = work.exception()
        if error is None:
            await self._until_heard(lambda: self._source.complete(job, work.result()))
            self._done += 1
            _logger.info("job_done", job=job.job)
            return
        reason = str(error) if isinstance(error, Invalid) else f"{type(error).__name__}: {error}"
        self._failed += 1
        _logger.warning("job_failed", job=job.job, attempt=job.attempt, reason=reason)
        final = isinstance(error, Invalid)
        await self._until_heard(lambda: self._source.fail(job, reason=reason, final=final))

    async def _until_heard(self, report: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await report()
            except Retryable as error:
                await self._pause(error)
            else:
                self._failures = 0
                return

    async def _beat(self, job: LeasedJob, work: "asyncio.Future[object]") -> None:
        while True:
            await self._clock.sleep(JOB_HEARTBEAT.total_seconds())
            try:
                await self._source.heartbeat(job, progress=self._progress)
            except LeaseLost:
                work.cancel()
                return
            except Retryable as error:
                # The studio is away: go on. Whether the lease still holds is for the next answer to say.
                _logger.warning("heartbeat_unheard", job=job.job, error=str(error))

    async def _pause(self, error: Retryable) -> None:
        self._failures += 1
        if self._failures in (1, 100):
            _logger.warning("studio_away", worker=self._name, failures=self._failures, error=str(error))
        delay = delay_after(self._failures, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
        await self._clock.sleep(delay.total_seconds())

    def _note(self, share: float) -> None:
        self._progress = share
