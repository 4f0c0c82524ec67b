"""``eisbach run worker``: leases media jobs from the region's studio and runs the tools in their sandbox."""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from starlette.applications import Starlette

from eisbach.bootstrap.cell_ground import aws_place
from eisbach.bootstrap.open_blobs import in_bucket, open_blobs
from eisbach.bootstrap.serve import serve, status_routes
from eisbach.bootstrap.studio_client import HttpStudio
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.confinement import confine, die_with_parent, python_paths
from eisbach.engines.embedded.disk import inline
from eisbach.kernel.errors import Invalid
from eisbach.media.convert import ConvertWork
from eisbach.media.jobs import Workspace
from eisbach.media.tools import MediaTools
from eisbach.media.work import BlobWork, FolderWork, MediaWork
from eisbach.ports.clock import Clock
from eisbach.settings import Secrets, WorkerProcess, read_process
from eisbach.spokes.media_work import MEDIA_KINDS, do_media_job
from eisbach.spokes.worker import JobWorker

__all__ = ["confine_worker", "run", "serve_worker"]

_LOOK_EVERY_S: Final = 2.0
_logger = structlog.get_logger(__name__)


async def run(process: WorkerProcess) -> None:
    """Serve until cancelled; a job in work is then dropped with its tools and free when its lease runs out."""
    die_with_parent()
    secrets = read_process(Path(process.secrets), Secrets)
    confine_worker(process)
    await serve_worker(process, secrets)


def confine_worker(process: WorkerProcess) -> None:
    """Keep this process to its folder and the blob folder, before its first thread."""
    tools = [Path(process.ffmpeg).parent, Path(process.ffprobe).parent, Path(process.packager).parent]
    blobs = [] if in_bucket(process.blobs) else [Path(process.blobs)]
    confinement = confine(read=[*python_paths(), *tools], write=[Path(process.folder), *blobs])
    if not confinement.confined:
        _logger.warning("not_confined", process="worker", detail=confinement.detail)


async def serve_worker(process: WorkerProcess, secrets: Secrets) -> None:
    """The same without confinement: stage ``single`` confines the one process it is."""
    clock = SystemClock()
    tools = MediaTools(
        ffmpeg=Path(process.ffmpeg),
        ffprobe=Path(process.ffprobe),
        packager=Path(process.packager),
        unsafe_media=process.unsafe_media,
    )
    lacking: str | None = "the studio was not asked yet"
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        studio = HttpStudio(session, process.studio, token=secrets.service_token)
        worker = JobWorker(
            process.name,
            MEDIA_KINDS,
            source=studio,
            do=partial(do_media_job, work=await _work(process, stack, clock), tools=tools),
            clock=clock,
            rng=random.Random(),  # noqa: S311 - jitter, not secrets
        )

        async def look() -> None:
            nonlocal lacking
            while True:
                lacking = await studio.reachable()
                await clock.sleep(_LOOK_EVERY_S if lacking is None else _LOOK_EVERY_S / 10)

        routes = status_routes(
            lambda: asdict(worker.statistics()),
            missing=lambda: lacking,
            tokens=(secrets.service_token, secrets.operator_token),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run())
            tasks.create_task(look())
            tasks.create_task(serve(Starlette(routes=routes), host=process.host, port=process.port))


async def _work(process: WorkerProcess, stack: AsyncExitStack, clock: Clock) -> MediaWork:
    """Jobs work in the blob folder, or bring what they need from a bucket to the worker's own."""
    if not in_bucket(process.blobs):
        if process.convert:
            raise Invalid("convert: MediaConvert reads and writes a bucket, and the blobs of this worker are a folder")
        return FolderWork(Workspace(Path(process.blobs)))
    folder = Path(process.folder) / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    blobs = await open_blobs(process.blobs, stack, scratch=folder, disk=inline)
    own = BlobWork(blobs, folder)
    if not process.convert:
        return own
    from eisbach.engines.aws.clients import AwsPlace
    from eisbach.engines.aws.media_convert import open_media_convert

    region, bucket = aws_place(process.blobs, "s3")  # no copies: MediaConvert reads this region's own
    converter = await stack.enter_async_context(open_media_convert(AwsPlace(region=region), role=process.convert))
    return ConvertWork(own, blobs, converter, root=f"s3://{bucket}", clock=clock)
