"""The process documents of every stage, from settings alone (``settings.*Process``).

Pure: builds values, writes nothing. Slots are laid out here for the first start; from then on the control store
and the cells' lease rows decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eisbach.bootstrap.tools import Tools
from eisbach.deploy.laptop.addresses import CELL_PORTS, DISTANCES, RESIDENCIES, Addresses
from eisbach.edge.agent import MAP_FILE
from eisbach.settings import (
    AgentProcess,
    CellProcess,
    ControlProcess,
    LinkProcess,
    PeerRegion,
    Settings,
    SingleProcess,
    SpokesProcess,
    WorkerProcess,
)

__all__ = ["Documents"]

STUDIO = "any/all/studio"
_MARKETS: dict[str, dict[str, tuple[str, ...]]] = {
    "eu": {"eu/de/main": ("c1", "c2"), "eu/at/main": ("c3",)},
    "us": {"us/us/main": ("c1", "c2")},
}
"""Residency -> group -> the cells that share its slots evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Builds the documents of one deployment."""

    settings: Settings
    root: Path
    """The data folder, absolute."""
    regions: Sequence[str]
    tools: Tools
    operator_token: str

    @property
    def at(self) -> Addresses:
        """The addresses in use."""
        return Addresses(self.settings.network)

    def folder(self, region: str) -> Path:
        """Everything that is a region's own."""
        return self.root / "regions" / region

    def groups(self) -> dict[str, int]:
        """Every group the platform has, with its slot count."""
        residencies = {RESIDENCIES[region] for region in self.regions}
        markets = [group for residency in sorted(residencies) for group in _MARKETS[residency]]
        return dict.fromkeys([*markets, STUDIO], self.settings.slots)

    def region_groups(self, region: str) -> dict[str, int]:
        """The groups that a region serves: its residency's, and the studio's."""
        return dict.fromkeys([*_MARKETS[RESIDENCIES[region]], STUDIO], self.settings.slots)

    def layout(self, region: str) -> dict[str, dict[str, list[int]]]:
        """Cell -> group -> slots of the first map: a group's slots in even, contiguous shares."""
        count = self.settings.slots
        found: dict[str, dict[str, list[int]]] = {"studio": {STUDIO: list(range(count))}}
        for group, cells in _MARKETS[RESIDENCIES[region]].items():
            for place, cell in enumerate(cells):
                share = range(count * place // len(cells), count * (place + 1) // len(cells))
                found.setdefault(cell, {})[group] = list(share)
        return found

    def preferred(self) -> dict[str, list[str]]:
        """Group -> preferred region of slot 0, 1, 2 ...: in turn, so that each region has half of every cell."""
        chosen: dict[str, list[str]] = {}
        for group, count in self.groups().items():
            residency = group.partition("/")[0]
            own = [r for r in self.regions if residency in ("any", RESIDENCIES[r])]
            chosen[group] = [own[number % len(own)] for number in range(count)]
        return chosen

    def peers(self, region: str) -> list[PeerRegion]:
        """The other regions, through this region's end of the links."""
        return [
            PeerRegion(
                region=peer,
                door=f"http://{self.at.host(region)}:{self.at.link_port(region, peer)}",
                edge=self.at.edge(peer),
                origin=self.at.origin(peer),
            )
            for peer in self.regions
            if peer != region
        ]

    def cell(self, region: str, cell: str) -> CellProcess:
        """A cell of stages ``cells`` and ``regions``."""
        layout = self.layout(region)
        return CellProcess(
            region=region,
            cell=cell,
            host=self.at.host(region),
            port=CELL_PORTS[cell],
            folder=str(self.folder(region) / "cells" / cell),
            secrets=self._secrets(region),
            groups=self.groups(),
            slots=layout[cell],
            preferred=self.preferred(),
            peers=self.peers(region),
            edge=self.at.edge(region),
            origin=self.at.origin(region),
            front=self.at.front,
            hub=f"nats://{self.at.host(region)}:8222",
            studio=cell == "studio",
            blobs=self._blobs(region) if cell == "studio" else "",
            distances={r: DISTANCES[r] for r in self.regions},
            residencies={r: RESIDENCIES[r] for r in self.regions},
            owners=layout,
            others_began=any(self._began(other) for other in self.regions if other != region),
            agent=f"http://{self.at.host(region)}:8201",
            control=f"http://{self.at.host(region)}:8200",
            backups="" if cell == "studio" else str(self.folder(region) / "backups"),
            rehearsal=self.settings.rehearsal,
        )

    def spokes(self, region: str, *, studio: str) -> SpokesProcess:
        """The spoke host of a region; ``studio`` is the URL of the cell that hosts the studio."""
        return SpokesProcess(
            region=region,
            host=self.at.host(region),
            port=8202,
            folder=str(self.folder(region) / "spokes"),
            secrets=self._secrets(region),
            hub=f"nats://{self.at.host(region)}:8222",
            studio=studio,
            blobs=self._blobs(region),
            peers=self.peers(region),
            spokes_folder=self.spokes_folder,
            rehearsal=self.settings.rehearsal,
        )

    @property
    def spokes_folder(self) -> str:
        """Where the user's own spokes are, absolute."""
        return str(Path(self.settings.spokes or self.root / "spokes").absolute())

    def worker(self, region: str, number: int, *, studio: str) -> WorkerProcess:
        """A media worker; ``number`` from 1."""
        return WorkerProcess(
            region=region,
            name=f"w{number}",
            host=self.at.host(region),
            port=8203 if number == 1 else 8210 + number,
            folder=str(self.folder(region) / "workers" / f"w{number}"),
            secrets=self._secrets(region),
            studio=studio,
            blobs=self._blobs(region),
            ffmpeg=str(self.tools.ffmpeg),
            ffprobe=str(self.tools.ffprobe),
            packager=str(self.tools.packager),
            unsafe_media=self.settings.unsafe_media,
        )

    def control(self, region: str) -> ControlProcess:
        """The control process of a region."""
        layout = self.layout(region)
        own = self.region_groups(region)
        return ControlProcess(
            region=region,
            host=self.at.host(region),
            port=8200,
            folder=str(self.folder(region) / "control"),
            secrets=self._secrets(region),
            groups=own,
            cells={cell: self.at.cell(region, cell) for cell in layout},
            slots=layout,
            preferred={group: regions for group, regions in self.preferred().items() if group in own},
            peers=self.peers(region),
            edge_map=str(self.folder(region) / "agent" / "edge" / MAP_FILE),
        )

    def agent(self, region: str) -> AgentProcess:
        """The edge and origin agent of a region."""
        return AgentProcess(
            region=region,
            host=self.at.host(region),
            port=8201,
            folder=str(self.folder(region) / "agent"),
            secrets=self._secrets(region),
            control=f"http://{self.at.host(region)}:8200",
            nginx=str(self.tools.nginx),
            edge_port=8080,
            peer_port=8082,
            origin_port=8081,
            cells={cell: self.at.cell(region, cell) for cell in self.layout(region)},
            groups=self.region_groups(region),
            peers=self.peers(region),
            front=self.at.front,
            blobs=self._blobs(region),
            residencies={r: RESIDENCIES[r] for r in self.regions},
        )

    def link(self) -> LinkProcess:
        """All wide-area links."""
        return LinkProcess(
            host=self.at.first,
            port=8005,
            links=[
                (
                    region,
                    peer,
                    f"{self.at.host(region)}:{self.at.link_port(region, peer)}",
                    f"{self.at.host(peer)}:8082",
                )
                for region in self.regions
                for peer in self.regions
                if peer != region
            ],
            token=self.operator_token,
        )

    def one_cell(self, region: str, *, folder: Path, url: str, hub: str) -> CellProcess:
        """The cell of stages ``single`` and ``hub``: every slot, studio included, API and media on one port."""
        cell = "c1"
        slots = {group: list(range(count)) for group, count in self.region_groups(region).items()}
        host, _, port = url.removeprefix("http://").partition(":")
        return CellProcess(
            region=region,
            cell=cell,
            host=host,
            port=int(port),
            folder=str(folder / "cells" / cell),
            secrets=str(folder / "secrets.json"),
            groups=self.region_groups(region),
            slots=slots,
            preferred={group: [region] * count for group, count in self.region_groups(region).items()},
            peers=[],
            edge=url,
            origin=url,
            front=url,
            hub=hub,
            studio=True,
            blobs=str(folder / "blobs"),
            distances={region: DISTANCES[region]},
            residencies={region: RESIDENCIES[region]},
            owners={cell: slots},
            backups=str(folder / "backups"),
            cors=True,
            rehearsal=self.settings.rehearsal,
        )

    def single(self, *, folder: Path, url: str, own_spokes: bool = False) -> SingleProcess:
        """Stage ``single``, and the left side of the demo; the region's name is that of the first.

        ``own_spokes``: with the user's; the demo's left side has none, so that nothing is done twice.
        """
        region = self.regions[0]
        host = url.removeprefix("http://").partition(":")[0]
        hub = f"sqlite:{folder / 'hub' / 'events.db'}"
        spokes = SpokesProcess(
            region=region,
            host=host,
            port=8202,
            folder=str(folder / "spokes"),
            secrets=str(folder / "secrets.json"),
            hub=hub,
            studio=url,
            blobs=str(folder / "blobs"),
            peers=[],
            spokes_folder=self.spokes_folder if own_spokes else "",
        )
        worker = WorkerProcess(
            region=region,
            name="w1",
            host=host,
            port=8203,
            folder=str(folder / "workers" / "w1"),
            secrets=str(folder / "secrets.json"),
            studio=url,
            blobs=str(folder / "blobs"),
            ffmpeg=str(self.tools.ffmpeg),
            ffprobe=str(self.tools.ffprobe),
            packager=str(self.tools.packager),
            unsafe_media=self.settings.unsafe_media,
        )
        return SingleProcess(cell=self.one_cell(region, folder=folder, url=url, hub=hub), spokes=spokes, worker=worker)

    def _began(self, region: str) -> bool:
        """Whether a cell of it has kept anything yet: all regions of a first start are new at once."""
        return any(path.stat().st_size for path in (self.folder(region) / "cells").glob("*/store.db"))

    def _secrets(self, region: str) -> str:
        return str(self.folder(region) / "secrets.json")

    def _blobs(self, region: str) -> str:
        return str(self.folder(region) / "blobs")
