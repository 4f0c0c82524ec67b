"""A stage as a list of processes: what to start, after what, and how to know that it is ready.

Pure: ``build`` turns documents into specs; the supervisor does the rest. Dependencies are what a first start really
needs; a restart never waits for them, because a running platform must not (a cell serves without its hub).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from eisbach.deploy.laptop.addresses import CELL_PORTS, Addresses
from eisbach.deploy.laptop.documents import Documents
from eisbach.engines.nats.configuration import nats_configuration
from eisbach.kernel.errors import Invalid

__all__ = ["STAGES", "ProcessSpec", "Ready", "Topology", "build"]

STAGES = ("single", "hub", "cells", "regions")


@dataclass(frozen=True, slots=True)
class Ready:
    """How readiness is seen: ``http`` (an URL that answers 200) or ``file`` (a path)."""

    kind: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process of the platform."""

    target: str
    """Its name in commands, e.g. ``cell/eu-central/c1``."""
    kind: str
    region: str
    """Empty outside all regions."""
    ready: tuple[Ready, ...]
    """All of them."""
    run: str = ""
    """Kind for ``eisbach run``: forked from the zygote; empty: ``argv`` is executed."""
    argv: tuple[str, ...] = ()
    document: msgspec.Struct | None = None
    files: tuple[tuple[str, str], ...] = ()
    """(path, content), written before each start: somebody may have cleared the folder since the last one."""
    depends: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    """``host:port``s that it binds: checked before the start, and taken over by the fault server."""
    url: str = ""
    """Where it answers, for people and for status."""
    folder: str = ""
    """Created before the start; the working directory."""
    public: bool = False
    """Viewers speak HTTP with it: faults ``error`` and ``truncate`` fit."""
    stuck: str = ""
    """In an unready answer: only a new start helps, once its disk has room again; empty: there is no such answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A stage, ready to be started."""

    stage: str
    front: str
    regions: Sequence[str]
    processes: Sequence[ProcessSpec]

    def targets(self) -> list[str]:
        """Every process target, in the order of start."""
        return [spec.target for spec in self.processes]


def build(stage: str, documents: Documents, *, demo: bool) -> Topology:
    """The processes of a stage.

    Args:
        stage: one of ``STAGES``.
        documents: of the deployment; ``single``, ``hub`` and ``cells`` use the first region only.
        demo: also run the demo's single node beside it (not in stage ``single``, which is one).

    Raises:
        Invalid: an unknown stage.
    """
    at, region = documents.at, documents.regions[0]
    if stage == "single":
        return Topology(
            stage=stage,
            front=at.edge(region),
            regions=(region,),
            processes=[_single(documents, documents.folder(region), at.edge(region), own_spokes=True)],
        )
    if stage == "hub":
        processes = _hub_stage(documents, region)
        front = at.edge(region)
    elif stage in ("cells", "regions"):
        processes = [spec for r in documents.regions for spec in _region(documents, r)]
        if len(documents.regions) > 1:
            processes.append(_link(documents))
        processes.append(_front(documents))
        front = at.front
    else:
        raise Invalid(f"stage {stage!r} is not one of {', '.join(STAGES)}")
    if demo:
        processes.append(_single(documents, documents.root / "single", f"http://{at.demo_host}:8080"))
    return Topology(stage=stage, front=front, regions=tuple(documents.regions), processes=processes)


def _python(
    kind: str, target: str, document: msgspec.Struct, *, url: str, depends: tuple[str, ...] = ()
) -> ProcessSpec:
    """A process of our own, ready when ``/readyz`` says so."""
    return ProcessSpec(
        target=target,
        kind=kind,
        region=getattr(document, "region", ""),
        run=kind,
        document=document,
        ready=(Ready("http", f"{url}/readyz"),),
        depends=depends,
        listens=(url.removeprefix("http://"),),
        url=url,
        folder=getattr(document, "folder", ""),
    )


def _region(documents: Documents, region: str) -> list[ProcessSpec]:
    at = documents.at
    host = at.host(region)
    agent_document = documents.agent(region)
    agent = Path(agent_document.folder)
    cells = [
        _python("cell", f"cell/{region}/{cell}", documents.cell(region, cell), url=f"http://{at.cell(region, cell)}")
        for cell in CELL_PORTS
        if cell in documents.layout(region)
    ]
    return [
        _hub(documents, region),
        _python("control", f"control/{region}", documents.control(region), url=f"http://{host}:8200"),
        *cells,
        _python(
            "agent", f"agent/{region}", agent_document, url=f"http://{host}:8201", depends=(f"control/{region}",)
        ),
        _nginx(
            documents, f"edge/{region}", agent / "edge", region=region, listens=(f"{host}:8080", f"{host}:8082"),
            depends=(f"agent/{region}",),
        ),
        _nginx(
            documents, f"origin/{region}", agent / "origin", region=region, listens=(f"{host}:8081",),
            depends=(f"agent/{region}",),
        ),
        *_spokes_and_workers(documents, region, cell="studio", studio=at.studio(region)),
    ]  # fmt: skip


def _spokes_and_workers(documents: Documents, region: str, *, cell: str, studio: str) -> list[ProcessSpec]:
    host = documents.at.host(region)
    target = f"cell/{region}/{cell}"
    spokes = _python(
        "spokes", f"spokes/{region}", documents.spokes(region, studio=studio), url=f"http://{host}:8202",
        depends=(f"hub/{region}", target),
    )  # fmt: skip
    workers = []
    for number in range(1, documents.settings.workers + 1):
        document = documents.worker(region, number, studio=studio)
        url = f"http://{host}:{document.port}"
        workers.append(_python("worker", f"worker/{region}/{document.name}", document, url=url, depends=(target,)))
    return [spokes, *workers]


def _hub(documents: Documents, region: str) -> ProcessSpec:
    host, folder = documents.at.host(region), documents.folder(region) / "hub"
    text = nats_configuration(region=region, host=host, port=8222, monitor_port=8223, store=folder / "jetstream")
    return ProcessSpec(
        target=f"hub/{region}",
        kind="hub",
        region=region,
        argv=(str(documents.tools.nats_server), "-c", str(folder / "nats.conf")),
        ready=(Ready("http", f"http://{host}:8223/healthz"),),
        listens=(f"{host}:8222", f"{host}:8223"),
        url=f"nats://{host}:8222",
        folder=str(folder),
        files=((str(folder / "nats.conf"), text),),
        stuck="write error",  # after one that failed (ENOSPC) nats-server takes no more, whatever room there is later
    )


def _nginx(
    documents: Documents, target: str, prefix: Path, *, region: str, listens: tuple[str, ...], depends: tuple[str, ...]
) -> ProcessSpec:
    return ProcessSpec(
        target=target,
        kind=target.partition("/")[0],
        region=region,
        argv=(str(documents.tools.nginx), "-p", f"{prefix}/", "-e", str(prefix / "error.log"), "-c", "nginx.conf"),
        # An answer of nginx's own: to a connection alone the kernel says yes for a process that hangs.
        ready=tuple(Ready("http", f"http://{address}/healthz") for address in listens),
        depends=depends,
        listens=listens,
        url=f"http://{listens[0]}",
        folder=str(prefix),
        public=True,
    )


def _front(documents: Documents) -> ProcessSpec:
    at: Addresses = documents.at
    return _nginx(documents, "front", documents.root / "front", region="", listens=(f"{at.first}:8000",), depends=())


def _link(documents: Documents) -> ProcessSpec:
    link = _python("link", "link", documents.link(), url=documents.at.link)
    listens = (*link.listens, *(entry[2] for entry in documents.link().links))
    return replace(link, listens=listens)


def _single(documents: Documents, folder: Path, url: str, *, own_spokes: bool = False) -> ProcessSpec:
    document = documents.single(folder=folder, url=url, own_spokes=own_spokes)
    host = document.spokes.host
    return ProcessSpec(
        target="single",
        kind="single",
        region="",
        run="single",
        document=document,
        ready=(Ready("http", f"{url}/readyz"),),
        listens=(url.removeprefix("http://"), f"{host}:8202", f"{host}:8203"),
        url=url,
        folder=str(folder),
        public=True,
    )


def _hub_stage(documents: Documents, region: str) -> list[ProcessSpec]:
    at = documents.at
    url = at.edge(region)
    document = documents.one_cell(
        region, folder=documents.folder(region), url=url, hub=f"nats://{at.host(region)}:8222"
    )
    cell = f"cell/{region}/{document.cell}"
    spec = replace(_python("cell", cell, document, url=url), run="onecell", public=True)
    return [
        _hub(documents, region),
        spec,
        *_spokes_and_workers(documents, region, cell=document.cell, studio=url),
    ]
