"""``eisbach run spokes``: the spoke host of a region, and the reconciler of its media copies."""

import asyncio
import importlib.util
import random
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.bootstrap.cell import open_event_log
from eisbach.bootstrap.serve import authorised, problem, serve, status_routes
from eisbach.bootstrap.studio_client import HttpMedia, HttpStudio
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.confinement import confine, die_with_parent, python_paths
from eisbach.engines.embedded.disk import DiskThread
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.host import SpokeHost
from eisbach.hub.runner import Surroundings
from eisbach.kernel.errors import EisbachError, NotFound, Retryable
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.ports.spoke import SpokeSpec
from eisbach.settings import Secrets, SpokesProcess, read_process
from eisbach.spokes.ingest import INGEST_SPOKES
from eisbach.spokes.media_copies import MediaCopies
from eisbach.spokes.media_folder import MediaFolder

__all__ = ["SpokesStatus", "load_spokes", "run", "serve_spokes"]

_REFRESH_S: Final = 1.0
_logger = structlog.get_logger(__name__)


async def run(process: SpokesProcess) -> None:
    """Serve until cancelled."""
    die_with_parent()
    secrets = read_process(Path(process.secrets), Secrets)
    own = [Path(process.folder), Path(process.blobs)]
    if process.hub.startswith("sqlite:"):
        own.append(Path(process.hub.removeprefix("sqlite:")).parent)
    # The user's spokes are read after this point: they are confined like ours.
    confinement = confine(read=[*python_paths(), *_users_folder(process)], write=own)
    if not confinement.confined:
        _logger.warning("not_confined", process="spokes", detail=confinement.detail)
    async with open_event_log(process.hub, region=process.region, clock=SystemClock()) as log:
        await serve_spokes(process, secrets, log=log)


async def serve_spokes(process: SpokesProcess, secrets: Secrets, *, log: EventLog) -> None:
    """The same on an event log that somebody else opened: stage ``single`` shares one inside its process."""
    folder = Path(process.folder)
    folder.mkdir(parents=True, exist_ok=True)
    clock, rng = SystemClock(), random.Random()  # noqa: S311 - jitter, not secrets
    async with AsyncExitStack() as stack:
        disks = [DiskThread("spoke-store"), DiskThread("media-copies")]
        for disk in disks:
            stack.callback(disk.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        store = await SqliteSpokeStore(folder / "spokes.db", disk=disks[0]).open()
        stack.push_async_callback(store.aclose)
        studio = HttpStudio(session, process.studio, token=secrets.service_token)
        media = HttpMedia(session, {p.region: p.door for p in process.peers}, token=secrets.peer_token)
        copies = MediaCopies(
            MediaFolder(Path(process.blobs), run=disks[1]), sources=media, studio=studio,
            region=process.region, clock=clock,
        )  # fmt: skip
        specs = [*INGEST_SPOKES, copies.spoke(), *load_spokes(process.spokes_folder)]
        around = Surroundings(region=process.region, log=log, store=store, clock=clock, rng=rng)
        host = SpokeHost(specs, around, transport=studio)
        status = SpokesStatus(host, specs, log=log, store=store, copies=copies)
        app = _app(status, host, store, tokens=(secrets.service_token, secrets.operator_token))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(host.run())
            tasks.create_task(copies.run())
            tasks.create_task(status.run(clock))
            tasks.create_task(serve(app, host=process.host, port=process.port))


def load_spokes(folder: str) -> list[SpokeSpec]:
    """The user's own spokes: every ``SpokeSpec`` at the top of ``*.py`` in ``folder``, by file name.

    A file that does not load is logged with its error and left out: one author's mistake stops nobody else.
    """
    found: list[SpokeSpec] = []
    if not folder or not Path(folder).is_dir():
        return found
    for path in sorted(Path(folder).glob("*.py")):
        if re.fullmatch(r"[A-Za-z]\w*", path.stem) is None:
            continue
        try:
            spec = importlib.util.spec_from_file_location(f"eisbach_user_spokes.{path.stem}", path)
            assert spec is not None, "a .py file has a loader"
            assert spec.loader is not None, "a .py file has a loader"
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        except Exception:
            # Any error may come out of somebody else's module; it is said with its traceback.
            _logger.exception("spoke_file_refused", path=str(path))
            continue
        found += [value for value in vars(module).values() if isinstance(value, SpokeSpec)]
    return found


class SpokesStatus:
    """What ``/status`` says, read once a second so that asking costs nothing."""

    def __init__(
        self, host: SpokeHost, specs: list[SpokeSpec], *, log: EventLog, store: SqliteSpokeStore, copies: MediaCopies
    ) -> None:
        self._host, self._log, self._store, self._copies = host, log, store, copies
        self._names = [spec.name for spec in specs]
        self._hub: str | None = "the event log was not asked yet"
        self._spokes: list[dict[str, object]] = []

    async def run(self, clock: Clock) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self._refresh()
                self._hub = None
            except Retryable as error:
                self._hub = str(error)
            await clock.sleep(_REFRESH_S)

    def missing(self) -> str | None:
        """What it lacks to do its work."""
        return self._hub

    def told(self) -> Mapping[str, Any]:
        """The document of ``/status``."""
        told = self._host.statistics()
        own = told["spokes"]
        return {
            "spokes": [{**row, **own[row["spoke"]]} for row in self._spokes],
            "commands": told["commands"],
            "media": {
                name: getattr(self._copies.statistics(), name)
                for name in ("copied", "bytes", "missing", "compared", "trouble")
            },
            "hub": self._hub,
        }

    async def _refresh(self) -> None:
        counts = await self._store.counts()
        states = await self._log.state()
        self._spokes = []
        for name in self._names:
            own, state = counts.get(name, {}), states.get(name)
            self._spokes.append(
                {
                    "spoke": name,
                    "backlog": (state.backlog if state else 0) + own.get("held", 0),
                    "oldest_ms": state.oldest_ms if state else 0,
                    "dead_letters": own.get("dead_letters", 0),
                    "commands_waiting": own.get("commands", 0),
                }
            )


def _app(status: SpokesStatus, host: SpokeHost, store: SqliteSpokeStore, *, tokens: tuple[str, ...]) -> Starlette:
    async def dead_letters(request: Request) -> Response:
        if not authorised(request, *tokens):
            return problem(401, "token_missing", "dead letters need the region's service or operator token")
        letters = await store.dead_letters(spoke=request.query_params.get("spoke"))
        shown = [
            {
                "number": letter.number, "spoke": letter.spoke, "kind": letter.kind, "event": letter.event_id,
                "subject": letter.subject, "reason": letter.reason, "at_ms": letter.at_ms,
                "history": [{"at_ms": h.at_ms, "reason": h.reason} for h in letter.history],
            }
            for letter in letters
        ]  # fmt: skip
        return _json({"dead_letters": shown})

    async def redrive(request: Request) -> Response:
        if not authorised(request, *tokens):
            return problem(401, "token_missing", "redriving needs the region's service or operator token")
        try:
            letter = await host.redrive(int(request.path_params["number"]))
        except NotFound as error:
            return problem(404, error.code, str(error))
        except EisbachError as error:
            return problem(503, error.code, str(error))
        return _json({"redriven": letter.event_id, "spoke": letter.spoke})

    return Starlette(
        routes=[
            *status_routes(status.told, missing=status.missing, tokens=tokens),
            Route("/dead-letters", dead_letters),
            Route("/dead-letters/{number:int}/redrive", redrive, methods=["POST"]),
        ]
    )


def _users_folder(process: SpokesProcess) -> list[Path]:
    return [Path(process.spokes_folder)] if process.spokes_folder else []


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
