"""``eisbach run spokes``: the spoke host of a region, and the reconciler of its media copies."""

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog
from starlette.applications import Starlette

from eisbach.bootstrap.cell import open_event_log
from eisbach.bootstrap.serve import serve, status_routes, together
from eisbach.bootstrap.spoke_calls import SpokeCalls
from eisbach.bootstrap.studio_client import HttpJobDesk, HttpMedia, HttpStudio
from eisbach.bootstrap.user_spokes import UserSpokes
from eisbach.bootstrap.webhook_client import WebhookClient
from eisbach.cell.write_trial import Counts, WriteTrial
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.confinement import confine, die_with_parent, python_paths
from eisbach.engines.embedded.disk import DiskThread
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.claim_check import ClaimChecks
from eisbach.hub.host import SpokeHost
from eisbach.hub.replay import forget_replays
from eisbach.hub.runner import Surroundings
from eisbach.hub.store_lost import StoreLost
from eisbach.kernel.errors import Retryable
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.ports.spoke import SpokeSpec
from eisbach.settings import Secrets, SpokesProcess, read_process
from eisbach.spokes.audit import audit
from eisbach.spokes.ingest import INGEST_SPOKES
from eisbach.spokes.job_reconciler import JobReconciler
from eisbach.spokes.media_copies import MEDIA_COPIES, MediaCopies
from eisbach.spokes.media_folder import MediaFolder
from eisbach.spokes.upload_copies import UPLOAD_COPIES, upload_copies
from eisbach.spokes.webhooks import FILE, parse_webhooks, webhook_spokes

__all__ = ["SpokesStatus", "of_the_studio", "run", "serve_spokes", "trial_of_spokes"]

_REFRESH_S: Final = 1.0
_SWEEP_S: Final = 3600.0
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
    only = of_the_studio(process.region) if process.hub.startswith("nats:") else None
    async with open_event_log(process.hub, region=process.region, clock=SystemClock(), only=only) as log:
        await serve_spokes(process, secrets, log=log)


def of_the_studio(region: str) -> dict[str, str]:
    """Subscription -> source, of the built-in spokes that handle what the studio alone publishes.

    The hub sends them nothing of the viewers' cells: each durable write of a viewer would come to every spoke, to be
    read and put aside.
    """
    names = [*(spec.name for spec in INGEST_SPOKES), MEDIA_COPIES, UPLOAD_COPIES]
    return dict.fromkeys(names, f"{region}/studio")


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
        folders = MediaFolder(Path(process.blobs), run=disks[1])
        copies = MediaCopies(folders, sources=media, studio=studio, region=process.region, clock=clock)
        jobs = JobReconciler(
            HttpJobDesk(studio), region=process.region,
            regions=[process.region, *(peer.region for peer in process.peers)],
            packaged=folders.packaged, lost=copies.lost, clock=clock,
        )  # fmt: skip
        uploads = FileBlobs(Path(process.blobs), disk=disks[1])
        specs = [*INGEST_SPOKES, audit, copies.spoke(), upload_copies(media, uploads, region=process.region)]
        elsewhere = media.fetch_claim if process.peers else None
        claims = ClaimChecks(uploads, region=process.region, clock=clock, elsewhere=elsewhere)
        around = Surroundings(region=process.region, log=log, store=store, clock=clock, rng=rng, claims=claims)
        host = SpokeHost(specs, around, transport=studio, snapshots=studio)
        client = WebhookClient()
        stack.push_async_callback(client.aclose)

        def hooks(path: Path) -> list[SpokeSpec]:
            return webhook_spokes(parse_webhooks(path.read_text()), client.send, clock=clock)

        own = UserSpokes(
            process.spokes_folder, taken=frozenset(spec.name for spec in specs), use=host.replace, others={FILE: hooks}
        )
        lost = StoreLost(store, log, clock=clock)
        trial = trial_of_spokes(store, clock=clock)
        status = SpokesStatus(host, own, log=log, store=store, copies=copies, jobs=jobs)

        def told() -> Mapping[str, Any]:
            refuses = trial.refusal._asdict() if trial.refusal else {}
            return {**status.told(), "store_lost": lost.told(), "refuses": refuses}

        def missing() -> str | None:
            return status.missing() or (trial.refusal.why if trial.refusal else None)

        tokens = (secrets.service_token, secrets.operator_token)
        calls = SpokeCalls(host, store, log, clock=clock, tokens=tokens, rehearsal=process.rehearsal)
        app = Starlette(routes=[*status_routes(told, missing=missing, tokens=tokens), *calls.routes()])
        await together(
            _host(host, lost, store), own.run(clock), copies.run(), jobs.run(), _sweep(claims, store, clock),
            _clear(log, clock), status.run(clock), _look(trial, clock),
            serve(app, host=process.host, port=process.port),
        )  # fmt: skip


async def _host(host: SpokeHost, lost: StoreLost, store: SqliteSpokeStore) -> None:
    await lost.look(host.names, was_empty=store.was_empty, older=store.lost)
    await host.run()


def trial_of_spokes(store: SqliteSpokeStore, *, clock: Clock) -> WriteTrial:
    """Whether the disk of the spokes' host takes writes; while it does not, events wait and are delivered again."""
    return WriteTrial(
        store.try_a_write, lambda: Counts(store.commits, store.unwritten), clock=clock,
        cure="events wait meanwhile, and none is lost",
    )  # fmt: skip


async def _look(trial: WriteTrial, clock: Clock) -> None:
    while True:
        await clock.sleep(_REFRESH_S)
        await trial.look()


async def _sweep(claims: ClaimChecks, store: SqliteSpokeStore, clock: Clock) -> None:
    """Every hour: bring the claims that something here waits for, delete those that nothing can ask for any more."""
    while True:
        await clock.sleep(_SWEEP_S)
        try:
            await claims.tend(await store.claims())
        except Retryable as error:
            _logger.warning("claims_not_swept", error=str(error))


async def _clear(log: EventLog, clock: Clock) -> None:
    """Once, when the hub is there: this process is new, so no replay of the region is under way."""
    while True:
        try:
            if left := await forget_replays(log):
                _logger.info("replays_forgotten", count=left)
        except Retryable:
            await clock.sleep(_REFRESH_S)
        else:
            return


class SpokesStatus:
    """What ``/status`` says, read once a second so that asking costs nothing."""

    def __init__(
        self,
        host: SpokeHost,
        own: UserSpokes,
        *,
        log: EventLog,
        store: SqliteSpokeStore,
        copies: MediaCopies,
        jobs: JobReconciler,
    ) -> None:
        self._jobs = jobs
        self._host, self._own, self._log, self._store, self._copies = host, own, log, store, copies
        self._hub: str | None = "the event log was not asked yet"
        self._spokes: list[dict[str, Any]] = []

    async def run(self, clock: Clock) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
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
            # The rows win: the dead letters that lie there, not those that this run of the spoke has added.
            "spokes": [{**own[row["spoke"]], **row} for row in self._spokes if row["spoke"] in own],
            "refused": dict(self._own.refused),
            "commands": told["commands"],
            "media": {
                name: getattr(self._copies.statistics(), name)
                for name in ("copied", "bytes", "missing", "compared", "trouble")
            },
            "jobs": asdict(self._jobs.statistics()),
            "hub": self._hub,
        }

    async def refresh(self) -> None:
        """Read what the hub and the store count.

        Raises:
            Unavailable: one of them cannot be used now; what was read before stays.
        """
        counts = await self._store.counts()
        states = await self._log.state()
        self._spokes = []
        for name in self._host.names:
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


def _users_folder(process: SpokesProcess) -> list[Path]:
    return [Path(process.spokes_folder)] if process.spokes_folder else []
