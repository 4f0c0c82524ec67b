"""How a world begins: documents, keys and the disks of processes that were opened once and closed in good order.

Every run begins with the same disks, so that its seconds go into faults and not into creating tables. They are made by
the production code, once a process. May not know: faults.
"""

import asyncio
import gc
import hashlib
import random
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from eisbach.domain.accounts import account_of
from eisbach.domain.catalog import Asset, RightsWindow, Title, Track, changes_of
from eisbach.engines.embedded.projection_store import SqliteProjectionStore
from eisbach.kernel.events import Event
from eisbach.kernel.slots import Group, slot_of
from eisbach.ports.projection_store import Kept
from eisbach.settings import CellProcess, PeerRegion, Secrets
from eisbach.testing.world.disks import VFS_NAME, Files, Volumes
from eisbach.testing.world.loop import SimLoop
from eisbach.testing.world.network import Network
from eisbach.testing.world.nodes import CellNode, HubNode

__all__ = ["GROUP", "REGIONS", "SLOTS", "TITLES", "devices", "document", "images", "secrets_of"]

REGIONS: Final = ("eu-central", "eu-west")
GROUP: Final = "eu/de/main"
SLOTS: Final = 2
TITLES: Final = ("tears", "bunny", "film")


def document(region: str, *, cell: str = "c1") -> CellProcess:
    """A cell's process document; the folder comes with each life."""
    peers = [
        PeerRegion(region=other, door=other, edge=f"http://{other}.edge", origin=f"http://{other}.origin")
        for other in REGIONS
        if other != region
    ]
    return CellProcess(
        region=region, cell=cell, host="", port=0, folder="", secrets="", groups={GROUP: SLOTS},
        slots={GROUP: list(range(SLOTS))}, preferred={GROUP: [REGIONS[n % 2] for n in range(SLOTS)]}, peers=peers,
        edge=f"http://{region}.edge", origin=f"http://{region}.origin", front="http://front", hub="",
        distances={r: {"de": n} for n, r in enumerate(REGIONS)}, residencies=dict.fromkeys(REGIONS, "eu"),
        owners={cell: {GROUP: list(range(SLOTS))}},
    )  # fmt: skip


def _key(region: str) -> dict[str, Any]:
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(region.encode()).digest())
    found: dict[str, Any] = OKPKey.import_key(private, {"kid": region}).as_dict(private=True)
    return found


def secrets_of(region: str) -> Secrets:
    """Keys that are the same in every world, so that a run can be repeated."""
    keys = {r: _key(r) for r in REGIONS}
    return Secrets(
        jwt_private=keys[region], jwt_public=[{k: v for k, v in key.items() if k != "d"} for key in keys.values()],
        media_keys={"m1": "11" * 32}, session_keys={"s1": "22" * 32}, map_key="33" * 32,
        **{f"{who}_token": who for who in ("peer", "service", "operator")},
    )  # fmt: skip


def devices() -> list[str]:
    """One device per slot and one more: two accounts share a slot."""
    group = Group.parse(GROUP)
    names = [f"device-{n:04d}" for n in range(200)]
    slots = {name: slot_of(account_of(name, group), group, SLOTS).number for name in names}
    one, other = ([n for n in names if slots[n] == slot] for slot in range(SLOTS))
    return [one[0], other[0], one[1]]


def _catalogue() -> list[Kept]:
    video = Track(
        id="v720", kind="video", codecs="avc1.4d401f", bandwidth=2_000_000, timescale=1000, segments=[(2000, 50)],
        width=1280, height=720, fps=25,
    )  # fmt: skip
    documents: list[tuple[str, msgspec.Struct]] = []
    for name in TITLES:
        rights = [RightsWindow(markets=["de"])]
        title = Title(id=name, revision=1, names={"en": name}, asset=f"{name}-a", state="published", rights=rights)
        documents.append(("tv.catalog.title.published.v1", title))
        documents.append(("tv.package.asset.ready.v1", Asset(id=f"{name}-a", duration_ms=100_000, tracks=[video])))
    found: list[Kept] = []
    for seq, (kind, body) in enumerate(documents, 1):
        event = Event(
            id=f"genesis-{seq}", source="//eu-central/studio", type=kind, subject="x", time="", slot="any/all/studio/1",
            origin="eu-central", epoch=1, seq=seq, prev=seq - 1, hlc=seq, data=msgspec.Raw(msgspec.json.encode(body)),
        )  # fmt: skip
        found += [
            Kept(c.kind, c.id, (c.version.revision, c.version.hlc, c.version.origin, c.version.seq),
                 msgspec.json.encode(c.body))
            for c in changes_of(event)
        ]  # fmt: skip
    return found


async def _projection(volumes: Volumes) -> Files:
    volume = volumes.make({})
    store = SqliteProjectionStore(Path(volume.folder) / "projection.db", vfs=VFS_NAME)
    await store.keep(_catalogue())
    await store.aclose()
    files = volume.survivors(random.Random(0), power=False)  # noqa: S311 - nothing is lost here
    volumes.drop(volume)
    return files


async def _first_lives(volumes: Volumes) -> dict[str, Files]:
    network = Network(random.Random(0), lambda _phase, _fault: None)  # noqa: S311 - nothing is lost here
    found: dict[str, Files] = {}
    for region in REGIONS:
        hub = HubNode(region, volumes, seed="genesis", files={})
        alone = msgspec.structs.replace(document(region), peers=[])
        cell = CellNode(alone, secrets_of(region), volumes, seed="genesis", files=await _projection(volumes))
        cell.network, cell.hub = network, hub
        for process in (hub, cell):
            process.start()
            await process.opened.wait()
        await asyncio.sleep(1)
        for process in (cell, hub):
            found[process.name] = await process.stop()
    return found


_made: dict[str, Files] = {}


def images(volumes: Volumes) -> dict[str, Files]:
    """Process -> the files on its disk when a world begins."""
    if not _made:
        loop = SimLoop("genesis")
        try:
            _made.update(loop.run_until_complete(_first_lives(volumes)))
        finally:
            loop.close()
        gc.collect()
        gc.freeze()  # what is there now stays: collecting after each run must not walk through all modules (80 ms)
    return _made
