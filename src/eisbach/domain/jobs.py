"""Leased jobs: work of minutes that survives whoever does it.

Pure rules. A job is leased under a fence that rises with every lease; only the bearer of the current fence may
report. A lease that is not renewed for ``JOB_LEASE`` may be taken over; the wall clock decides only when, the fence
decides who (design section 3: no safety from wall-clock leases). Five attempts, then the whole batch has failed.
A batch is all jobs of one kind for one asset; the last completion says so. Which batch is served next: live work
before on demand, then tenants in turn, then the titles of a tenant in turn. May not know: stores, HTTP, media.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

import msgspec

from eisbach.kernel.errors import Invalid, LeaseLost
from eisbach.kernel.limits import JOB_ATTEMPTS_MAX, JOB_LEASE
from eisbach.kernel.priority import Priority

__all__ = [
    "JOBS_MAX",
    "JOB_COMPLETED",
    "JOB_FAILED",
    "Batch",
    "BatchCompleted",
    "BatchFailed",
    "FinishedJob",
    "Job",
    "LeasedJob",
    "Turns",
    "batch_failed",
    "completed",
    "exhausted",
    "failed",
    "leaseable",
    "leased",
    "new_batch",
    "renewed",
]

JOB_COMPLETED: Final = "tv.transcode.job.completed.v1"
"""The last job of a batch is done; carries every result."""
JOB_FAILED: Final = "tv.transcode.job.failed.v1"
"""A batch was given up; carries the reason."""
_LEASE_MS: Final = int(JOB_LEASE.total_seconds() * 1000)
_RETRY_AFTER_MS: Final = 1000
_RESULT_BYTES_MAX: Final = 32 * 1024
_REASON_CHARS: Final = 500
JOBS_MAX: Final = 20_000
"""Of one batch: twelve hours in chunks of 12 s are 3,600."""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job that is not done."""

    part: str
    """Names it within its batch."""
    spec: dict[str, object] = {}
    """What its worker needs, beside the batch's ``common``."""
    fence: int = 0
    """Rises with every lease; 0: never leased."""
    worker: str = ""
    """Empty: nobody has it."""
    lease_until_ms: int = 0
    after_ms: int = 0
    """Not before: set after a failure."""
    attempts: int = 0
    """Leases so far."""
    progress: float = 0.0
    """Share done, 0 to 1, as the worker says."""
    reason: str = ""
    """Of the last failure."""


class FinishedJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a done job, so that a repeated completion is recognised."""

    part: str
    fence: int
    result: msgspec.Raw = msgspec.Raw(b"null")
    """What its worker reported; all of a batch's go into the event of its completion."""


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All jobs of one kind for one asset."""

    asset: str
    kind: str
    """``probe``, ``transcode``, ``package``."""
    home: str
    """Region whose workers do it."""
    total: int = 0
    priority: Priority = "on_demand"
    tenant: str = ""
    """Whose turn its jobs take: the market that uploaded."""
    written: int = 0
    """Jobs created so far; a creation that was cut off goes on from here."""
    done: int = 0
    created_ms: int = 0
    common: dict[str, object] = {}
    """Part of every job's spec."""
    results: dict[str, msgspec.Raw] = {}
    """Part -> result, of a batch that was begun before results were kept with their jobs."""
    state: str = "active"
    """``active``, ``done``, ``failed``."""
    reason: str = ""


class LeasedJob(msgspec.Struct, frozen=True, kw_only=True):
    """Work for one worker until its lease runs out."""

    job: str
    """``{asset}.{kind}.{part}``."""
    asset: str
    kind: str
    part: str
    fence: int
    attempt: int
    lease_until_ms: int
    spec: dict[str, object]


class BatchCompleted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``tv.transcode.job.completed.v1``."""

    event_type: ClassVar[str] = JOB_COMPLETED

    asset: str
    kind: str
    home: str
    total: int
    results: dict[str, msgspec.Raw]
    """Part -> result, of the jobs that had one."""
    priority: Priority = "on_demand"
    tenant: str = ""


class BatchFailed(msgspec.Struct, frozen=True, kw_only=True):
    """``tv.transcode.job.failed.v1``."""

    event_type: ClassVar[str] = JOB_FAILED

    asset: str
    kind: str
    home: str
    total: int
    reason: str


class Turns:
    """Whose turn it is: the tenant, and of it the title, that was served longest ago; so a film of 3,600 chunks gets
    every second job while another title has one to do, and a tenant of a hundred titles no more than one of one.

    Round robin, which is fair in jobs (chunks of equal length); Nagle, "On Packet Switches with Infinite Storage"
    (RFC 970, 1985). In memory: after a restart of the studio the oldest goes first once.
    """

    def __init__(self) -> None:
        self._count = 0
        self._tenants: dict[tuple[str, str], int] = {}
        self._titles: dict[str, int] = {}

    def order(self, batches: Iterable[Batch]) -> list[Batch]:
        """The batches in the order in which their jobs are to be offered; forgets who is not among them."""
        here = list(batches)
        tenants, titles = {(b.priority, b.tenant) for b in here}, {b.asset for b in here}
        self._tenants = {name: turn for name, turn in self._tenants.items() if name in tenants}
        self._titles = {name: turn for name, turn in self._titles.items() if name in titles}
        return sorted(
            here,
            key=lambda b: (
                b.priority != "live",
                self._tenants.get((b.priority, b.tenant), 0),
                self._titles.get(b.asset, 0),
                b.created_ms,
            ),
        )

    def served(self, batch: Batch) -> None:
        """A job of it was leased: its tenant and its title are last now."""
        self._count += 1
        self._tenants[batch.priority, batch.tenant] = self._titles[batch.asset] = self._count


def new_batch(wanted: Batch, *, parts: list[str]) -> Batch:
    """The batch, without a job yet.

    Raises:
        Invalid: no jobs, too many, or two of one name.
    """
    if not 1 <= len(parts) <= JOBS_MAX:
        raise Invalid(f"{len(parts)} jobs of kind {wanted.kind!r} for asset {wanted.asset!r}; send 1 to {JOBS_MAX}")
    if len(set(parts)) != len(parts):
        raise Invalid(f"jobs of kind {wanted.kind!r} for asset {wanted.asset!r}: part names repeat; each needs its own")
    return msgspec.structs.replace(wanted, total=len(parts))


def leaseable(job: Job, *, now_ms: int) -> bool:
    """Whether somebody may take it: nobody has it and its pause is over, or its lease has run out."""
    if job.worker:
        return job.lease_until_ms <= now_ms
    return job.after_ms <= now_ms


def exhausted(job: Job) -> bool:
    """Whether another lease would be one too many."""
    return job.attempts >= JOB_ATTEMPTS_MAX


def leased(job: Job, *, worker: str, now_ms: int) -> Job:
    """The job in ``worker``'s hands, under a new fence."""
    return msgspec.structs.replace(
        job,
        fence=job.fence + 1,
        worker=worker,
        lease_until_ms=now_ms + _LEASE_MS,
        attempts=job.attempts + 1,
        progress=0.0,
    )


def renewed(job: Job, *, fence: int, progress: float, now_ms: int) -> Job:
    """The lease prolonged; also one that ran out and that nobody took.

    Raises:
        LeaseLost: another worker has it; drop the work.
    """
    _hold(job, fence)
    share = min(1.0, max(job.progress, progress))
    return msgspec.structs.replace(job, lease_until_ms=now_ms + _LEASE_MS, progress=share)


def completed(batch: Batch, job: Job, *, fence: int, result: msgspec.Raw | None) -> Batch:
    """The batch with one job more done.

    Raises:
        LeaseLost: another worker has it; its result counts.
        Invalid: the result is over 32 KiB.
    """
    _hold(job, fence)
    if result is not None and len(result) > _RESULT_BYTES_MAX:
        raise Invalid(f"result of job {job.part!r} has {len(result)} bytes; send at most {_RESULT_BYTES_MAX}")
    done = batch.done + 1
    state = "done" if done == batch.total else batch.state
    return msgspec.structs.replace(batch, done=done, state=state)


def failed(job: Job, *, fence: int, reason: str, now_ms: int) -> Job:
    """The job free again after a pause that grows with its attempts.

    Raises:
        LeaseLost: another worker has it.
    """
    _hold(job, fence)
    pause = _RETRY_AFTER_MS * 2 ** min(job.attempts - 1, 6)
    return msgspec.structs.replace(
        job, worker="", lease_until_ms=0, after_ms=now_ms + pause, progress=0.0, reason=reason[:_REASON_CHARS]
    )


def batch_failed(batch: Batch, *, part: str, reason: str) -> Batch:
    """The batch given up; the part is named where there is more than one."""
    said = reason if batch.total == 1 else f"{part}: {reason}"
    return msgspec.structs.replace(batch, state="failed", reason=said[:_REASON_CHARS])


def _hold(job: Job, fence: int) -> None:
    if job.fence != fence or not job.worker:
        raise LeaseLost(
            f"job {job.part!r} is at fence {job.fence} with {job.worker or 'nobody'!r}, you hold {fence}; drop the work"
        )
