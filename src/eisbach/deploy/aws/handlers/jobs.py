"""The reconciler of a region's media work as a function, called every minute by a schedule.

Promises: ``spokes.job_reconciler``: work that events lost is begun anew, and what a region that somebody took out of
service (``POST /studio/regions/REGION``) began and left is begun anew here, from the copy of its upload. How long
there was no news is known to a sandbox only: a new one waits anew, and never acts too early.
"""

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eisbach.bootstrap.cell_ground import aws_place
from eisbach.deploy.aws.documents import JobsDocument, read_document
from eisbach.deploy.aws.handlers.sandbox import Context, Sandbox
from eisbach.deploy.aws.handlers.secrets import read_secrets
from eisbach.engines.aws.blobs import S3Blobs
from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid
from eisbach.media.work import whole_asset
from eisbach.spokes.job_reconciler import JobReconciler

__all__ = ["handle"]


@dataclass(frozen=True, slots=True)
class _Opened:
    reconciler: JobReconciler


async def _open(stack: AsyncExitStack) -> _Opened:
    import aiohttp

    from eisbach.bootstrap.studio_client import HttpJobDesk, HttpStudio

    document = read_document()
    if not isinstance(document, JobsDocument):
        raise Invalid("this function compares media work, and its document is of something else; the stacks set both")
    secrets = await read_secrets(document.secret, region=document.aws_region)
    clients = await stack.enter_async_context(open_clients(AwsPlace(region=document.aws_region), blobs=True))
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobs-")))
    blobs = S3Blobs(clients, aws_place(document.blobs, "s3")[1], scratch=scratch)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    desk = HttpJobDesk(HttpStudio(session, document.studio, token=secrets.service_token))
    # No asset is ever said to be lost: that every region lacks its files is what nobody here asks (media-copies).
    return _Opened(
        JobReconciler(
            desk, region=document.region, regions=document.regions, packaged=partial(whole_asset, blobs),
            lost=tuple, clock=SystemClock(),
        )
    )  # fmt: skip


async def _compared(opened: _Opened) -> dict[str, Any]:
    await opened.reconciler.reconcile()
    return {"steps": dict(opened.reconciler.statistics().steps)}


_sandbox = Sandbox(_open)


def handle(_event: dict[str, Any], _context: Context) -> dict[str, Any]:
    """Of Lambda: a schedule's call; the steps that this sandbox has taken so far."""
    return _sandbox.run(_compared)
