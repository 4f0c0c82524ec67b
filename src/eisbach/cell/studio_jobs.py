"""Leased jobs: created in batches, handed out under fences, finished once.

All jobs of a home region lie in one slot (``jobs/{region}``), so that a job and its batch change in one transaction:
``batch/`` (active), ``open/`` (not done), ``done/`` (kept so that a repeated completion is recognised), ``past/``.
A worker asks its own region's studio only; jobs of another home are never handed out here.
Live work goes first, then tenants and their titles take turns (``domain.jobs.Turns``).
May not know: what a job does.
"""

import re
from typing import Final

import msgspec

from eisbach.cell.routes import Answer, Call, Route, json_answer, no_content
from eisbach.cell.studio_items import Decision, Found, StudioItems, studio_route
from eisbach.domain.ingest import plain_id
from eisbach.domain.jobs import (
    JOB_COMPLETED,
    JOB_FAILED,
    Batch,
    BatchCompleted,
    BatchFailed,
    FinishedJob,
    Job,
    LeasedJob,
    Turns,
    batch_failed,
    completed,
    exhausted,
    failed,
    leaseable,
    leased,
    new_batch,
    renewed,
)
from eisbach.hub.nudge import Nudge
from eisbach.kernel.errors import Invalid, LeaseLost, NotFound
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ids import parse_id
from eisbach.kernel.priority import Priority
from eisbach.ports.clock import Clock

__all__ = ["REGIONS", "Fenced", "LeaseRequest", "NewJobs", "Region", "StudioJobs"]

REGIONS: Final = "regions"
"""Key under which regions that were taken out of service are kept, by name."""
_WRITTEN_AT_ONCE: Final = 16
_WAIT_MS_MAX: Final = 10_000
_PAGE: Final = 200
_PAST_SHOWN: Final = 50
_TENANT_CHARS: Final = 64
_JOB_ID: Final = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})\.([a-z]{1,16})\.([a-z0-9][a-z0-9_-]{0,63})", re.ASCII)
_PART: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


class NewJobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch to do: every job needs a ``part``, its name within the batch; further keys go to its worker."""

    asset: str
    kind: str
    home: str
    jobs: list[dict[str, object]]
    common: dict[str, object] = {}
    """Part of every job's spec, so that it is sent and kept once."""
    priority: Priority = "on_demand"
    tenant: str = ""
    """Whose turn these jobs take; at most 64 characters."""


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks for work, and what it can do."""

    worker: str
    kinds: list[str]
    wait_ms: int = 0
    """Wait this long for a job when there is none; at most 10,000."""


class Fenced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker's report; only under the job's current fence."""

    fence: int
    progress: float = 0.0
    result: msgspec.Raw = msgspec.Raw(b"null")
    """JSON of at most 32 KiB."""
    reason: str = ""
    final: bool = False
    """With ``fail``: no repeat can succeed, the batch has failed."""


class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a region's workers may go on; known in every region by way of the op log."""

    serves: bool


class StudioJobs:
    """The calls of jobs."""

    def __init__(self, items: StudioItems, *, clock: Clock) -> None:
        self._items, self._clock = items, clock
        self._pk = f"jobs/{items.region}"
        self._fresh: set[Nudge] = set()
        self._turns = Turns()

    def routes(self) -> list[Route]:
        """For spokes and workers; none for viewers."""
        return [
            studio_route("POST", "jobs", self.create, "Create a batch of jobs", body=NewJobs),
            studio_route("GET", "jobs", self.show, "Batches in work, and the last ones"),
            studio_route("POST", "jobs:lease", self.lease, "Take a job, or 204", body=LeaseRequest),
            studio_route("POST", "jobs/{job}/heartbeat", self.heartbeat, "Prolong a lease", body=Fenced),
            studio_route("POST", "jobs/{job}/complete", self.complete, "A job is done", body=Fenced),
            studio_route("POST", "jobs/{job}/fail", self.fail, "A job could not be done", body=Fenced),
        ]

    async def create(self, call: Call) -> Answer:
        """Write the batch, then its jobs; a repeat goes on where the first try stopped, and is otherwise no change.

        Raises:
            Invalid: of another home, without jobs, or not well-formed.
        """
        asked: NewJobs = call.body
        asset = plain_id(asked.asset, what="asset")
        if asked.home != self._items.region:
            raise Invalid(f"jobs of home {asked.home!r} sent to {self._items.region!r}; send them to their home")
        if re.fullmatch(r"[a-z]{1,16}", asked.kind, re.ASCII) is None:
            raise Invalid(f"kind {asked.kind[:80]!r} is not 1 to 16 of a-z")
        jobs = [_job(job) for job in asked.jobs]
        parts = [job.part for job in jobs]
        batch = Batch(
            asset=asset, kind=asked.kind, home=asked.home, priority=asked.priority, tenant=asked.tenant[:_TENANT_CHARS],
            created_ms=self._clock.wall_ms(), common=asked.common,
        )  # fmt: skip
        wanted = new_batch(batch, parts=parts)
        while (batch := await self._items.settled(lambda: self._write_some(wanted, jobs))).written < batch.total:
            continue
        self._nudge()
        return json_answer({"asset": asset, "kind": batch.kind, "total": batch.total, "done": batch.done})

    async def _write_some(self, wanted: Batch, jobs: list[Job]) -> Batch:
        past = await self._items.read(self._pk, _sk("past", wanted.asset, wanted.kind), Batch)
        if past is not None:
            return past.value
        found = await self._items.read(self._pk, _sk("batch", wanted.asset, wanted.kind), Batch)
        batch = found.value if found else wanted
        some = jobs[batch.written : batch.written + _WRITTEN_AT_ONCE]
        if not some:
            return batch
        batch = msgspec.structs.replace(batch, written=batch.written + len(some))
        name = _sk("batch", batch.asset, batch.kind)
        changes: dict[str, msgspec.Struct | None] = {name: batch}
        changes |= {_sk("open", batch.asset, batch.kind, job.part): job for job in some}
        await self._items.write(Decision(pk=self._pk, reads={name: found.version if found else None}, changes=changes))
        return batch

    async def show(self, call: Call) -> Answer:
        """Per batch how far it is; ``?asset=`` shows every batch of one asset."""
        asset = call.query.get("asset", "")
        only = f"{parse_id(asset, what='asset')}/" if asset else ""
        active = await self._items.page(self._pk, f"batch/{only}", Batch)
        past = await self._items.page(self._pk, f"past/{only}", Batch, limit=_PAST_SHOWN)
        jobs = []
        for batch in (found.value for found in (*active, *past)):
            at_work = []
            if batch.state == "active":
                page = await self._items.page(self._pk, _sk("open", batch.asset, batch.kind, ""), Job, limit=_PAGE)
                at_work = [found.value for found in page if found.value.worker]
            jobs.append(
                {
                    "region": self._items.region, "asset": batch.asset, "kind": batch.kind, "done": batch.done,
                    "total": batch.total, "state": batch.state, "reason": batch.reason,
                    "progress": round((batch.done + sum(job.progress for job in at_work)) / batch.total, 4),
                    "leases": [
                        {"part": j.part, "worker": j.worker, "attempt": j.attempts, "progress": j.progress}
                        for j in at_work
                    ],
                }
            )  # fmt: skip
        return json_answer({"jobs": jobs})

    async def sweep(self, asset: str) -> int:
        """Forget every batch of an asset, in whatever state, without an event; the number of batches.

        Batches first: a job without its batch is never handed out, and reports about it are refused.
        """
        kinds: dict[str, type[msgspec.Struct]] = {"batch": Batch, "past": Batch, "open": Job, "done": FinishedJob}
        swept = 0
        for word, kind in kinds.items():
            prefix = _sk(word, asset, "")
            while page := await self._items.page(self._pk, prefix, kind, limit=_WRITTEN_AT_ONCE):
                await self._items.write(Decision(pk=self._pk, changes={found.sk: None for found in page}))
                swept += len(page) if word in ("batch", "past") else 0
        return swept

    async def lease(self, call: Call) -> Answer:
        """The first free job of the batch whose turn it is, or 204 when ``wait_ms`` has passed without one."""
        asked: LeaseRequest = call.body
        worker = parse_id(asked.worker, what="worker")
        until = self._clock.monotonic_ms() + min(max(asked.wait_ms, 0), _WAIT_MS_MAX)
        nudge = Nudge()
        self._fresh.add(nudge)
        try:
            while True:
                job = await self._items.settled(lambda: self._take(worker, asked.kinds))
                left = until - self._clock.monotonic_ms()
                if job is not None:
                    return json_answer(job)
                if left <= 0:
                    return no_content()
                # Leases also run out without a nudge: look again at least every second.
                await nudge.wait(self._clock, min(1.0, left / 1000))
        finally:
            self._fresh.discard(nudge)

    async def _take(self, worker: str, kinds: list[str]) -> LeasedJob | None:
        now = self._clock.wall_ms()
        here = await self._items.read(REGIONS, self._items.region, Region)
        if here is not None and not here.value.serves:
            return None  # evacuated: another region takes over, and would do the same work
        batches = await self._items.page(self._pk, "batch/", Batch)
        by_name = {(found.value.asset, found.value.kind): found for found in batches}
        for batch in self._turns.order(found.value for found in batches):
            if batch.kind not in kinds:
                continue
            found = by_name[batch.asset, batch.kind]
            job = await self._free(batch, now)
            if job is None:
                continue
            if exhausted(job.value):
                reason = job.value.reason or f"worker {job.value.worker!r} vanished"
                await self._give_up(found, job.value.part, f"given up after {job.value.attempts} attempts: {reason}")
                continue
            taken = leased(job.value, worker=worker, now_ms=now)
            await self._items.write(Decision(pk=self._pk, reads={job.sk: job.version}, changes={job.sk: taken}))
            self._turns.served(batch)
            return LeasedJob(
                job=f"{batch.asset}.{batch.kind}.{taken.part}", asset=batch.asset, kind=batch.kind, part=taken.part,
                fence=taken.fence, attempt=taken.attempts, lease_until_ms=taken.lease_until_ms,
                spec={**batch.common, **taken.spec},
            )  # fmt: skip
        return None

    async def _free(self, batch: Batch, now: int) -> Found[Job] | None:
        prefix, after = _sk("open", batch.asset, batch.kind, ""), None
        while True:
            page = await self._items.page(self._pk, prefix, Job, after=after, limit=_PAGE)
            for found in page:
                if leaseable(found.value, now_ms=now):
                    return found
            if len(page) < _PAGE:
                return None
            after = page[-1].sk

    async def heartbeat(self, call: Call) -> Answer:
        """Prolong the lease.

        Raises:
            LeaseLost: drop the work.
        """

        async def decide() -> Answer:
            job = await self._job(call)
            held = renewed(job.value, fence=call.body.fence, progress=call.body.progress, now_ms=self._clock.wall_ms())
            await self._items.write(Decision(pk=self._pk, reads={job.sk: job.version}, changes={job.sk: held}))
            return json_answer({"lease_until_ms": held.lease_until_ms})

        return await self._items.settled(decide)

    async def complete(self, call: Call) -> Answer:
        """Done; a repeat under the same fence is no change. The last of a batch says so with all results.

        Raises:
            LeaseLost: another worker has it or had it.
        """

        async def decide() -> Answer:
            asset, kind, part = _parse(call.params["job"])
            done = await self._items.read(self._pk, _sk("done", asset, kind, part), FinishedJob)
            if done is not None:
                if done.value.fence != call.body.fence:
                    raise LeaseLost(f"job {call.params['job']!r} was done under fence {done.value.fence}, not yours")
                return json_answer({"done": True})
            job, batch = await self._job(call), await self._batch(asset, kind)
            after = completed(batch.value, job.value, fence=call.body.fence, result=_result(call.body))
            finished = FinishedJob(part=part, fence=call.body.fence, result=call.body.result)
            changes: dict[str, msgspec.Struct | None] = {
                job.sk: None,
                _sk("done", asset, kind, part): finished,
                batch.sk: after if after.state == "active" else None,
            }
            events = []
            if after.state == "done":
                changes[_sk("past", asset, kind)] = msgspec.structs.replace(after, common={}, results={})
                events = [_draft(JOB_COMPLETED, after, await self._results(after, finished))]
            reads = {job.sk: job.version, batch.sk: batch.version}
            await self._items.write(Decision(pk=self._pk, reads=reads, changes=changes, events=events))
            return json_answer({"done": True})

        answer = await self._items.settled(decide)
        self._nudge()
        return answer

    async def _results(self, batch: Batch, last: FinishedJob) -> dict[str, msgspec.Raw]:
        """Every result; they lie with their jobs, since together they may be larger than an item."""
        found, prefix, after = dict(batch.results), _sk("done", batch.asset, batch.kind, ""), None
        while page := await self._items.page(self._pk, prefix, FinishedJob, after=after, limit=_PAGE):
            found |= {one.value.part: one.value.result for one in page}
            after = page[-1].sk
        found[last.part] = last.result
        return {part: result for part, result in found.items() if bytes(result) != b"null"}

    async def fail(self, call: Call) -> Answer:
        """Free the job for another try, or with ``final`` give the batch up.

        Raises:
            LeaseLost: another worker has it.
        """

        async def decide() -> Answer:
            asset, kind, part = _parse(call.params["job"])
            job, now = await self._job(call), self._clock.wall_ms()
            free = failed(job.value, fence=call.body.fence, reason=call.body.reason, now_ms=now)
            if call.body.final:
                await self._give_up(await self._batch(asset, kind), part, call.body.reason)
            else:
                await self._items.write(Decision(pk=self._pk, reads={job.sk: job.version}, changes={job.sk: free}))
            return json_answer({"final": call.body.final, "after_ms": free.after_ms})

        return await self._items.settled(decide)

    async def _give_up(self, batch: Found[Batch], part: str, reason: str) -> None:
        """The batch has failed; its open jobs are swept, and whoever works on one learns it by its next report."""
        lost = batch_failed(batch.value, part=part, reason=reason)
        name = _sk("past", lost.asset, lost.kind)
        await self._items.write(
            Decision(
                pk=self._pk, reads={batch.sk: batch.version},
                changes={batch.sk: None, name: msgspec.structs.replace(lost, common={})},
                events=[_draft(JOB_FAILED, lost)],
            )
        )  # fmt: skip
        prefix = _sk("open", lost.asset, lost.kind, "")
        while page := await self._items.page(self._pk, prefix, Job, limit=_WRITTEN_AT_ONCE):
            await self._items.write(Decision(pk=self._pk, changes={found.sk: None for found in page}))

    async def _job(self, call: Call) -> Found[Job]:
        asset, kind, part = _parse(call.params["job"])
        found = await self._items.read(self._pk, _sk("open", asset, kind, part), Job)
        if found is None:
            raise LeaseLost(
                f"job {call.params['job']!r} is not open here: done, given up, or never made; drop the work"
            )
        return found

    async def _batch(self, asset: str, kind: str) -> Found[Batch]:
        found = await self._items.read(self._pk, _sk("batch", asset, kind), Batch)
        if found is None:
            raise LeaseLost(f"batch {kind!r} of asset {asset!r} is not active; drop the work")
        return found

    def _nudge(self) -> None:
        for nudge in self._fresh:
            nudge.nudge()


def _result(report: Fenced) -> msgspec.Raw | None:
    return None if bytes(report.result) == b"null" else report.result


def _sk(*words: str) -> str:
    return "/".join(words)


def _parse(job: str) -> tuple[str, str, str]:
    match = _JOB_ID.fullmatch(job)
    if match is None:
        raise NotFound(f"{job[:80]!r} is not a job; use the id that the lease gave")
    asset, kind, part = match.groups()
    return asset, kind, part


def _job(asked: dict[str, object]) -> Job:
    part = asked.get("part")
    if not isinstance(part, str) or _PART.fullmatch(part) is None:
        raise Invalid(f"job part {str(part)[:80]!r} is not 1 to 64 of a-z, 0-9, '_', '-'")
    return Job(part=part, spec=asked)


def _draft(type_: str, batch: Batch, results: dict[str, msgspec.Raw] | None = None) -> EventDraft:
    about = {"asset": batch.asset, "kind": batch.kind, "home": batch.home}
    data = (
        BatchFailed(**about, total=batch.total, reason=batch.reason)
        if results is None
        else BatchCompleted(**about, total=batch.total, results=results, priority=batch.priority, tenant=batch.tenant)
    )
    return EventDraft(type_, batch.asset, msgspec.json.encode(data))
