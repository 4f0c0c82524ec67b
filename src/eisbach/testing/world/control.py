"""A region's control process and the agent of its edge, in production composition on a simulated host.

The agent's nginx is a folder that takes whatever the agent puts: that the generated configuration does what
``edge.rules`` says is held by a conformance test with the real nginx. May not know: faults, promises.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from eisbach.bootstrap.control import OpenControl, open_control
from eisbach.control.slot_map import Placement
from eisbach.edge.agent import MAP_FILE, Agent, AgentKeys
from eisbach.edge.nginx_edge import EdgeSite
from eisbach.edge.nginx_origin import OriginSite
from eisbach.edge.rules import Region
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.slotmap import SlotMap, encode_signed
from eisbach.settings import Secrets
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.links import CellsLink, Ways
from eisbach.testing.world.network import Network, Refused, Silent
from eisbach.testing.world.process import Executor, Process

__all__ = ["FORGED", "AgentNode", "ControlNode", "Folder"]

_LOOK_EVERY_S: Final = 2.0
_FETCH_S: Final = 2.0
FORGED: Final[tuple[str, ...]] = ("old", "unsigned", "empty", "partial", "elsewhere", "cut")


class ControlNode(Process):
    """``bootstrap.control.open_control``: slot map, moves, evacuation."""

    def __init__(
        self, region: str, told: Placement, secrets: Secrets, volumes: Volumes, *, seed: str, files: Mapping[str, bytes]
    ) -> None:
        super().__init__(f"{region}/control", region, volumes, seed=seed, files=files)
        self._told, self._secrets = told, secrets
        self.ways: Ways | None = None
        self.control: OpenControl | None = None
        self.agent: AgentNode | None = None
        """Of its edge, on the same host."""
        self.published: dict[int, SlotMap] = {}
        """Version -> what was handed out under it, in every life."""

    async def live(self) -> None:
        """Open and reconcile."""
        assert self.ways is not None
        path = Path(self.life.volume.folder) / "control.db"
        store = SqliteControlStore(path, disk=Executor(self, "control"), vfs=self.vfs)
        try:
            cells = CellsLink(self, self.ways, self._told.cells, token=self._secrets.service_token)
            key = bytes.fromhex(self._secrets.map_key)
            map_file = self.agent.files_now().get(MAP_FILE) if self.agent is not None else None
            kept = (MAP_FILE, map_file) if map_file is not None else None
            self.control = await open_control(store, cells, self._told, clock=self.clock, key=key, kept=kept)
            self.ready()
            await self.control.run()
        finally:
            self.control = None
            await store.aclose()

    async def document(self) -> bytes:
        """What ``GET /map`` answers."""
        found = self.control.reconciler.document if self.control is not None else None
        if found is None:
            raise Unavailable(f"{self.name} has published nothing yet")
        slot_map = msgspec.json.decode(msgspec.json.decode(found, type=dict[str, msgspec.Raw])["map"], type=SlotMap)
        self.published.setdefault(slot_map.version, slot_map)
        return found


class Folder:
    """``edge.agent.Prefix`` of an nginx that lives on when the agent dies."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: dict[str, bytes] = {}
        self.reloads = 0
        self.running = True

    def holds(self, files: Mapping[str, bytes]) -> bool:
        """See ``Prefix``."""
        return self._files == files

    async def check(self, files: Mapping[str, bytes]) -> None:
        """See ``Prefix``."""

    def put(self, files: Mapping[str, bytes]) -> None:
        """See ``Prefix``."""
        self._files = dict(files)
        self.reloads += 1

    def rotate_logs(self) -> None:
        """See ``Prefix``."""


class AgentNode(Process):
    """The agent of a region's edge; what it holds is what the edge routes by."""

    def __init__(
        self, region: str, counts: Mapping[str, int], secrets: Secrets, volumes: Volumes, *, seed: str,
        files: Mapping[str, bytes],
    ) -> None:  # fmt: skip
        super().__init__(f"{region}/agent", region, volumes, seed=seed, files=files)
        self._counts, self._secrets = counts, secrets
        self._prefixes = (Folder("edge"), Folder("origin"))
        self.network: Network | None = None
        self.control: ControlNode | None = None
        self.document: bytes = b""
        """In force at the edge, whether the agent lives or not."""
        self.taken: list[bytes] = []
        """Every map that was put in force, in order."""
        self.forge: Callable[[], str] = lambda: ""
        """How the next map that it fetches is forged; empty: not at all."""

    async def live(self) -> None:
        """``bootstrap.agent``'s loop."""
        agent = self._agent()
        await agent.load()
        self._note(agent)
        self.ready()
        while True:
            await agent.activate(self._fetch)
            self._note(agent)
            await self.clock.sleep(_LOOK_EVERY_S)

    def _agent(self) -> Agent:
        secrets, folder = self._secrets, self.life.volume.folder
        region = Region(name=self.region, residency="eu")
        keys = AgentKeys(
            map_key=bytes.fromhex(secrets.map_key), media_keys=secrets.media_keys, peer_token=secrets.peer_token
        )
        return Agent(
            sites=(
                EdgeSite(region=region, host="127.0.0.1", port=8080, peer_port=8090, media="/media"),
                OriginSite(region=self.region, host="127.0.0.1", port=8081, media="/media"),
            ),
            prefixes=self._prefixes, map_file=folder / MAP_FILE, slot_counts=self._counts, keys=lambda: keys,
            clock=self.clock,
        )  # fmt: skip

    def _note(self, agent: Agent) -> None:
        if agent.document is not None and agent.document != self.document:
            self.document = agent.document
            self.taken.append(agent.document)

    async def _fetch(self) -> bytes:
        assert self.network is not None
        assert self.control is not None
        control = self.control
        try:
            found = await self.network.call(self, control, "fetch", control.document, seconds=_FETCH_S)
        except (Refused, Silent) as error:
            raise Unavailable(str(error)) from error
        kind = self.forge()
        if kind:
            self.network.note("fetch.answer", f"forged-{kind}")
        return _forged(kind, found, self.taken, bytes.fromhex(self._secrets.map_key)) if kind else found


def _forged(kind: str, document: bytes, taken: list[bytes], key: bytes) -> bytes:
    """A map that no edge may take; where it is signed, the key is the right one."""
    slot_map = msgspec.json.decode(msgspec.json.decode(document, type=dict[str, msgspec.Raw])["map"], type=SlotMap)
    newer = msgspec.structs.replace(slot_map, version=slot_map.version + 1000)
    if kind == "old":
        return taken[0] if len(taken) > 1 else encode_signed(msgspec.structs.replace(slot_map, version=0), key)
    if kind == "unsigned":
        return encode_signed(newer, b"somebody else's key")
    if kind == "empty":
        return encode_signed(msgspec.structs.replace(newer, groups={}, cells={}), key)
    if kind == "partial":
        groups = {group: owners[:-1] for group, owners in slot_map.groups.items()}
        return encode_signed(msgspec.structs.replace(newer, groups=groups), key)
    if kind == "elsewhere":
        return encode_signed(msgspec.structs.replace(newer, region="elsewhere"), key)
    return document[: len(document) // 2]
