"""What a viewer-hour of control plane costs on AWS: every call of a real run, counted by the engines, at list price.

A steady state of the workload model in real time (``viewer_fleet``): after everybody has joined the tasks start anew,
so that nothing of the joining is left to be written; then ten minutes are counted, in which each viewer has five durable
heartbeats, and each task one flush of what the minutes before came to. Two shapes at once:
tasks of cell c1 in two emulated regions, each the other's twin, one of them with all the viewers; and functions of
cell c2 through the real Lambda runtime client, with the relay's function, in one region. Latencies are the emulator's.
Environment: ``VIEWERS`` (tasks; 5000), ``VIEWERS_LAMBDA`` (40).
"""

import asyncio
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import botocore.session
import msgspec
from bench.figures import Row, cpu_seconds
from bench.viewer_bill import Counted, usage_between
from bench.viewer_fleet import JOIN_WITHIN_S, Fleet
from bench.viewer_rows import rows

from eisbach.deploy.aws.documents import VARIABLE, CellDocument
from eisbach.domain.accounts import account_of
from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.event_log import SnsSqsEventLog
from eisbach.engines.aws.tables import make_tables
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.slots import Group, slot_of
from eisbach.testing.aws.emulator import ENVIRONMENT, REGIONS, AwsEmulator
from eisbach.testing.world.genesis import secrets_of

ROOT = Path(__file__).parents[1]
OURS = dict(zip(("eu-central", "eu-west"), REGIONS, strict=True))
SLOTS = 1024
OWNED = {"c1": (0, 512), "c2": (512, 1024)}
WINDOW_S = 600.0
"""As long as a task lets the state wait for the log: one flush of each lies in it."""
JOINED_S = JOIN_WITHIN_S + 5
FROM_S = JOINED_S + 330
"""A flush takes half as long as what it writes has waited (8 to 10 minutes), and begins anew as long after its beginning:
from here on there is one in the window, whole."""
FUNCTIONS, FUNCTION_MB, RELAY_MB, RELAY_EVERY_S = 2, 512, 256, 1.0
SERVICE = {"Authorization": "Bearer service"}


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def devices(cell: str, count: int) -> list[str]:
    """Of accounts in a cell's slots."""
    group, (low, high), found, n = Group("eu", "de", "main"), OWNED[cell], [], 0
    while len(found) < count:
        n += 1
        name = f"device-{n:08d}"
        if low <= slot_of(account_of(name, group), group, SLOTS).number < high:
            found.append(name)
    return found


class Ground:
    """Tables, secrets, catalogue; tasks and functions on them."""

    def __init__(self, aws: AwsEmulator, folder: Path) -> None:
        self.aws, self.folder = aws, folder
        self.ports = {name: port() for name in OURS}
        self.processes: list[asyncio.subprocess.Process] = []

    def document(self, cell: str, region: str, *, twins: bool) -> CellDocument:
        others = {name: f"http://127.0.0.1:{self.ports[name]}" for name in OURS if name != region}
        return CellDocument(
            region=region, aws_region=OURS[region], cell=cell, group="eu/de/main", studio=False, slot_count=SLOTS,
            slots=OWNED[cell], log_table=f"eisbach-{cell}-log", state_table=f"eisbach-{cell}-state", prefix="eisbach",
            secret="eisbach/secret", address="https://eu.tv.example.org", front="https://tv.example.org",
            twins=others if twins else {}, media={name: f"https://media-{name}.tv.example.org" for name in OURS},
            groups=("eu/de/main",), residency="eu",
        )  # fmt: skip

    def environment(self, document: CellDocument) -> dict[str, str]:
        endpoint = self.aws.endpoint(document.aws_region)
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint, VARIABLE: msgspec.json.encode(document).decode()}

    async def make(self) -> None:
        session = botocore.session.get_session()
        async with AsyncExitStack() as stack:
            both = [
                await stack.enter_async_context(
                    open_clients(AwsPlace(region=region, endpoint=self.aws.endpoint(region)))
                )
                for region in REGIONS
            ]
            for cell in OWNED:
                await make_tables(both, prefix="eisbach", cell=cell)
        for ours, region in OURS.items():
            client = session.create_client("secretsmanager", region_name=region, endpoint_url=self.aws.endpoint(region))
            told = msgspec.json.encode(secrets_of(ours)).decode()
            client.create_secret(Name="eisbach/secret", SecretString=told)
            await self.catalogue(AwsPlace(region=region, endpoint=self.aws.endpoint(region)), f"{ours}/studio")

    async def catalogue(self, place: AwsPlace, source: str) -> None:
        from kit import DEMO, catalogue_envelope

        log = await SnsSqsEventLog(place, prefix="eisbach", clock=SystemClock()).open()
        last = await log.last(source)
        told = catalogue_envelope(*DEMO, lsn=last.last_lsn + 1)
        await log.append(msgspec.structs.replace(told, source=source), expected=last.sequence)
        await log.aclose()

    async def task(self, document: CellDocument, at: int, http: aiohttp.ClientSession) -> asyncio.subprocess.Process:
        folder = self.folder / f"{document.region}-{document.cell}"
        more = {
            "ADDRESS": f"127.0.0.1:{at}",
            "FOLDER": str(folder),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
        }
        command = [sys.executable, "-m", "eisbach.deploy.aws.handlers.fargate"]
        process = await asyncio.create_subprocess_exec(
            *command, env={**self.environment(document), **more}, stdout=(self.folder / f"{at}.log").open("wb")
        )
        self.processes.append(process)
        async with asyncio.timeout(60):
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{at}/v1/de/titles/tears") as answer:
                        if answer.status == 200:
                            return process
                except aiohttp.ClientError:
                    pass
                if process.returncode is not None:
                    raise RuntimeError((self.folder / f"{at}.log").read_text()[-2000:])
                await asyncio.sleep(0.2)


async def ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        await process.wait()


class Tasks:
    """Cell c1 behind a balancer: one task a region, the viewers at the first."""

    def __init__(
        self, ground: Ground, http: aiohttp.ClientSession, processes: dict[str, asyncio.subprocess.Process]
    ) -> None:
        self.ground, self.http, self.processes = ground, http, processes
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def url(self, region: str) -> str:
        return f"http://127.0.0.1:{self.ground.ports[region]}"

    async def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any, int, int]:
        raw = json.dumps(body).encode() if body is not None else b""
        told = {**headers, "Content-Type": "application/json"} if raw else headers
        async with self.http.request(method, self.url("eu-central") + path, data=raw or None, headers=told) as answer:
            found = await answer.read()
            sizes = [len(raw) + _head(told), len(found) + _head(answer.headers)]
            return answer.status, json.loads(found) if found else None, sizes[0], sizes[1]

    async def look(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for region, process in self.processes.items():
            async with self.http.get(f"{self.url(region)}/status", headers=SERVICE) as answer:
                status = await answer.json()
                assert answer.status == 200, status
            found[region] = {"aws": status["aws"], "cpu": cpu_seconds(process.pid), "store": status["store"]}
        return found

    def counted(self, fleet: Fleet) -> Counted:
        found = _counted(fleet)
        for region, after in self.after.items():
            before = self.before[region]
            found.task_cpu_s += after["cpu"] - before["cpu"]
            for part in ("store", "hub"):
                found.add(usage_between(before["aws"][part], after["aws"][part]))
        west = [one["eu-west"]["store"]["bytes_written"] for one in (self.before, self.after)]
        found.bytes_between = west[1] - west[0]
        return found


def _head(headers: Any) -> int:
    """Request or status line, and the fields."""
    return 60 + sum(len(name) + len(value) + 4 for name, value in headers.items())


def _counted(fleet: Fleet) -> Counted:
    return Counted(
        viewer_hours=len(fleet.viewers) * WINDOW_S / 3600, viewers=len(fleet.viewers), joins=fleet.calls["start"],
        requests=sum(fleet.calls.values()), bytes_in=fleet.bytes_in, bytes_out=fleet.bytes_out,
    )  # fmt: skip


class Functions:
    """Cell c2 as sandboxes of Lambda that take calls in turn, and the relay's function each second."""

    def __init__(self, ground: Ground) -> None:
        from lambda_runtime import LambdaRuntime

        told = ground.environment(ground.document("c2", "eu-central", twins=False))
        path, home = str(ROOT / "src"), "eisbach.deploy.aws.handlers"
        self.runtimes = [LambdaRuntime(f"{home}.http.handle", told, path=path) for _ in range(FUNCTIONS)]
        self.relay = LambdaRuntime(f"{home}.relay.handle", told, path=path)
        self._locks = [asyncio.Lock() for _ in self.runtimes]
        self._turn = 0
        self.gb_s = 0.0
        self.calls = 0
        self.ms: list[float] = []
        self.relay_ms: list[float] = []
        self.hub: list[dict[str, Any]] = []
        self.before: list[Any] = []
        self.after: list[Any] = []

    async def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any, int, int]:
        self._turn += 1
        return await self._at(self._turn % FUNCTIONS, method, path, body, headers)

    async def _at(
        self, place: int, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any, int, int]:
        event = http_api(method, path, body, headers)
        async with self._locks[place]:
            begun = time.monotonic()
            answer = await asyncio.to_thread(self.runtimes[place].call, event)
            took = time.monotonic() - begun
        self.gb_s, self.calls = self.gb_s + took * FUNCTION_MB / 1024, self.calls + 1
        self.ms.append(took * 1000)
        raw = answer.get("body") or ""
        return answer["statusCode"], json.loads(raw) if raw else None, len(event.get("body", "")) + 400, len(raw) + 300

    async def look(self) -> list[Any]:
        found = []
        for place in range(FUNCTIONS):
            status, told, *_ = await self._at(place, "GET", "/status", None, SERVICE)
            assert status == 200, told
            found.append(told["aws"])
        return found

    async def relaying(self) -> None:
        while True:
            begun = time.monotonic()
            told = await asyncio.to_thread(self.relay.call, {"Records": []})
            took = time.monotonic() - begun
            self.gb_s, self.calls = self.gb_s + took * RELAY_MB / 1024, self.calls + 1
            self.relay_ms.append(took * 1000)
            self.hub.append(told["aws"])
            await asyncio.sleep(RELAY_EVERY_S)

    async def begin(self) -> None:
        self.before = await self.look()
        self.gb_s, self.calls, self.ms, self.relay_ms, self.hub = 0.0, 0, [], [], self.hub[-1:]

    async def finish(self) -> None:
        self.calls_counted, self.gb_s_counted = self.calls, self.gb_s
        self.after = await self.look()

    def counted(self, fleet: Fleet) -> Counted:
        found = _counted(fleet)
        for before, after in zip(self.before, self.after, strict=True):
            found.add(usage_between(before["store"], after["store"]))
        for part in ("store", "hub"):
            found.add(usage_between(self.hub[0][part], self.hub[-1][part]))
        found.lambda_calls, found.lambda_gb_s = self.calls_counted, self.gb_s_counted
        return found

    def close(self) -> None:
        for runtime in (*self.runtimes, self.relay):
            runtime.close()


def http_api(method: str, path: str, body: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Payload format 2.0."""
    path, _, query = path.partition("?")
    return {
        "version": "2.0", "routeKey": "ANY /c2/{proxy+}", "rawPath": f"/c2{path}", "rawQueryString": query,
        "headers": {"host": "x", "content-type": "application/json", **{k.lower(): v for k, v in headers.items()}},
        "requestContext": {"http": {"method": method, "path": f"/c2{path}", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "t"}, "domainName": "x", "stage": "$default"},
        "isBase64Encoded": False, **({"body": json.dumps(body)} if body is not None else {}),
    }  # fmt: skip


async def measure(ground: Ground) -> list[Row]:
    await ground.make()
    try:
        return await measured(ground)
    finally:
        await asyncio.gather(*map(ended, ground.processes))


async def measured(ground: Ground) -> list[Row]:
    connector = aiohttp.TCPConnector(limit=0)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        spare = await ground.task(ground.document("c2", "eu-central", twins=False), port(), http)
        await ended(spare)  # it has kept the catalogue in the table, which functions read
        processes: dict[str, asyncio.subprocess.Process] = {}
        for region in OURS:
            document = ground.document("c1", region, twins=True)
            processes[region] = await ground.task(document, ground.ports[region], http)
        tasks, functions = Tasks(ground, http, processes), Functions(ground)
        stack.callback(functions.close)
        fleet = Fleet(tasks.send, devices("c1", int(os.environ.get("VIEWERS", "5000"))))
        few = Fleet(functions.send, devices("c2", int(os.environ.get("VIEWERS_LAMBDA", "40"))))
        relaying = asyncio.create_task(functions.relaying())

        async def anew() -> None:
            await asyncio.gather(*map(ended, processes.values()))
            for region in OURS:
                document = ground.document("c1", region, twins=True)
                processes[region] = await ground.task(document, ground.ports[region], http)

        async def begin() -> None:
            fleet.forget()
            tasks.before = await tasks.look()

        async def begin_few() -> None:
            await functions.begin()
            few.forget()

        async def finish() -> None:
            tasks.after = await tasks.look()

        await asyncio.gather(
            fleet.run([(JOINED_S, anew), (FROM_S, begin), (FROM_S + WINDOW_S, finish)], pauses=[anew]),
            few.run([(FROM_S, begin_few), (FROM_S + WINDOW_S, functions.finish)]),
        )
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
    return [*rows("alb", tasks.counted(fleet), fleet, task_notes(tasks)), *rows("http-api", functions.counted(few), few, {
        "Lambda, ARM, time": f"{statistics.median(functions.ms):.1f} ms a call in the median, "
        f"{statistics.mean(functions.ms):.1f} in the mean; relay {statistics.median(functions.relay_ms):.0f} ms",
    })]  # fmt: skip


def task_notes(tasks: Tasks) -> dict[str, str]:
    stores = {region: (tasks.before[region]["store"], tasks.after[region]["store"]) for region in OURS}
    home, there = (
        {name: after[name] - before[name] for name in ("transactions", "commits", "refused")}
        for before, after in stores.values()
    )
    cpu = [tasks.after[region]["cpu"] - tasks.before[region]["cpu"] for region in OURS]
    return {
        "DynamoDB, writes": f"{home['transactions'] / max(1, home['commits']):.1f} writes a commit at home, "
        f"{there['commits']} commits at the twin, {home['refused']} refused",
        "Fargate, ARM": f"{cpu[0]:.1f} CPU-s at home, {cpu[1]:.1f} at the twin, in {WINDOW_S:.0f} s",
    }


def run() -> list[Row]:
    os.environ.update(ENVIRONMENT)
    sys.path[:0] = [str(ROOT / "tests" / "cell"), str(ROOT / "tests" / "deploy" / "aws")]
    with tempfile.TemporaryDirectory(prefix="eisbach-bench-viewer-") as name:
        folder = Path(name)
        aws = AwsEmulator(folder).start()
        try:
            return asyncio.run(measure(Ground(aws, folder)))
        finally:
            aws.stop()
