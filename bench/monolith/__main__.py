"""``python -m bench.monolith FILE``: serve the monolith that the document in FILE describes, until told to stop."""

import asyncio
import contextlib
import random
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from bench.monolith.app import KINDS, Service, make_app
from bench.monolith.database import close_database, open_database
from bench.monolith.outbox import Outbox

from eisbach.bootstrap.kinds import _until_told
from eisbach.bootstrap.serve import serve
from eisbach.cell.grants import Grants
from eisbach.cell.identity import Tokens
from eisbach.cell.places import Places
from eisbach.domain.catalog import AssetAvailability, Catalogue
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.slots import Group
from eisbach.settings import Secrets, read_process

CATALOGUE_EVERY_S = 5.0


class Monolith(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the process is told."""

    host: str
    port: int
    secrets: str
    """Path of a region's ``secrets.json``: the same keys as a cell's."""
    dsn: str
    hub: str
    batched: bool
    region: str = "eu-central"
    group: str = "eu/de/main"
    edge: str
    origin: str


async def run(process: Monolith) -> None:
    """Serve until cancelled."""
    secrets = read_process(Path(process.secrets), Secrets)
    outbox = Outbox(process.dsn, process.hub)
    database = await open_database(process.dsn, batched=process.batched, outbox_changed=outbox.changed)
    group, region = Group.parse(process.group), process.region
    places = Places(
        region,
        {region: (process.edge, process.origin)},
        preferred={},
        distances={},
        residencies={region: group.residency},
    )
    service = Service(
        database=database, places=places, group=group, region=region, catalogue=await _catalogue(database),
        tokens=Tokens(
            private=secrets.jwt_private, public=secrets.jwt_public, clock=SystemClock(), rng=random.SystemRandom()
        ),
        grants=Grants(places, media_keys=_keys(secrets.media_keys), session_keys=_keys(secrets.session_keys)),
    )  # fmt: skip

    async def refresh() -> None:
        while True:
            await asyncio.sleep(CATALOGUE_EVERY_S)
            service.catalogue = await _catalogue(database)

    others = [asyncio.create_task(outbox.run()), asyncio.create_task(refresh())]
    try:
        await serve(make_app(service), host=process.host, port=process.port)
    finally:
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        await close_database(database)


async def _catalogue(database: Any) -> Catalogue:
    """All documents, as they are now: a few thousand, so they live in memory."""
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for row in await database.pool.fetch("SELECT kind, id, body FROM documents"):
        found[row["kind"]][row["id"]] = msgspec.json.decode(row["body"], type=KINDS[row["kind"]])
    copies: dict[str, frozenset[str]] = {}
    for at in found["at"].values():
        assert isinstance(at, AssetAvailability)
        copies[at.asset] = copies.get(at.asset, frozenset()) | {at.region}
    return Catalogue(titles=found["title"], channels=found["channel"], assets=found["asset"], regions=copies)


def _keys(keys: dict[str, str]) -> dict[str, bytes]:
    return {kid: bytes.fromhex(key) for kid, key in keys.items()}


if __name__ == "__main__":
    document = read_process(Path(sys.argv[1]), Monolith)
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(run, document))
