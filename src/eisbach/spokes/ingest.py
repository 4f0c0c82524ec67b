"""From an upload to a published title: three spokes that only meet through events.

``transcode``: received -> probe job; probed -> chunk jobs; failed -> asset rejected with the reason.
``package``: all chunks done -> package job; packaged -> asset ready.
``publish``: asset ready -> title published, when the upload asked for it.
All run in the region where the upload happened; the other region learns of the results by their events.
"""

from typing import Final

import msgspec

from eisbach.domain.catalog import Asset
from eisbach.domain.ingest import ASSET_READY, ASSET_RECEIVED, AssetReceived
from eisbach.domain.jobs import JOB_COMPLETED, JOB_FAILED, BatchCompleted, BatchFailed
from eisbach.hub.authoring import spoke
from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import Event
from eisbach.media.plan import PACKAGE, TRANSCODE, JobSpec, Plan, plan_jobs
from eisbach.ports.spoke import Effects, SpokeSpec

__all__ = ["INGEST_SPOKES", "PROBE", "Probed", "package", "publish", "transcode"]

PROBE: Final = "probe"


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a probe job."""

    plan: Plan


class _Wish(msgspec.Struct, frozen=True):
    """What ``publish`` remembers of an upload until its asset is ready."""

    title: str
    publish: bool


@spoke("transcode", on=[ASSET_RECEIVED, JOB_COMPLETED, JOB_FAILED])
async def transcode(event: Event, effects: Effects) -> None:
    """Have an upload judged, then encoded in chunks."""
    if event.type == ASSET_RECEIVED:
        received = msgspec.json.decode(event.data, type=AssetReceived)
        effects.command(
            "/studio/jobs",
            {
                "asset": received.asset, "kind": PROBE, "home": received.home, "jobs": [{"part": PROBE}],
                "common": {"source": received.source, "credit": received.credit},
                "priority": received.priority, "tenant": received.tenant,
            },
        )  # fmt: skip
    elif event.type == JOB_FAILED:
        failed = msgspec.json.decode(event.data, type=BatchFailed)
        effects.command(f"/studio/assets/{failed.asset}/reject", {"reason": failed.reason})
    else:
        done = msgspec.json.decode(event.data, type=BatchCompleted)
        if done.kind == PROBE:
            jobs = [job for job in plan_jobs(_plan(done), done.asset) if job.kind == TRANSCODE]
            effects.command("/studio/jobs", _batch(jobs, done))


@spoke("package", on=JOB_COMPLETED)
async def package(event: Event, effects: Effects) -> None:
    """Have the chunks packaged; the plan is remembered from the probe, since no chunk knows all of it."""
    done = msgspec.json.decode(event.data, type=BatchCompleted)
    remembered = f"plan/{done.asset}"
    if done.kind == PROBE:
        effects.put(remembered, msgspec.json.encode(_plan(done)))
    elif done.kind == TRANSCODE:
        plan = await effects.get(remembered)
        if plan is None:
            raise Invalid(f"asset {done.asset!r} is encoded, but its probe was never seen here; upload it again")
        jobs = plan_jobs(msgspec.json.decode(plan, type=Plan), done.asset)
        effects.command("/studio/jobs", _batch([job for job in jobs if job.kind == PACKAGE], done))
    elif done.kind == PACKAGE:
        asset = msgspec.json.decode(_result(done, PACKAGE), type=Asset)
        effects.command(f"/studio/assets/{asset.id}/ready", msgspec.to_builtins(asset))


@spoke("publish", on=[ASSET_RECEIVED, ASSET_READY])
async def publish(event: Event, effects: Effects) -> None:
    """Publish what asked for it; what came another way than by upload is published by whoever brought it."""
    if event.type == ASSET_RECEIVED:
        received = msgspec.json.decode(event.data, type=AssetReceived)
        wish = _Wish(received.title, received.publish)
        effects.put(f"wish/{received.asset}", msgspec.json.encode(wish))
        return
    raw = await effects.get(f"wish/{event.subject}")
    if raw is not None and (wish := msgspec.json.decode(raw, type=_Wish)).publish:
        effects.command(f"/studio/titles/{wish.title}/publish", {"asset": event.subject})


INGEST_SPOKES: Final[tuple[SpokeSpec, ...]] = (transcode, package, publish)


def _result(done: BatchCompleted, part: str) -> bytes:
    raw = done.results.get(part)
    if raw is None:
        raise Invalid(f"batch {done.kind!r} of asset {done.asset!r} is done without the result of job {part!r}")
    return bytes(raw)


def _plan(done: BatchCompleted) -> Plan:
    return msgspec.json.decode(_result(done, PROBE), type=Probed).plan


def _batch(jobs: list[JobSpec], before: BatchCompleted) -> dict[str, object]:
    """The plan is the same in every job: it is sent once. Home, priority and turn are those of the batch before it."""
    common = msgspec.to_builtins(jobs[0])
    del common["part"]
    return {
        "asset": jobs[0].asset, "kind": jobs[0].kind, "home": before.home, "common": common,
        "priority": before.priority, "tenant": before.tenant, "jobs": [{"part": job.part} for job in jobs],
    }  # fmt: skip
