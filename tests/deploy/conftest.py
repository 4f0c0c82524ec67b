"""A supervisor over stand-in processes on 127.0.25.x, and helpers that wait with a bound."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from eisbach.deploy.laptop.supervisor import Supervisor
from eisbach.deploy.laptop.topology import ProcessSpec, Ready, Topology
from eisbach.engines.embedded.clock import SystemClock

STAND_IN = Path(__file__).parent / "stand_in.py"
HOST = "127.0.25.1"


def spec(
    root: Path, target: str, port: int, *flags: str, depends: tuple[str, ...] = (), region: str = "eu-central"
) -> ProcessSpec:
    address = f"{HOST}:{port}"
    return ProcessSpec(
        target=target,
        kind=target.partition("/")[0],
        region=region,
        argv=(sys.executable, str(STAND_IN), address, *flags),
        ready=(Ready("http", f"http://{address}/readyz"),),
        depends=depends,
        listens=(address,),
        url=f"http://{address}",
        public=target.partition("/")[0] in ("edge", "origin"),
        folder=str(root / "work" / target.replace("/", "-")),
    )


@asynccontextmanager
async def supervisor(
    root: Path, *specs: ProcessSpec, rehearsal: bool = True, lay: Callable[[], None] = lambda: None
) -> AsyncIterator[Supervisor]:
    topology = Topology(stage="cells", front="http://127.0.25.1:8000", regions=("eu-central",), processes=specs)
    one = Supervisor(topology, root=root, clock=SystemClock(), rehearsal=rehearsal, token="t")
    await one.open(lay=lay)
    try:
        yield one
    finally:
        await one.aclose()


async def until(what: str, probe: Callable[[], object], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


async def get(url: str, *, seconds: float = 2) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
        session.get(url) as answer,
    ):
        return answer.status, await answer.read()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


Ask = Callable[[str], Awaitable[tuple[int, bytes]]]
