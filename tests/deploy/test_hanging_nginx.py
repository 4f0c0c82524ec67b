"""An nginx that hangs takes connections, by the kernel's hand, and answers nobody: it is not ready, and it is said."""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from eisbach.bootstrap.agent import nginx_process
from eisbach.bootstrap.tools import locate_tools
from eisbach.deploy.laptop import supervised
from eisbach.deploy.laptop.addresses import REGIONS
from eisbach.deploy.laptop.documents import Documents
from eisbach.deploy.laptop.front import front_site
from eisbach.deploy.laptop.impact import Circumstances, Part, summarise
from eisbach.deploy.laptop.supervised import Supervised
from eisbach.deploy.laptop.topology import ProcessSpec, build
from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map
from eisbach.edge.nginx_front import front_config
from eisbach.edge.nginx_origin import KEYS_FILE, SCRIPT_FILE, OriginSite, keys_json, origin_config, script
from eisbach.edge.rules import Region
from eisbach.kernel.slotmap import CellEntry, SlotMap
from eisbach.settings import Settings

from .conftest import supervisor, until

pytestmark = pytest.mark.processes
REGION = REGIONS[0]
KINDS = ("front", "edge", "origin")


def nginxes(root: Path) -> list[ProcessSpec]:
    """The three of a region as ``up`` starts them, each on its own generated configuration."""
    settings = Settings(network="127.0.25")
    documents = Documents(
        settings=settings, root=root, regions=(REGION,), tools=locate_tools(settings), operator_token="t"
    )
    specs = [s for s in build("cells", documents, demo=False).processes if s.kind in KINDS]
    for one in specs:
        folder = Path(one.folder)
        folder.mkdir(parents=True)
        for name, content in files(documents, one.kind).items():
            (folder / name).write_bytes(content)
    return [replace(one, depends=()) for one in specs]


def files(documents: Documents, kind: str) -> Mapping[str, bytes]:
    if kind == "front":
        return {"nginx.conf": front_config(front_site(documents, {}, {})).encode()}
    agent = documents.agent(REGION)
    slot_map = SlotMap(
        region=REGION, version=1, issued_ms=0, cells={"c1": CellEntry(address=documents.at.cell(REGION, "c1"))},
        groups={"eu/de/main": ["c1"]}, preferred={"eu/de/main": [REGION]},
    )  # fmt: skip
    if kind == "edge":
        edge = EdgeSite(
            region=Region(name=REGION, residency="eu"), host=agent.host, port=agent.edge_port,
            peer_port=agent.peer_port, media="/nowhere", process=nginx_process(),
        )  # fmt: skip
        return {PEER_TOKEN_FILE: peer_token_map("t").encode(), "nginx.conf": edge_config(edge, slot_map).encode()}
    origin = OriginSite(
        region=REGION, host=agent.host, port=agent.origin_port, media="/nowhere", process=nginx_process()
    )
    config = origin_config(origin, slot_map).encode()
    return {KEYS_FILE: keys_json({"m1": "00" * 32}), SCRIPT_FILE: script(), "nginx.conf": config}


def workers(process: Supervised) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


async def test_an_nginx_whose_workers_hang_is_not_ready_until_they_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "WATCH_EVERY", timedelta(seconds=0.2))
    async with supervisor(tmp_path, *nginxes(tmp_path)) as one:
        await asyncio.wait_for(one.until_ready(), 20)
        found = list(one.processes.values())
        stopped = [pid for process in found for pid in workers(process)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        await until("all three are unready", lambda: {p.state for p in found} == {"unready"})
        why = [process.why for process in found]
        parts = [Part(spec=p.spec, state=p.state, since_ms=0, layout={}) for p in found]
        told = summarise(parts, Circumstances(stage="cells", now_ms=0))
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        await until("all three are ready", lambda: {p.state for p in found} == {"ready"})
        restarts = [process.restarts for process in found]
        await asyncio.sleep(0.5)  # the log is written every 200 ms
        logged = "".join((Path(p.spec.folder) / "access.log").read_text() for p in found)

    assert all(text.endswith("/healthz did not answer within 1 s") for text in why), why
    assert set(told.hurt) == {
        "new visitors (front is not ready)", f"everybody (edge/{REGION} is not ready)",
        f"everybody who plays (origin/{REGION} is not ready)",
    }  # fmt: skip
    assert (restarts, logged) == ([0, 0, 0], "")
