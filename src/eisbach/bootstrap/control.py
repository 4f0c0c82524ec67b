"""``eisbach run control``: the control store and the reconcilers of a region, over loopback HTTP."""

import asyncio
from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.bootstrap.serve import authorised, problem, serve, status_routes
from eisbach.control.slot_map import Placement, SlotMapReconciler, first_groups
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.settings import ControlProcess, Secrets, read_process

__all__ = ["run"]

_EVERY_S: Final = 5.0


async def run(process: ControlProcess) -> None:
    """Serve until cancelled."""
    secrets = read_process(Path(process.secrets), Secrets)
    clock = SystemClock()
    store = SqliteControlStore(Path(process.folder) / "control.db")
    placement = Placement(
        region=process.region,
        cells=process.cells,
        groups=first_groups(process.groups, process.slots),
        preferred=process.preferred,
    )
    reconciler = SlotMapReconciler(store, placement, clock=clock, key=bytes.fromhex(secrets.map_key))
    await reconciler.activate()

    async def slot_map(request: Request) -> Response:
        if not authorised(request, secrets.service_token, secrets.operator_token):
            return problem(401, "token_missing", "the slot map needs the region's service token")
        return Response(reconciler.document or b"", media_type="application/json")

    async def nudge(request: Request) -> Response:
        """Carries no data: the reconciler looks for itself."""
        if not authorised(request, secrets.service_token, secrets.operator_token):
            return problem(401, "token_missing", "a nudge needs the region's service token")
        changed = await reconciler.activate()
        return Response(
            msgspec.json.encode({"changed": changed, "version": reconciler.version}), media_type="application/json"
        )

    async def for_ever() -> None:
        while True:
            await clock.sleep(_EVERY_S)
            await reconciler.activate()

    tokens = (secrets.service_token, secrets.operator_token)
    app = Starlette(
        routes=[
            *status_routes(
                lambda: {"map_version": reconciler.version, "cells": dict.fromkeys(process.cells, "active")},
                missing=lambda: None if reconciler.document else "no slot map published yet",
                tokens=tokens,
            ),
            Route("/map", slot_map),
            Route("/nudge", nudge, methods=["POST"]),
        ]
    )
    reconciling = asyncio.create_task(for_ever())
    try:
        await serve(app, host=process.host, port=process.port)
    finally:
        reconciling.cancel()
        await store.aclose()
