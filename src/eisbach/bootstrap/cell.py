"""``eisbach run cell``: compose a cell or the studio, or both in one process, and serve it until told to stop.

``open_cell`` is the composition; the stages ``single`` and ``hub`` use it too. The order matters: confinement before
the first thread (Landlock binds only threads that come later), stores before what follows them, all of it before the
first request. Closing is the same backwards: requests end, followers end, the stores close.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from starlette.types import ASGIApp

from eisbach.bootstrap.cell_ground import aws_place
from eisbach.bootstrap.cell_parts import OpenCell, Parts, compose, open_slots, projection_name
from eisbach.bootstrap.followers import Followers
from eisbach.bootstrap.host import Host, system_host
from eisbach.bootstrap.open_blobs import in_bucket
from eisbach.engines.embedded.confinement import Confinement, confine, die_with_parent, python_paths
from eisbach.engines.embedded.disk import DiskThread
from eisbach.kernel.errors import EisbachError, FileDamaged, Unavailable
from eisbach.kernel.slots import STUDIO_GROUP
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.settings import CellProcess, Secrets, read_process

__all__ = ["OpenCell", "confine_cell", "open_cell", "open_event_log", "run", "serve_cell", "until_not_ours"]

_LOOK_EVERY_S = 0.5
_logger = structlog.get_logger(__name__)


async def run(process: CellProcess) -> None:
    """Serve until cancelled; then finish requests and close the stores."""
    die_with_parent()
    secrets = read_process(Path(process.secrets), Secrets)
    confinement = confine_cell(process)
    async with open_cell(process, secrets, confinement=confinement) as cell:
        await serve_cell(process, cell)


async def serve_cell(process: CellProcess, cell: OpenCell) -> None:
    """Serve until cancelled, or until the cell may not go on.

    Raises:
        Unavailable, FileDamaged: as ``until_not_ours``.
    """
    from eisbach.bootstrap.serve import serve

    serving = asyncio.create_task(serve(cell.app, host=process.host, port=process.port))
    replaced = asyncio.create_task(until_not_ours(cell))
    try:
        await asyncio.wait({serving, replaced}, return_when=asyncio.FIRST_COMPLETED)
        if replaced.done():
            replaced.result()
    finally:
        cell.stop()
        for task in (serving, replaced):
            task.cancel()
        await asyncio.wait({serving, replaced})


async def until_not_ours(cell: OpenCell) -> None:
    """Look now and then whose the store is.

    A process that was stopped or cut off may wake up after another one has taken its store over. Its writes are refused
    by the store; but an edge sends nobody on after a 503 (shed is not dead), so it must leave its address.

    Raises:
        Unavailable: another process has opened the store, or its file has gone.
        FileDamaged: a store is, or the catalogue's file: served from memory it would stand still, and what is taken
            down would go on playing. The twin serves meanwhile.
    """
    stores = [cell.store, *([cell.studio_store] if cell.studio_store else [])]
    why = ""
    while not why:
        await asyncio.sleep(_LOOK_EVERY_S)
        if damage := cell.damage():
            raise FileDamaged(damage)
        try:
            why = next(filter(None, [await store.not_ours() for store in stores]), "")
        except FileDamaged:
            raise
        except EisbachError:  # a disk that does not read now says nothing about whose it is
            continue
    raise Unavailable(why)


def confine_cell(process: CellProcess) -> Confinement:
    """Keep this process to the cell's own folder (and the blobs, for uploads and media of the studio)."""
    write = [Path(process.folder)]
    if process.blobs and not in_bucket(process.blobs):
        write.append(Path(process.blobs))
    if process.backups and not in_bucket(process.backups):
        Path(process.backups).mkdir(parents=True, exist_ok=True)
        write.append(Path(process.backups))
    if process.hub.startswith("sqlite:"):
        write.append(Path(process.hub.removeprefix("sqlite:")).parent)
    found = confine(read=python_paths(), write=write)
    if not found.confined:
        _logger.warning("not_confined", cell=process.cell, detail=found.detail)
    return found


@asynccontextmanager
async def open_event_log(
    url: str, *, region: str, clock: Clock, only: Mapping[str, str] | None = None
) -> AsyncIterator[EventLog]:
    """The event log behind ``nats://host:port``, ``sqlite:path`` or ``aws:REGION/PREFIX``.

    ``only``: subscription -> the one source that it reads; an engine that can prunes by it.
    """
    async with AsyncExitStack() as stack:
        log: Any  # both engines are EventLogs; their ``open`` is not part of the port
        if url.startswith("sqlite:"):
            from eisbach.engines.embedded.event_log import SqliteEventLog

            disk = DiskThread("event-log")
            stack.callback(disk.close)
            path = Path(url.removeprefix("sqlite:"))
            path.parent.mkdir(parents=True, exist_ok=True)
            log = await SqliteEventLog(path, clock=clock, disk=disk).open()
        elif url.startswith("aws:"):
            from eisbach.engines.aws.clients import AwsPlace
            from eisbach.engines.aws.event_log import SnsSqsEventLog

            aws, prefix = aws_place(url, "aws")
            log = await SnsSqsEventLog(AwsPlace(region=aws), prefix=prefix, clock=clock, only=only).open()
        else:
            from eisbach.engines.nats.event_log import JetStreamEventLog

            log = await JetStreamEventLog(url, region=region, only=only).open()
        stack.push_async_callback(log.aclose)
        yield log


@asynccontextmanager
async def open_cell(
    process: CellProcess,
    secrets: Secrets,
    *,
    event_log: EventLog | None = None,
    confinement: Confinement | None = None,
    host: Host | None = None,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> AsyncIterator[OpenCell]:
    """Compose and start everything but the server.

    Args:
        process: which cell; viewers' groups and the studio's may be in one process, in a store each.
        secrets: of its region.
        event_log: one that this process has open already (stage ``single``); else ``process.hub`` is opened.
        confinement: what ``confine_cell`` reported, for ``/status``.
        host: what it stands on; by default this machine.
        wrap: the outermost ASGI layer.
    """
    host = host or system_host(rehearsal=process.rehearsal)
    clock = host.clock
    async with AsyncExitStack() as stack:
        if event_log is None:
            # Documents come from the studio's relay alone, whichever region they were written in.
            only = {projection_name(process): f"{process.region}/studio"}
            opening = open_event_log(process.hub, region=process.region, clock=clock, only=only)
            event_log = await stack.enter_async_context(opening)
        followers = Followers(clock, asleep=host.asleep_between_calls)
        parts = Parts(process, secrets, host, stack, followers, event_log)
        studio = str(STUDIO_GROUP)
        viewers = {group: numbers for group, numbers in process.slots.items() if group != studio}
        try:
            if process.studio and viewers:
                main = await open_slots(parts, "store.db", process.cell, viewers)
                second = await open_slots(parts, "studio.db", "studio", {studio: process.slots[studio]})
            else:
                main, second = await open_slots(parts, "store.db", process.cell, process.slots), None
            cell = await compose(parts, main, second, confinement)
        except BaseException:
            await followers.aclose()  # those of the store that is open: it closes under them, and they would say so
            raise
        stack.push_async_callback(followers.aclose)
        cell.app = wrap(cell.app)
        _logger.info("cell_open", region=process.region, cell=process.cell, slots=len(main.ownership.owned()))
        yield cell
