"""``eisbach run single``: the whole service in one process - cell, studio, event log, spokes, worker.

What dies here dies together: that is the point of the stage. The same parts as in the other stages, joined by one event
loop and one SQLite event log instead of processes and a hub.
"""

import asyncio
from pathlib import Path

from eisbach.bootstrap.cell import OpenCell, open_cell, open_event_log, until_not_ours
from eisbach.bootstrap.pages import with_pages
from eisbach.bootstrap.serve import as_itself, serve
from eisbach.bootstrap.spokes import serve_spokes
from eisbach.bootstrap.worker import serve_worker
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.confinement import confine, die_with_parent, python_paths
from eisbach.settings import Secrets, SingleProcess, read_process

__all__ = ["run"]


async def run(process: SingleProcess) -> None:
    """Serve until cancelled; the first part that ends ends all."""
    die_with_parent()
    own = process.cell
    secrets = read_process(Path(own.secrets), Secrets)
    folder = Path(own.secrets).parent
    worker = process.worker
    tools = [Path(tool).parent for tool in (worker.ffmpeg, worker.ffprobe, worker.packager)]
    spokes = [Path(process.spokes.spokes_folder)] if process.spokes.spokes_folder else []
    confinement = confine(read=[*python_paths(), *tools, *spokes], write=[folder])
    opening = open_event_log(own.hub, region=own.region, clock=SystemClock())
    with as_itself():
        async with (
            opening as log,
            open_cell(own, secrets, event_log=log, confinement=confinement, wrap=with_pages) as cell,
            asyncio.TaskGroup() as parts,
        ):
            parts.create_task(serve(cell.app, host=own.host, port=own.port))
            parts.create_task(_until_not_ours(cell))
            parts.create_task(serve_spokes(process.spokes, secrets, log=log))
            parts.create_task(serve_worker(worker, secrets))


async def _until_not_ours(cell: OpenCell) -> None:
    """End all when the store is another process's, or gone from its name."""
    try:
        await until_not_ours(cell)
    finally:
        cell.stop()
