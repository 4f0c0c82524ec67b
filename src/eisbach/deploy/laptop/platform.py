"""From settings and a stage to a supervisor that is ready to start: keys, folders, configurations.

Everything that is written before the first process starts is written here (``Platform.lay``), once the supervisor has
the folder and the addresses; the rest is each process's own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eisbach.bootstrap.tools import locate_tools
from eisbach.deploy.laptop.addresses import REGIONS
from eisbach.deploy.laptop.ceremony import ensure_secrets, keep_operator_token, operator_token
from eisbach.deploy.laptop.documents import Documents
from eisbach.deploy.laptop.front import FrontKeeper
from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.topology import STAGES, Topology, build
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid
from eisbach.settings import Settings

__all__ = ["Platform", "prepare"]

_REGION_COUNTS = {"single": (1,), "hub": (1,), "cells": (1,), "regions": (2, 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A stage that can be started."""

    settings: Settings
    documents: Documents
    topology: Topology
    supervisor: Supervisor
    front: FrontKeeper | None
    """None in the stages without a front."""
    operator_token: str
    demo: bool

    @property
    def root(self) -> Path:
        """The data folder, absolute."""
        return self.documents.root

    @property
    def pages(self) -> str:
        """Where a browser finds console and demo: the front, or the console itself where a stage has none."""
        if "front" in self.topology.targets():
            return self.documents.at.front
        return f"http://{self.documents.at.named}:8001"

    def lay(self) -> None:
        """Write keys and configurations.

        Raises:
            Invalid: secrets of an earlier start cannot be read.
        """
        keep_operator_token(self.root, self.operator_token)
        Path(self.documents.spokes_folder).mkdir(parents=True, exist_ok=True)
        _keys(self.documents, self.topology, self.operator_token)
        if self.front is not None:
            self.front.prepare()


def prepare(settings: Settings, *, stage: str, regions: int | None, demo: bool) -> Platform:
    """Build the supervisor; writes and starts nothing.

    Args:
        settings: data folder and network among them.
        stage: one of ``STAGES``.
        regions: how many; None for the stage's usual number.
        demo: with demo content, and the single node beside other stages.

    Raises:
        Invalid: a stage or number that does not exist, or an operator's token that is none.
        Unavailable: a program is missing.
    """
    if stage not in STAGES:
        raise Invalid(f"stage {stage!r} is not one of {', '.join(STAGES)}")
    count = regions if regions is not None else _REGION_COUNTS[stage][0]
    if count not in _REGION_COUNTS[stage]:
        usual = " or ".join(map(str, _REGION_COUNTS[stage]))
        raise Invalid(
            f"stage {stage} has {usual} region(s), not {count}; for more than one: --stage regions --regions 2"
        )
    if not re.fullmatch(r"127\.\d{1,3}\.\d{1,3}", settings.network):
        raise Invalid(
            f"network {settings.network!r} is not the first three numbers of a loopback address, e.g. '127.0.7'"
        )
    root = Path(settings.data).absolute()
    token = operator_token(root)
    documents = Documents(
        settings=settings, root=root, regions=REGIONS[:count], tools=locate_tools(settings), operator_token=token
    )
    topology = build(stage, documents, demo=demo)
    front = FrontKeeper(documents, clock=SystemClock()) if "front" in topology.targets() else None
    supervisor = Supervisor(topology, root=root, clock=SystemClock(), rehearsal=settings.rehearsal, token=token)
    return Platform(
        settings=settings,
        documents=documents,
        topology=topology,
        supervisor=supervisor,
        front=front,
        operator_token=token,
        demo=demo,
    )


def _keys(documents: Documents, topology: Topology, token: str) -> None:
    folders: Sequence[tuple[str, Path]] = [(region, documents.folder(region)) for region in topology.regions]
    ensure_secrets(folders, operator_token=token)
    single = documents.root / "single"
    if any(spec.folder == str(single) for spec in topology.processes):
        ensure_secrets([(documents.regions[0], single)], operator_token=token)
