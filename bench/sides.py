"""The same service, each as real processes on loopback: our cell, the monolith plain and batched, and bare limits.

Every side has a hub of its own (NATS, ``sync_interval: always``) and knows the same catalogue. A ``Side`` tells the CPU
of each of its parts: every process of the part's tree, ended ones included, read from /proc.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import nats
from bench.figures import descendants
from bench.monolith.app import KINDS
from bench.monolith.outbox import STREAM
from bench.monolith.postgres import running as postgres_running
from tests.cell.kit import DEMO, catalogue_envelope, document, make_secrets

from eisbach.bootstrap.agent import nginx_process
from eisbach.bootstrap.tools import locate_tools
from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map
from eisbach.edge.rules import Region as EdgeRegion
from eisbach.engines.nats.configuration import nats_configuration
from eisbach.engines.nats.event_log import JetStreamEventLog
from eisbach.kernel.slotmap import CellEntry, SlotMap
from eisbach.ports.event_log import decode_envelope
from eisbach.settings import Settings

__all__ = [
    "SIDES",
    "Side",
    "edge_before",
    "hub_running",
    "more_cells",
    "process_running",
    "publish_catalogue",
    "running",
    "wait_for",
]

ROOT = Path(__file__).parents[1]
SIDES = ("cell", "monolith", "batched")
REGION, GROUP, SLOTS = "eu-central", "eu/de/main", 64
HUB_PORT, PORT, EDGE_PORT = 8222, 8101, 8080
READY_WITHIN_S = 40.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Side:
    """A running service."""

    name: str
    host: str
    port: int
    roots: dict[str, int] = field(default_factory=dict)
    """Part -> pid of the first process of its tree."""
    folder: Path = Path()

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def hub(self) -> str:
        return f"nats://{self.host}:{HUB_PORT}"

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU of each part so far."""
        return {part: tree_cpu(pid) for part, pid in self.roots.items()}

    def events(self) -> list[dict[str, Any]]:
        """Every event in the hub, oldest first."""
        return asyncio.run(_events(self))


def tree_cpu(root: int) -> float:
    """User and system seconds of a process and all below it; what the root has reaped counts (proc(5), stat 14 to 17)."""
    total = 0.0
    for pid in descendants(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(ticks) for ticks in fields[11 : 15 if pid == root else 13]) / _TICKS
    return total


async def _events(side: Side) -> list[dict[str, Any]]:
    stream = f"EV_{REGION}" if side.name == "cell" else STREAM
    client = await nats.connect(side.hub)
    found: list[dict[str, Any]] = []
    try:
        js = client.jetstream()
        last = (await js.stream_info(stream)).state.messages
        pull = await js.pull_subscribe("", stream=stream, durable=None)
        for _ in range(0, last, 100):
            for message in await pull.fetch(min(100, last), timeout=5):
                if side.name != "cell":
                    found += msgspec.json.decode(message.data)
                elif decode_envelope(message.data).source != f"{REGION}/studio":
                    found += msgspec.json.decode(message.data)["events"]
                await message.ack()
    finally:
        await client.close()
    return found


@contextmanager
def process_running(command: list[Any], log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is told to stop at the end; what it says is in ``log``."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, **more) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Until ``url`` answers 200."""
    until = time.monotonic() + READY_WITHIN_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200 and child.poll() is None:  # and not somebody else on the same address
                return
        if child.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{url} did not answer within {READY_WITHIN_S:.0f} s: {log.read_text()[-2000:]}")
        time.sleep(0.05)


@contextmanager
def hub_running(folder: Path, host: str, *, region: str = REGION) -> Iterator[int]:
    """A NATS server on ``host``; its pid."""
    folder.mkdir(parents=True)
    config = nats_configuration(
        region=region, host=host, port=HUB_PORT, monitor_port=HUB_PORT + 1, store=(folder / "js").absolute()
    )
    (folder / "nats.conf").write_text(config)
    command = [Path(sys.executable).parent / "nats-server", "-c", folder / "nats.conf"]
    with process_running(command, folder / "log") as child:
        wait_for(f"http://{host}:{HUB_PORT + 1}/healthz", child, folder / "log")
        yield child.pid


async def publish_catalogue(url: str) -> None:
    log = await JetStreamEventLog(url, region=REGION).open()
    try:
        await log.append(catalogue_envelope(*DEMO), expected=0)
    finally:
        await log.aclose()


@contextmanager
def _cell(side: Side, secrets: Path, *, cell: str = "c1", publish: bool = True) -> Iterator[None]:
    process = document(
        side.folder, host=side.host, port=side.port, secrets=str(secrets), hub=side.hub, backups="",
        groups={GROUP: SLOTS, "any/all/studio": 8}, slots={GROUP: list(range(SLOTS))}, preferred={}, owners={},
        residencies={}, distances={},
    )  # fmt: skip
    if publish:
        asyncio.run(publish_catalogue(side.hub))
    (side.folder / "cell.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(process, cell=cell)))
    command, log = [ROOT / ".venv/bin/eisbach", "run", "cell", side.folder / "cell.json"], side.folder / "cell.log"
    with process_running(command, log) as child:
        wait_for(f"{side.base}/v1/de/titles/tears", child, log)
        side.roots["cell"] = child.pid
        yield


@contextmanager
def edge_before(cell: Side) -> Iterator[Side]:
    """A region's edge, the real nginx with the configuration that we generate, and the cell behind it."""
    prefix = cell.folder / "edge"
    prefix.mkdir()
    groups = {GROUP: ["c1"] * SLOTS, "any/all/studio": ["c1"] * 8}
    slot_map = SlotMap(
        region=REGION, version=1, issued_ms=0, cells={"c1": CellEntry(address=f"{cell.host}:{cell.port}")}, groups=groups,
        preferred={group: [REGION] * len(owners) for group, owners in groups.items()},
    )  # fmt: skip
    site = EdgeSite(
        region=EdgeRegion(name=REGION, residency="eu"), host=cell.host, port=EDGE_PORT, peer_port=EDGE_PORT + 1,
        media=str(prefix), process=nginx_process(),
    )  # fmt: skip
    (prefix / "nginx.conf").write_text(edge_config(site, slot_map))
    (prefix / PEER_TOKEN_FILE).write_bytes(peer_token_map("t").encode())
    command = [locate_tools(Settings()).nginx, "-p", f"{prefix}/", "-e", "error.log", "-c", "nginx.conf"]
    with process_running(command, prefix / "log") as child:
        wait_for(f"http://{cell.host}:{EDGE_PORT}/v1/de/titles/tears", child, prefix / "log")
        yield Side("edge", cell.host, EDGE_PORT, {"edge": child.pid, **cell.roots}, folder=cell.folder)


@contextmanager
def more_cells(first: Side, count: int) -> Iterator[list[Side]]:
    """Further cells beside one that runs, on its hub; each serves all slots of its own viewers."""
    with ExitStack() as stack:
        sides: list[Side] = []
        for number in range(2, count + 2):
            side = Side("cell", first.host, PORT + number, folder=first.folder / f"more-{number}")
            side.folder.mkdir()
            secrets = first.folder / "secrets.json"
            stack.enter_context(_cell(side, secrets, cell=f"c{number}", publish=False))
            sides.append(side)
        yield sides


async def _save_catalogue(dsn: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute((ROOT / "bench/monolith/schema.sql").read_text())
        kinds = {kind: name for name, kind in KINDS.items()}
        rows = [(kinds[type(found)], found.id, msgspec.json.encode(found)) for found in DEMO]
        await connection.executemany("INSERT INTO documents VALUES($1, $2, $3)", rows)
    finally:
        await connection.close()


@contextmanager
def _monolith(side: Side, secrets: Path) -> Iterator[None]:
    with postgres_running() as server:
        asyncio.run(_save_catalogue(server.dsn))
        process: Mapping[str, Any] = {
            "host": side.host, "port": side.port, "secrets": str(secrets), "dsn": server.dsn, "hub": side.hub,
            "batched": side.name == "batched", "edge": f"http://{REGION}.edge", "origin": f"http://{REGION}.origin",
        }  # fmt: skip
        (side.folder / "monolith.json").write_bytes(msgspec.json.encode(process))
        command, log = [sys.executable, "-m", "bench.monolith", side.folder / "monolith.json"], side.folder / "log"
        with process_running(command, log) as child:
            wait_for(f"{side.base}/readyz", child, log)
            side.roots |= {"service": child.pid, "database": server.pid}
            yield


@contextmanager
def running(name: str, host: str) -> Iterator[Side]:
    """One of ``SIDES`` on a loopback address of its own, with a hub of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"eisbach-bench-{name}-")))
        secrets = folder / "secrets.json"
        secrets.write_bytes(msgspec.json.encode(make_secrets()[REGION]))
        side = Side(name, host, PORT, folder=folder)
        side.roots["hub"] = stack.enter_context(hub_running(folder / "hub", host))
        stack.enter_context(_cell(side, secrets) if name == "cell" else _monolith(side, secrets))
        yield side
