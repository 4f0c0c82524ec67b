"""The archive of a cell's op log as a function, called every minute by a schedule: sealed segments in a bucket.

Tasks and functions of a cell share its store, and the books of the accounts' keys may have one writer only: the stacks
let one call of this function run at a time, and nothing is kept from call to call but what is open.
Promises: ``cell.archiver``. A call that was ended is made up for by the next one.
"""

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eisbach.bootstrap.cell_ground import aws_place
from eisbach.cell.archiver import Archiver
from eisbach.deploy.aws.documents import CellDocument, read_document
from eisbach.deploy.aws.handlers.sandbox import Context, Sandbox
from eisbach.deploy.aws.handlers.secrets import read_secrets
from eisbach.engines.aws.blobs import S3Blobs
from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.store import DynamoStore, open_dynamo_store
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid

__all__ = ["handle"]


@dataclass(frozen=True, slots=True)
class _Opened:
    cell: str
    store: DynamoStore
    blobs: S3Blobs
    kek: bytes


async def _open(stack: AsyncExitStack) -> _Opened:
    document = read_document()
    if not isinstance(document, CellDocument) or not document.backups:
        raise Invalid("this function archives a cell's log, and its document names no backups; the stacks set both")
    place = AwsPlace(region=document.aws_region)
    secrets = await read_secrets(document.secret, region=document.aws_region)
    if not secrets.backup_key:
        raise Invalid(f"secret {document.secret} has no backup_key; eisbach deploy secrets writes one")
    clients = await stack.enter_async_context(open_clients(place, blobs=True))
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archive-")))
    blobs = S3Blobs(clients, aws_place(document.backups, "s3")[1], scratch=scratch)
    opening = open_dynamo_store(
        place, prefix=document.prefix, cell=document.cell, region=document.region, clock=SystemClock()
    )
    store = await stack.enter_async_context(opening)
    return _Opened(document.cell, store, blobs, bytes.fromhex(secrets.backup_key))


async def _archived(opened: _Opened) -> dict[str, Any]:
    await opened.store.refresh()  # others write it
    # A new archiver each time: another sandbox may have archived since, and have written the books.
    archiver = Archiver(opened.store, opened.blobs, cell=opened.cell, kek=opened.kek, clock=SystemClock())
    done = await archiver.once()
    told = archiver.statistics()
    return {"ops": done, "archived_lsn": told.archived_lsn, "archived_ms": told.archived_ms, "erased": told.erased}


_sandbox = Sandbox(_open)


def handle(_event: dict[str, Any], _context: Context) -> dict[str, Any]:
    """Of Lambda: a schedule's call; how many ops were archived, and up to where."""
    return _sandbox.run(_archived)
