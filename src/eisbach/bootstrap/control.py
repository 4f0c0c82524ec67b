"""``eisbach run control``: the control store and the reconcilers of a region, over loopback HTTP.

``GET /map`` (service token): the signed slot map. ``POST /nudge``: reconcile now. ``GET /cells``,
``POST /moves``, ``POST /moves/abort``: moves of slots (``control_calls``). With this process dead nothing but
changes stops: edges and cells go on with what they have (P7).
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.bootstrap.control_calls import (
    begin_routes,
    control_routes,
    loss_routes,
    movable,
    region_routes,
    viewers_cells,
    viewers_slots,
)
from eisbach.bootstrap.control_peers import PeerControls
from eisbach.bootstrap.serve import authorised, problem, serve, status_routes, together
from eisbach.bootstrap.studio_client import HttpStudio
from eisbach.cell.move_http import HttpCells
from eisbach.control.beginnings import Beginnings
from eisbach.control.evacuation import Evacuation
from eisbach.control.leaving import Leaving
from eisbach.control.losses import RegionLosses
from eisbach.control.lost_moves import LostMoves
from eisbach.control.lost_store import LostStore
from eisbach.control.moves import Mover
from eisbach.control.slot_map import Placement, SlotMapReconciler, first_groups
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.confinement import confine, die_with_parent, python_paths
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import EisbachError, Unavailable
from eisbach.kernel.slots import STUDIO_GROUP
from eisbach.ports.clock import Clock
from eisbach.ports.control_store import ControlStore
from eisbach.settings import ControlProcess, Secrets, read_process

__all__ = ["OpenControl", "open_control", "run"]

_EVERY_S: Final = 5.0
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenControl:
    """A region's reconcilers over one control store."""

    reconciler: SlotMapReconciler
    mover: Mover
    evacuation: Evacuation
    losses: RegionLosses
    lost_moves: LostMoves
    lost_store: LostStore
    clock: Clock

    async def run(self, *beside: Coroutine[Any, Any, None]) -> None:
        """Reconcile for ever, ``beside`` what else the process does.

        Together: if one of them ends, so does the process, and the supervisor starts it anew.

        Raises:
            FileDamaged: the store is, or has lost its name.
        """
        await together(self._look(), self.mover.run(), self.lost_moves.run(), *beside)

    async def _look(self) -> None:
        while True:
            await self.clock.sleep(_EVERY_S)
            await self.reconciler.activate()

    def store_lost(self) -> dict[str, Any]:
        """What people are told of a store that was lost."""
        return self.lost_store.told(self.mover.seen)


async def open_control(
    store: ControlStore,
    cells: HttpCells,
    placement: Placement,
    *,
    clock: Clock,
    key: bytes,
    kept: tuple[str, bytes] | None = None,
) -> OpenControl:
    """Compose, and publish a first map.

    Args:
        store: the region's.
        cells: the way to the region's cells.
        placement: what the region's process document says.
        clock: deadlines and pauses.
        key: signs slot maps.
        kept: where the region's edge keeps the map in force, and the map; None where that is not known here.

    Raises:
        Corrupt: the store is damaged, or an older copy; the message says what to do.
    """
    reconciler = SlotMapReconciler(store, placement, clock=clock, key=key)
    lost = LostStore(store, clock=clock)
    if kept is not None and await reconciler.take_up(kept[1], where=kept[0]):
        await lost.note(kept[0])
        _logger.warning(
            "control_store_was_lost",
            region=placement.region,
            began_from=kept[0],
            not_known="the last evacuation, open losses: docs/backup.md",
        )
    await reconciler.activate()
    mover = Mover(store, cells, names=lambda: movable(reconciler), publish=reconciler.assign, clock=clock)
    evacuation = Evacuation(
        store, cells, region=placement.region, owners=lambda: viewers_slots(reconciler), clock=clock
    )
    await evacuation.last()  # so that /status knows it
    losses = RegionLosses(store, cells, owners=lambda: viewers_slots(reconciler), clock=clock)
    await losses.records()  # as above
    lost_moves = LostMoves(
        store,
        cells,
        names=lambda: viewers_cells(reconciler),
        slots=lambda: sorted(viewers_slots(reconciler)),
        clock=clock,
    )
    await lost.look()
    return OpenControl(
        reconciler=reconciler, mover=mover, evacuation=evacuation, losses=losses, lost_moves=lost_moves,
        lost_store=lost, clock=clock,
    )  # fmt: skip


async def run(process: ControlProcess) -> None:
    """Serve until cancelled."""
    die_with_parent()
    secrets = read_process(Path(process.secrets), Secrets)
    clock = SystemClock()
    path = Path(process.folder) / "control.db"
    placement = Placement(
        region=process.region,
        cells=process.cells,
        groups=first_groups(process.groups, process.slots),
        preferred=process.preferred,
        store=str(path),
    )
    kept = _kept_map(process.edge_map)
    confinement = confine(read=python_paths(), write=[Path(process.folder)])
    if not confinement.confined:
        _logger.warning("not_confined", process="control", detail=confinement.detail)
    store = SqliteControlStore(path, target=f"control/{process.region}")
    try:
        cells = HttpCells(process.cells, token=secrets.service_token)
        control = await open_control(
            store, cells, placement, clock=clock, key=bytes.fromhex(secrets.map_key), kept=kept
        )
        tokens = (secrets.service_token, secrets.operator_token)
        announce = partial(_announce, process, secrets)
        peers = PeerControls(process.peers, token=secrets.peer_token)
        leaving = Leaving(control.evacuation, region=process.region, ask=peers.standing, clock=clock)
        routes = [
            *control_routes(
                control.reconciler,
                control.mover,
                addresses=process.cells,
                why_out=leaving.why_out,
                unknown=control.lost_moves.waits,
                tokens=tokens,
            ),
            *begin_routes(Beginnings(store, clock=clock), tokens=tokens),
            *loss_routes(control.losses, announce=announce, tokens=tokens),
            *region_routes(
                control.evacuation,
                leaving,
                region=process.region,
                announce=partial(announce, process.region),
                tokens=tokens,
                peer_token=secrets.peer_token,
            ),
        ]
        app = _app(control, tokens, confinement.detail, routes)
        await control.run(serve(app, host=process.host, port=process.port))
    finally:
        await cells.aclose()
        await store.aclose()


def _kept_map(path: str) -> tuple[str, bytes] | None:
    """Read before the process confines itself: the folder is the agent's."""
    try:
        return (path, Path(path).read_bytes()) if path else None
    except FileNotFoundError:
        return None  # a first start
    except OSError as error:
        raise Unavailable(f"{path}, by which a lost control store is told, cannot be read: {error}") from error


async def _announce(process: ControlProcess, secrets: Secrets, region: str, serves: bool) -> None:
    """Viewers come first: a studio that does not answer does not hold up an evacuation, it is only said."""
    studio = next((cell for cell, groups in process.slots.items() if str(STUDIO_GROUP) in groups), None)
    if studio is None or studio not in process.cells:
        return
    async with aiohttp.ClientSession() as session:
        desk = HttpStudio(session, f"http://{process.cells[studio]}", token=secrets.service_token)
        try:
            body = msgspec.json.encode({"serves": serves})
            await desk.ask("POST", f"/studio/regions/{region}", body)
        except EisbachError as error:
            _logger.warning("studio_not_told", region=region, serves=serves, error=str(error))


def _app(control: OpenControl, tokens: tuple[str, ...], confinement: str, more: Sequence[Route]) -> Starlette:
    reconciler = control.reconciler

    def status() -> dict[str, Any]:
        return {
            "map_version": reconciler.version,
            "cells": reconciler.cells,
            "refusal": reconciler.refusal,
            "confinement": confinement,
            "unfinished": control.evacuation.unfinished(),
            "unknown_moves": control.lost_moves.waits,
            "out": control.evacuation.out(),
            "lost": control.losses.lost(),
            "store_lost": control.store_lost(),
        }

    async def slot_map(request: Request) -> Response:
        if not authorised(request, *tokens):
            return problem(401, "token_missing", "the slot map needs the region's service token")
        return Response(reconciler.document or b"", media_type="application/json")

    async def nudge(request: Request) -> Response:
        """Carries no data: the reconciler looks for itself."""
        if not authorised(request, *tokens):
            return problem(401, "token_missing", "a nudge needs the region's service token")
        changed = await reconciler.activate()
        return Response(msgspec.json.encode({"changed": changed, **status()}), media_type="application/json")

    ready = status_routes(
        status, missing=lambda: None if reconciler.version else "no slot map published yet", tokens=tokens
    )
    return Starlette(routes=[*ready, *more, Route("/map", slot_map), Route("/nudge", nudge, methods=["POST"])])
