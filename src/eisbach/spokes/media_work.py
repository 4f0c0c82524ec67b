"""What a media worker does with a leased job: probe, encode a chunk, package."""

from collections.abc import Callable

import msgspec

from eisbach.domain.jobs import LeasedJob
from eisbach.kernel.errors import Invalid
from eisbach.media.plan import PACKAGE, TRANSCODE, JobSpec, plan_asset
from eisbach.media.probe import probe_source
from eisbach.media.tools import MediaTools
from eisbach.media.work import MediaWork
from eisbach.spokes.ingest import PROBE, Probed

__all__ = ["MEDIA_KINDS", "do_media_job"]

MEDIA_KINDS = (PROBE, TRANSCODE, PACKAGE)


class _ProbeSpec(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    credit: str = ""


async def do_media_job(
    job: LeasedJob, progress: Callable[[float], None], *, work: MediaWork, tools: MediaTools
) -> object:
    """Do it; its result, or None for a chunk.

    Raises:
        Invalid: the source is to blame, or the job is malformed; no repeat can succeed.
        Exception: try again.
    """
    try:
        if job.kind == PROBE:
            wanted = msgspec.convert(job.spec, _ProbeSpec)
            facts = await probe_source(await work.source(wanted.source), tools)
            plan = plan_asset(facts, source=wanted.source, credit=wanted.credit)
            return Probed(plan=msgspec.structs.replace(plan, whole=work.whole))
        spec = msgspec.convert(job.spec, JobSpec)
    except msgspec.ValidationError as error:
        raise Invalid(f"job {job.job} is malformed: {error}") from error
    return await work.run(spec, tools, progress)
