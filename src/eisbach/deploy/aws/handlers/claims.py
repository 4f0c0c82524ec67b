"""Payloads above 64 KiB of a region: where they are read, and the function that sweeps them every hour.

Promises: ``hub.claim_check``. What waits in this region for a claim of another one is brought here before that one may
sweep it; swept is what is older than 35 days and no waiting event and no dead letter of a spoke of this region names.
What still lies in a queue is younger: SQS keeps it for 14 days, and for 14 more in the dead-letter queue.
"""

import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eisbach.bootstrap.cell_ground import aws_place
from eisbach.deploy.aws.documents import ClaimsDocument, SpokeDocument, read_document
from eisbach.deploy.aws.handlers.sandbox import Context, Sandbox
from eisbach.engines.aws.blobs import S3Blobs
from eisbach.engines.aws.clients import AwsClients, AwsPlace, open_clients
from eisbach.engines.aws.spoke_store import DynamoSpokeStore
from eisbach.engines.embedded.clock import SystemClock
from eisbach.hub.claim_check import ClaimChecks
from eisbach.kernel.errors import Invalid, NotFound, Unavailable

__all__ = ["claims_of", "handle"]


@dataclass(frozen=True, slots=True)
class _Opened:
    store: DynamoSpokeStore
    claims: ClaimChecks


async def claims_of(
    document: SpokeDocument | ClaimsDocument, clients: AwsClients, stack: AsyncExitStack
) -> ClaimChecks:
    """Of this region's bucket; a claim of another region is read from the copy that S3 has made here."""
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claims-")))

    def bucket(place: str) -> S3Blobs:
        return S3Blobs(clients, aws_place(place, "s3")[1], scratch=scratch)

    async def elsewhere(region: str, key: str) -> AsyncIterator[bytes]:
        if region not in document.copies:
            raise NotFound(f"no blobs of region {region[:40]!r} are copied to {document.region}")
        try:
            yield await bucket(document.copies[region]).read(key)
        except NotFound as error:  # S3 copies within a quarter of an hour: the event waits for it
            raise Unavailable(f"{key} of {region} is not copied to {document.region} yet") from error

    return ClaimChecks(bucket(document.blobs), region=document.region, clock=SystemClock(), elsewhere=elsewhere)


async def _open(stack: AsyncExitStack) -> _Opened:
    document = read_document()
    if not isinstance(document, ClaimsDocument):
        raise Invalid("this function sweeps claims, and its document is of something else; the stacks set both")
    clients = await stack.enter_async_context(open_clients(AwsPlace(region=document.aws_region), blobs=True))
    store = DynamoSpokeStore(
        clients, table=document.state_table, spokes=document.spokes, clock=SystemClock(),
        rng=random.Random(),  # noqa: S311 - it settles nothing
    )  # fmt: skip
    return _Opened(store, await claims_of(document, clients, stack))


async def _tend(opened: _Opened) -> dict[str, int]:
    fetched = opened.claims.fetched
    swept = await opened.claims.tend(await opened.store.claims())
    return {"brought": opened.claims.fetched - fetched, "swept": swept}


_sandbox = Sandbox(_open)


def handle(_event: dict[str, Any], _context: Context) -> dict[str, int]:
    """Of Lambda: a schedule's call; how many claims were brought here and how many swept."""
    return _sandbox.run(_tend)
