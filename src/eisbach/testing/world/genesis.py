"""How a world begins: documents, keys and the disks of processes that were opened once and closed in good order.

Every run begins with the same disks, so that its seconds go into faults and not into creating tables. They are made by
the production code, once a process. May not know: faults.
"""

import asyncio
import gc
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from eisbach.control.slot_map import Placement, first_groups
from eisbach.domain.accounts import account_of
from eisbach.domain.catalog import Asset, RightsWindow, Title, Track, changes_of
from eisbach.engines.embedded.projection_store import SqliteProjectionStore
from eisbach.kernel.events import Event
from eisbach.kernel.slots import Group, slot_of
from eisbach.ports.projection_store import Kept
from eisbach.settings import CellProcess, PeerRegion, Secrets
from eisbach.testing.world.control import AgentNode, ControlNode
from eisbach.testing.world.disks import VFS_NAME, Files, Volumes
from eisbach.testing.world.links import Ways
from eisbach.testing.world.loop import SimLoop
from eisbach.testing.world.network import Network
from eisbach.testing.world.nodes import CellNode, HubNode
from eisbach.testing.world.process import Process

__all__ = ["GROUP", "REGIONS", "SHAPES", "STRANGER", "TITLES", "Shape", "devices", "document", "images", "nth_of_shape",
           "placement", "secrets_of", "shape_of"]  # fmt: skip

REGIONS: Final = ("eu-central", "eu-west")
STRANGER: Final = "us-east"
"""A region whose residency is another, and whose cell is set up as if nobody had told it (P19)."""
GROUP: Final = "eu/de/main"
TITLES: Final = ("tears", "bunny", "film")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which processes a world has."""

    name: str
    cells: Mapping[str, Sequence[str]]
    """Region -> its cells; slot n begins at the nth of them, in turn."""
    slots: int
    """Of the group; a move changes one, and a map may change a fifth of them without a flag."""
    control: bool = False
    """Whether each region has a control process and an agent: then slots move and regions are evacuated."""

    def first(self, region: str, cell: str) -> list[int]:
        """The slots that a cell has when its store is new."""
        cells = self.cells[region]
        return [number for number in range(self.slots) if cells[number % len(cells)] == cell]


_TWINS: Final = Shape(name="twins", cells=dict.fromkeys(REGIONS, ("c1",)), slots=2)
_MOVING: Final = Shape(name="moving", cells={REGIONS[0]: ("c1", "c2"), REGIONS[1]: ("c1",)}, slots=5, control=True)
_RESIDENCY: Final = Shape(name="residency", cells=dict.fromkeys((*REGIONS, STRANGER), ("c1",)), slots=2)
SHAPES: Final = (_TWINS, _MOVING, _TWINS, _MOVING, _TWINS, _MOVING, _TWINS, _RESIDENCY)


def shape_of(seed: int) -> Shape:
    """The shape of a seed's world."""
    return SHAPES[seed % len(SHAPES)]


def nth_of_shape(seed: int) -> int:
    """How many seeds below this one have a world of its shape."""
    names = [shape.name for shape in SHAPES]
    place = seed % len(SHAPES)
    return seed // len(SHAPES) * names.count(names[place]) + names[:place].count(names[place])


def address(region: str, cell: str) -> str:
    """Where a cell would listen."""
    return f"10.0.{(*REGIONS, STRANGER).index(region)}.{cell[1:]}:9000"


def document(shape: Shape, region: str, cell: str) -> CellProcess:
    """A cell's process document; the folder comes with each life."""
    peers = [
        PeerRegion(region=other, door=other, edge=f"http://{other}.edge", origin=f"http://{other}.origin")
        for other in REGIONS
        if other != region
    ]
    # The stranger believes that everybody may have everything: the promise is kept by who sends.
    residencies = {**dict.fromkeys(REGIONS, "eu"), STRANGER: "us" if region in REGIONS else "eu"}
    return CellProcess(
        region=region, cell=cell, host="", port=0, folder="", secrets="", groups={GROUP: shape.slots},
        slots={GROUP: shape.first(region, cell)}, preferred={GROUP: _preferred(shape)}, peers=peers,
        edge=f"http://{region}.edge", origin=f"http://{region}.origin", front="http://front", hub="",
        distances={r: {"de": n} for n, r in enumerate(shape.cells)},
        residencies={r: residencies[r] for r in shape.cells},
        owners={name: {GROUP: shape.first(region, name)} for name in shape.cells[region]},
    )  # fmt: skip


def _preferred(shape: Shape) -> list[str]:
    return [REGIONS[n % 2] for n in range(shape.slots)]


def placement(shape: Shape, region: str) -> Placement:
    """What a region's control process is told."""
    cells = shape.cells[region]
    owned = {cell: {GROUP: shape.first(region, cell)} for cell in cells}
    return Placement(
        region=region, cells={cell: address(region, cell) for cell in cells},
        groups=first_groups({GROUP: shape.slots}, owned), preferred={GROUP: _preferred(shape)},
    )  # fmt: skip


def _key(region: str) -> dict[str, Any]:
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(region.encode()).digest())
    found: dict[str, Any] = OKPKey.import_key(private, {"kid": region}).as_dict(private=True)
    return found


@cache
def secrets_of(region: str) -> Secrets:
    """Keys that are the same in every world, so that a run can be repeated."""
    keys = {r: _key(r) for r in (*REGIONS, STRANGER)}
    return Secrets(
        jwt_private=keys[region], jwt_public=[{k: v for k, v in key.items() if k != "d"} for key in keys.values()],
        media_keys={"m1": "11" * 32}, session_keys={"s1": "22" * 32}, map_key="33" * 32,
        **{f"{who}_token": who for who in ("peer", "service", "operator")},
    )  # fmt: skip


def devices(shape: Shape) -> list[str]:
    """One device in slot 0, one in slot 1 and one more in slot 0: two accounts share a slot."""
    group = Group.parse(GROUP)
    names = [f"device-{n:04d}" for n in range(200)]
    slots = {name: slot_of(account_of(name, group), group, shape.slots).number for name in names}
    one, other = ([n for n in names if slots[n] == slot] for slot in range(2))
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


async def _first_lives(shape: Shape, volumes: Volumes) -> dict[str, Files]:
    network = Network(random.Random(0), lambda _phase, _fault: None)  # noqa: S311 - nothing is lost here
    found: dict[str, Files] = {}
    for region, names in shape.cells.items():
        hub = HubNode(region, volumes, seed="genesis", files={})
        processes: list[Process] = [hub]
        nodes: dict[str, CellNode] = {}
        for name in names:
            alone = msgspec.structs.replace(document(shape, region, name), peers=[])
            files = await _projection(volumes)
            cell = CellNode(alone, secrets_of(region), volumes, seed="genesis", files=files)
            cell.ways, cell.hub = Ways(network=network, nodes={}), hub
            nodes[address(region, name)] = cell
            processes.append(cell)
        if shape.control:
            ways = Ways(network=network, nodes=nodes)
            told = placement(shape, region)
            control = ControlNode(region, told, secrets_of(region), volumes, seed="genesis", files={})
            control.ways = ways
            agent = AgentNode(region, {GROUP: shape.slots}, secrets_of(region), volumes, seed="genesis", files={})
            agent.network, agent.control = network, control
            processes += [control, agent]
        for process in processes:
            process.start()
            await process.opened.wait()
        await asyncio.sleep(3)
        for process in reversed(processes):
            found[process.name] = await process.stop()
    return found


_made: dict[str, dict[str, Files]] = {}


def images(shape: Shape, volumes: Volumes) -> dict[str, Files]:
    """Process -> the files on its disk when a world begins."""
    if shape.name not in _made:
        loop = SimLoop("genesis")
        asyncio.set_event_loop(loop)
        try:
            _made[shape.name] = loop.run_until_complete(_first_lives(shape, volumes))
        finally:
            loop.close()
            asyncio.set_event_loop(None)
        gc.collect()
        gc.freeze()  # what is there now stays: collecting after each run must not walk through all modules (80 ms)
    return _made[shape.name]
