"""The parts of a cell's process and how they are joined; ``bootstrap.cell`` opens and closes them.

A process has one store with the slots it serves; where it is a cell and the studio at once, the studio has a second
one. Each store has a relay; the first has the pullers.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from eisbach import __version__
from eisbach.bootstrap.backups import Backups, open_backups
from eisbach.bootstrap.cell_gauges import gauges
from eisbach.bootstrap.cell_ground import CellStore, Parts, Slots, aws_place, usage_of
from eisbach.bootstrap.cell_others import follow_map, follow_twins, log_keeper, losses, moving, positions, sender
from eisbach.bootstrap.cell_tending import tend
from eisbach.bootstrap.first_start import refuse_a_lost_disk, tell_control
from eisbach.bootstrap.older_copy import ProvableStore, prove
from eisbach.bootstrap.open_blobs import in_bucket, open_blobs
from eisbach.cell.adaptive_limit import AdaptiveLimit
from eisbach.cell.app import Gate, cell_app
from eisbach.cell.auth_calls import AuthCalls
from eisbach.cell.grants import Grants
from eisbach.cell.identity import Tokens
from eisbach.cell.me_calls import MeCalls
from eisbach.cell.metrics import Metrics
from eisbach.cell.move_calls import loss_routes, move_routes
from eisbach.cell.openapi import openapi_route
from eisbach.cell.ops_calls import OpsCalls
from eisbach.cell.ownership import Ownership, slots_in
from eisbach.cell.places import Places
from eisbach.cell.playback_calls import PlaybackCalls
from eisbach.cell.projection import Projection
from eisbach.cell.public_calls import PublicCalls
from eisbach.cell.puller import clock_is_ahead
from eisbach.cell.routes import Route
from eisbach.cell.search_calls import SearchCalls
from eisbach.cell.sessions import Sessions
from eisbach.cell.streams import StreamPlaces
from eisbach.cell.studio import studio_routes
from eisbach.cell.write_trial import Refusal
from eisbach.cell.writing import Writer
from eisbach.engines.embedded.clock import RehearsalClock
from eisbach.engines.embedded.confinement import Confinement
from eisbach.hub.relay import SNS_COMPANY, Relay
from eisbach.kernel.slots import STUDIO_GROUP, Group
from eisbach.media.hls import Pathway
from eisbach.media.manifests import Manifests, manifest_routes
from eisbach.media.serve import media_routes
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog, PipelinedLog
from eisbach.ports.projection_store import ProjectionStore
from eisbach.ports.search_index import SearchIndex
from eisbach.settings import CellProcess

__all__ = ["OpenCell", "Parts", "Slots", "compose", "open_slots", "projection_name"]

_DYNAMO_PACE: Final[dict[str, Any]] = {"company_ms": 40, "flush_ops": 32_768, "flush_every_s": 600.0}
"""Of a task: others write a cell's tables only while functions take what is above it (docs/decisions/0022)."""


@dataclass(slots=True, kw_only=True)
class OpenCell:
    """A composed cell, its followers running."""

    app: ASGIApp
    store: CellStore
    """Of the viewers' groups; in the studio cell, the studio's."""
    studio_store: CellStore | None
    """The studio's own store, where one process is both."""
    catalogue: Projection | None
    """None in the studio cell."""
    event_log: EventLog
    ownership: Ownership
    gate: Gate
    metrics: Metrics
    relays: Mapping[str, Relay]
    """Of each store, by the name under which it is published."""
    status: Callable[[], Mapping[str, Any]]
    stop: Callable[[], None]
    """Let go of callers that wait for news; call it before the server is told to finish."""
    damage: Callable[[], str]
    """What a follower found damaged; the process ends with it."""


async def open_slots(parts: Parts, file: str, cell: str, slots: Mapping[str, list[int]]) -> Slots:
    """Open a store, create the lease rows of a first start, and relay its op log to the hub."""
    process, clock = parts.process, parts.clock
    store = await _open_store(parts, file, cell)
    ownership = Ownership(store, cell=process.cell, groups=process.groups, owners=process.owners)
    first = slots_in(slots)
    holds, place = bool(await store.leases()), parts.host.place(Path(process.folder) / file)
    heard = None
    if holds and not process.store:
        heard = await prove(parts, cast("ProvableStore", store), cell=cell, place=place)
    if first and not holds and process.control:
        await refuse_a_lost_disk(parts, store, first)
    elif process.control:
        parts.followers.once("tell-control", lambda: tell_control(parts, store, holds=True))
    await ownership.open(first)
    if not holds and not process.store:
        await cast("ProvableStore", store).stays_at(place)
    relay = Relay(
        store, parts.event_log, source=f"{process.region}/{cell}", clock=clock, rng=parts.rng,
        pipelined=cast("PipelinedLog", parts.event_log) if process.hub.startswith("nats:") else None,
    )  # fmt: skip
    if process.hub.startswith("aws:"):
        relay.company = SNS_COMPANY
    parts.relays[cell] = relay

    async def publish() -> None:
        if heard is not None:
            await heard.wait()
        await relay.run()

    parts.followers.start(f"relay-{cell}", publish)

    return Slots(store, ownership, tend(parts, store, cell=cell))


async def _open_store(parts: Parts, file: str, cell: str) -> CellStore:
    """The file of a cell, or its tables on DynamoDB; closed with the process's composition."""
    process = parts.process
    if not process.store:
        from eisbach.engines.embedded.store import open_store

        disk = parts.thread(f"store-{cell}")
        path = Path(process.folder) / file
        return await parts.stack.enter_async_context(
            open_store(path, region=process.region, clock=parts.clock, cell=cell, disk=disk, vfs=parts.host.vfs)
        )
    from eisbach.engines.aws.clients import AwsPlace
    from eisbach.engines.aws.store import Pace, open_dynamo_store

    region, prefix = aws_place(process.store, "dynamodb")
    place = AwsPlace(region=region)
    return await parts.stack.enter_async_context(
        open_dynamo_store(
            place,
            prefix=prefix,
            cell=cell,
            region=process.region,
            clock=parts.clock,
            pace=Pace(nudges=True) if parts.host.asleep_between_calls else Pace(**_DYNAMO_PACE),
        )
    )


async def compose(parts: Parts, main: Slots, second: Slots | None, confinement: Confinement | None) -> OpenCell:
    """Join the parts into an application."""
    process, secrets = parts.process, parts.secrets
    metrics = Metrics()
    follow_twins(parts, main)
    await follow_map(parts, main.ownership)
    gate = Gate(
        cell=process.cell,
        region=process.region,
        tokens=Tokens(private=secrets.jwt_private, public=secrets.jwt_public, clock=parts.clock, rng=parts.rng),
        ownership=main.ownership,
        positions=positions(parts, main.store),
        bearers={
            "service": [secrets.service_token, secrets.operator_token],
            "operator": [secrets.operator_token],
            "peer": [secrets.peer_token],
        },
        metrics=metrics,
        rng=parts.rng,
        limit=AdaptiveLimit(parts.host.cpu_s),
    )
    status: dict[str, Callable[[], Any]] = {}
    routes: list[Route] = []
    extra: list[BaseRoute] = []
    projection = None
    if second is not None or not process.studio:
        projection = await _open_projection(parts)
        backups = await open_backups(process, secrets, main.store, parts.stack, clock=parts.clock, disk=parts.thread)
        routes += _viewers_routes(parts, main, gate, projection, backups, status=status)
        routes.append(openapi_route(routes, version=__version__))
        extra += _media(parts, projection)
    if process.studio:
        disk = parts.thread("blobs")
        routes += studio_routes(
            (second or main).store,
            blobs=await open_blobs(process.blobs, parts.stack, scratch=Path(process.folder) / "blobs", disk=disk),
            clock=parts.clock,
            rng=parts.rng,
            slot_count=process.groups[str(STUDIO_GROUP)],
        )
    routes += [*move_routes(moving(parts, main)), *loss_routes(losses(parts, main))]
    twins = sender(parts, main)
    routes += twins.routes()
    status["limit"] = lambda: {**asdict(gate.limit.statistics()), "in_work": gate.in_work}
    report = _status(parts, main, second, metrics, confinement=confinement, more=status)
    routes += OpsCalls(
        metrics,
        missing=lambda: _missing(parts, main, second),
        status=report,
        conflicts=lambda limit: main.store.conflicts(limit=limit),
        shift_clock=_shift_clock(parts.clock),
    ).routes()
    metrics.add(lambda: gauges(parts, main, gate))
    app = cell_app(routes, gate, extra=extra, cors=process.cors)
    return OpenCell(
        app=app, store=main.store, studio_store=second.store if second else None, catalogue=projection,
        event_log=parts.event_log, ownership=main.ownership, gate=gate, metrics=metrics,
        relays=parts.relays, status=report, stop=twins.stop, damage=lambda: parts.followers.damage,
    )  # fmt: skip


def _shift_clock(clock: Clock) -> Callable[[int], None] | None:
    if not isinstance(clock, RehearsalClock):
        return None

    def shift(by_ms: int) -> None:
        clock.shift_ms = by_ms

    return shift


def projection_name(process: CellProcess) -> str:
    """Of the durable subscription that feeds a cell's catalogue."""
    return f"projection-{process.cell}"


async def _open_projection(parts: Parts) -> Projection:
    kept, name = await _projection_store(parts), projection_name(parts.process)
    projection = Projection(kept, parts.event_log, name=name, clock=parts.clock, rng=parts.rng)
    await projection.open()
    parts.followers.start("projection", projection.run)
    return projection


async def _projection_store(parts: Parts) -> ProjectionStore:
    """A file of the cell's, or rows in its table."""
    if not (process := parts.process).store:
        from eisbach.engines.embedded.projection_store import SqliteProjectionStore

        disk, path = parts.thread("projection"), Path(process.folder) / "projection.db"
        kept = SqliteProjectionStore(path, disk=disk, vfs=parts.host.vfs)
        parts.stack.push_async_callback(kept.aclose)
        return kept
    from eisbach.engines.aws.clients import AwsPlace, open_clients
    from eisbach.engines.aws.projection_store import DynamoProjectionStore

    region, prefix = aws_place(process.store, "dynamodb")
    clients = await parts.stack.enter_async_context(open_clients(AwsPlace(region=region)))
    return DynamoProjectionStore(clients, table=f"{prefix}-{process.cell}-state")


def _viewers_routes(
    parts: Parts,
    main: Slots,
    gate: Gate,
    projection: Projection,
    backups: Backups,
    *,
    status: dict[str, Callable[[], Any]],
) -> list[Route]:
    process, clock = parts.process, parts.clock
    store, ownership = main.store, main.ownership
    places = Places(
        process.region,
        {process.region: (process.edge, process.origin), **{p.region: (p.edge, p.origin) for p in process.peers}},
        preferred=process.preferred,
        distances=process.distances,
        residencies=process.residencies,
    )
    writer = Writer(
        store, ownership, clock=clock, acknowledged=parts.acknowledged,
        clock_is_ahead=lambda: clock_is_ahead(parts.twins()),
    )  # fmt: skip
    sessions = Sessions()
    streams = StreamPlaces(store, writer, sessions, clock=clock)
    grants = Grants(places, media_keys=_keys(parts.secrets.media_keys), session_keys=_keys(parts.secrets.session_keys))
    markets = {group.market for group in map(Group.parse, process.groups) if group != STUDIO_GROUP}
    playback = PlaybackCalls(
        store, streams, sessions=sessions, grants=grants, ownership=ownership,
        now=lambda: (projection.snapshot(), clock),
    )  # fmt: skip
    backups.follow(parts.followers, status)
    keeper = log_keeper(parts, main, backups.archived_lsn)
    parts.followers.start("log-keeper", keeper.run)
    status["log_forgotten"] = lambda: keeper.forgotten
    status["sessions"] = lambda: asdict(sessions.statistics(now_ms=clock.monotonic_ms()))
    status["projection"] = lambda: asdict(projection.statistics())
    status["tokens"] = lambda: asdict(gate.tokens.statistics())
    status["writes"] = lambda: {
        "parked": writer.parked, "reached_local_only": writer.reached_local_only,
        "reached_peer": parts.acknowledged.reached if parts.acknowledged else 0, "failed_open": streams.failed_open
    }  # fmt: skip
    return [
        # The hottest first: routing looks at them in order.
        *playback.routes(),
        *MeCalls(store, writer, catalogue=projection.snapshot, clock=clock).routes(),
        *backups.routes(writer, ownership),
        *AuthCalls(store, writer, ownership=ownership, tokens=gate.tokens, places=places, clock=clock).routes(),
        # Before the public calls: one of theirs is /v1/{mkt}/{...}.
        *SearchCalls(projection.snapshot, lambda: _search_index(parts), markets=sorted(markets), clock=clock).routes(),
        *PublicCalls(projection.snapshot, places, markets=sorted(markets), clock=clock, rng=parts.rng).routes(),
    ]


def _search_index(parts: Parts) -> SearchIndex:
    # Ten milliseconds to import, and only a cell that is searched needs it.
    from eisbach.engines.embedded.search_index import TantivyIndex

    return TantivyIndex(disk=parts.thread("search"))


def _media(parts: Parts, projection: Projection) -> list[BaseRoute]:
    """Manifests, which the media origin asks for; and, where there is no origin, all of its paths."""
    process = parts.process
    keys = _keys(parts.secrets.media_keys)
    pathways = [Pathway(process.region, process.origin), *(Pathway(p.region, p.origin) for p in process.peers)]
    manifests = Manifests(
        projection.snapshot,
        clock=parts.clock,
        keys=lambda: keys,
        pathways=pathways,
        steering_url=f"{process.edge}/steer" if len(pathways) > 1 else "",
        signs_passes=process.signs_passes,
    )
    found: list[BaseRoute] = [*manifest_routes(manifests)]
    if process.origin == process.edge and process.blobs and not in_bucket(process.blobs):
        found += media_routes(Path(process.blobs) / "media", manifests)
    return found


def _keys(hexadecimal: Mapping[str, str]) -> dict[str, bytes]:
    return {kid: bytes.fromhex(key) for kid, key in hexadecimal.items()}


def _missing(parts: Parts, main: Slots, second: Slots | None) -> list[str]:
    reasons = [clock_is_ahead(parts.twins()), *(one.why for one in _refusals(main, second))]
    found = ["" if main.ownership.opened else "this cell owns no slot"]
    return [why for why in (*found, *(reason and f"writes are stopped: {reason}" for reason in reasons)) if why]


def _refusals(*stores: Slots | None) -> list[Refusal]:
    """Of the disks of this process, as they are now."""
    return [one.trial.refusal for one in stores if one and one.trial.refusal]


def _status(
    parts: Parts,
    main: Slots,
    second: Slots | None,
    metrics: Metrics,
    *,
    confinement: Confinement | None,
    more: Mapping[str, Callable[[], Any]],
) -> Callable[[], Mapping[str, Any]]:
    def report() -> Mapping[str, Any]:
        ownerships = [kind.ownership for kind in (main, second) if kind]
        slots = Counter(str(slot.group) for ownership in ownerships for slot in ownership.owned())
        calls = metrics.summary()
        return {
            "cell": parts.process.cell,
            "region": parts.process.region,
            "version": __version__,
            "requests": sum(sum(statuses.values()) for statuses in calls.values()),
            "calls": calls,
            "bugs": metrics.bugs,
            "slots": slots,
            "writes_stopped": clock_is_ahead(parts.twins()),
            "refuses": next((one._asdict() for one in _refusals(main, second)), {}),
            "frozen": [str(slot) for ownership in ownerships for slot in ownership.frozen()],
            "away": [str(slot) for ownership in ownerships for slot in ownership.away()],
            "replication": [
                {"from": t.region, "lag_ms": t.lag_ms, "ops_behind": t.ops_behind, **asdict(t)} for t in parts.twins()
            ],
            "digests": [asdict(found.statistics()) for found in parts.comparisons],
            "store": asdict(main.store.statistics()),
            "aws": usage_of(main.store, parts.event_log),
            "relays": {name: asdict(relay.statistics()) for name, relay in parts.relays.items()},
            "restarts": parts.followers.restarts,
            "confinement": asdict(confinement) if confinement else None,
            **{name: read() for name, read in more.items()},
        }

    return report
