"""Cold and warm start of each handler of the functions' package, through the real Lambda runtime client (awslambdaric).

Each function runs as a process of its own, from the unzipped package for this machine, against a local runtime API and
the emulated region; AWS's side (its sandbox, its processor, ARM64, TLS, its latencies) is not in any figure.

- *Warm*: CPU of the function's process (user and system), and wall time at the runtime API, of a call after others.
- *Cold*: a new process to its first answer, the same two; nothing compiled before, and with the package's compiled
  modules. The runtime client's own modules are compiled, as the managed runtime has them.

Baseline: a handler that answers at once, through the same client. Limit: none is known but the baseline.
Environment: ``CALLS`` (of each kind; 200), ``COLD`` (starts of each; 5). Only by name: ``make bench ARGS=functions``.
"""

import asyncio
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import msgspec
from bench.figures import Row
from bench.viewer_hour import Ground, devices, ended, http_api, port

from eisbach.deploy.aws.documents import VARIABLE, ClaimsDocument, JobsDocument, SpokeDocument
from eisbach.deploy.aws.package import build_package
from eisbach.domain.ingest import ASSET_READY
from eisbach.testing.aws.emulator import CREDENTIALS, ENVIRONMENT, AwsEmulator
from eisbach.testing.world.genesis import secrets_of

ROOT = Path(__file__).parents[1]
HOME = "eisbach.deploy.aws.handlers"
KEYS = "eisbach/with-a-backup-key"
AT_ONCE = "def handle(event, context):\n    return {}\n"
Events = Iterator[dict[str, Any]]


def cpu_seconds(pid: int) -> float:
    """Of all threads that live, finer than the ticks of ``/proc/PID/stat`` (proc(5), schedstat: nanoseconds)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def told(runtime: Any, answer: Any) -> str:
    """What a call answered that should not have, and what its process said before."""
    return f"{answer}\n{''.join(runtime.output)[-4000:]}"


@dataclass
class Kind:
    """One kind of call of a function."""

    name: str
    events: Events
    check: Callable[[Any], bool]
    share: float = 1.0
    """Of the calls of the others."""
    cpu_ms: float = 0.0
    walls: list[float] = field(default_factory=list)


@dataclass
class Function:
    """One function of the stacks: its handler, what it is told, and the calls it gets."""

    name: str
    handler: str
    environment: dict[str, str]
    kinds: list[Kind]
    cold: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Way the package lies on the disk -> (CPU, wall) of each start, seconds."""


class Bench:
    """Ground, package, functions."""

    def __init__(self, aws: AwsEmulator, folder: Path) -> None:
        self.aws, self.folder, self.ground = aws, folder, Ground(aws, folder)
        self.calls, self.starts = int(os.environ.get("CALLS", "200")), int(os.environ.get("COLD", "5"))

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name="eu-central-1", endpoint_url=self.aws.endpoint("eu-central-1"), **CREDENTIALS)  # fmt: skip

    async def prepare(self) -> None:
        """Tables, catalogue, buckets; what a task keeps for functions."""
        await self.ground.make()
        async with aiohttp.ClientSession() as http:
            spare = await self.ground.task(self.ground.document("c2", "eu-central", twins=False), port(), http)
            await ended(spare)
        keys = [{"AttributeName": k, "KeyType": t} for k, t in (("pk", "HASH"), ("sk", "RANGE"))]
        kinds = [{"AttributeName": k, "AttributeType": "S"} for k in ("pk", "sk")]
        self.client("dynamodb").create_table(
            TableName="eisbach-studio-state", BillingMode="PAY_PER_REQUEST", AttributeDefinitions=kinds, KeySchema=keys
        )
        told = msgspec.structs.replace(secrets_of("eu-central"), backup_key=os.urandom(32).hex())
        self.client("secretsmanager").create_secret(Name=KEYS, SecretString=msgspec.json.encode(told).decode())
        for name in ("eb-media", "eb-copies", "eb-backups"):
            place = {"LocationConstraint": "eu-central-1"}
            self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=place)

    def unzipped(self, *, compiled: bool) -> Path:
        """The package for this machine."""
        folder = self.folder / f"code-{compiled}"
        packed = build_package(self.folder / f"here-{compiled}.zip", target="here")
        with zipfile.ZipFile(packed.path) as archive:
            archive.extractall(folder)
        if not compiled:
            for cache in [*folder.rglob("__pycache__")]:
                shutil.rmtree(cache)
        (folder / "at_once.py").write_text(AT_ONCE)
        return folder

    def environment(self, document: Any) -> dict[str, str]:
        endpoint = self.aws.endpoint("eu-central-1")
        told = msgspec.json.encode(document).decode()
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint, "PYTHONDONTWRITEBYTECODE": "1", VARIABLE: told}

    def warm(self, function: Function, path: Path) -> None:
        from lambda_runtime import LambdaRuntime

        runtime = LambdaRuntime(function.handler, function.environment, path=str(path), timeout_s=60)
        try:
            for kind in function.kinds:
                calls = max(10, round(self.calls * kind.share))
                for event in itertools.islice(kind.events, calls // 10):
                    assert kind.check(answer := runtime.call(event)), told(runtime, answer)
                before = cpu_seconds(runtime.pid)
                for event in itertools.islice(kind.events, calls):
                    begun = time.perf_counter()
                    answer = runtime.call(event)
                    kind.walls.append((time.perf_counter() - begun) * 1000)
                    assert kind.check(answer), told(runtime, answer)
                kind.cpu_ms = (cpu_seconds(runtime.pid) - before) / calls * 1000
                print(f"  {function.name}: {kind.name}: {kind.cpu_ms:.2f} ms CPU", flush=True)
        finally:
            runtime.close()

    def cold(self, function: Function, way: str, path: Path) -> None:
        from lambda_runtime import LambdaRuntime

        runtime = LambdaRuntime(function.handler, function.environment, path=str(path), timeout_s=60)
        found = function.cold.setdefault(way, [])
        try:
            for number in range(self.starts + 1):
                runtime.end()
                begun = time.perf_counter()
                answer = runtime.call(next(function.kinds[0].events))
                assert function.kinds[0].check(answer), told(runtime, answer)
                took = time.perf_counter() - begun
                if number:  # the first one reads the disk
                    found.append((cpu_seconds(runtime.pid), took))
        finally:
            runtime.close()


def functions(bench: Bench, studio: str) -> list[Function]:
    """All handlers of the package that AWS calls."""
    cell = bench.environment(bench.ground.document("c2", "eu-central", twins=False))
    document = bench.ground.document("c2", "eu-central", twins=False)
    archive = bench.environment(msgspec.structs.replace(document, backups="s3:eu-central-1/eb-backups", secret=KEYS))
    claims = ClaimsDocument(
        region="eu-central", aws_region="eu-central-1", spokes=("publish", "transcode"),
        state_table="eisbach-studio-state", blobs="s3:eu-central-1/eb-media",
        copies={"eu-west": "s3:eu-central-1/eb-copies"},
    )  # fmt: skip
    spoke = SpokeDocument(
        region="eu-central", aws_region="eu-central-1", spoke="publish", state_table="eisbach-studio-state",
        hub_table="eisbach-hub", secret="eisbach/secret", studio=studio, blobs="s3:eu-central-1/eb-media",
        copies={"eu-west": "s3:eu-central-1/eb-copies"},
    )  # fmt: skip
    jobs = JobsDocument(
        region="eu-central", aws_region="eu-central-1", regions=("eu-central",), secret="eisbach/secret", studio=studio,
        blobs="s3:eu-central-1/eb-media",
    )  # fmt: skip
    answered = Kind("nothing to do", itertools.repeat({}), lambda a: a == {})
    viewers = Viewers(bench)
    batches = Batches()
    whole = lambda a: a == {"batchItemFailures": []}  # noqa: E731
    return [
        Function("none (baseline)", "at_once.handle", bench.environment(claims), [answered]),
        Function("calls", f"{HOME}.http.handle", cell, viewers.kinds()),
        Function("relay", f"{HOME}.relay.handle", cell, [
            Kind("nothing to publish", viewers.sweeps(), lambda a: a["events"] == 0),
            Kind("one event", viewers.written(1), lambda a: a["events"] == 1),
            Kind("20 events", viewers.written(20), lambda a: a["events"] == 20, share=0.2),
        ]),
        Function("spoke", f"{HOME}.spoke.handle", bench.environment(spoke), [
            Kind("sweep, nothing waits", itertools.repeat({"sweep": True}), whole),
            Kind("one message, one command", batches.of(1), whole),
            Kind("ten messages, ten commands", batches.of(10), whole),
        ]),
        Function("archive", f"{HOME}.archive.handle", archive, [
            Kind("nothing to archive", viewers.still(), lambda a: a["ops"] == 0),
            Kind("20 progress writes", viewers.saved(20), lambda a: a["ops"] >= 20, share=0.2),
        ]),
        Function("jobs", f"{HOME}.jobs.handle", bench.environment(jobs), [
            Kind("no asset is in work", itertools.repeat({"sweep": True}), lambda a: not any(a["steps"].values())),
        ]),
        Function("claims", f"{HOME}.claims.handle", bench.environment(claims), [
            Kind("nothing to sweep", itertools.repeat({"sweep": True}), lambda a: a == {"brought": 0, "swept": 0}),
        ]),
    ]  # fmt: skip


class Viewers:
    """Calls of cell c2, told as an HTTP API tells them; writes also through a sandbox beside."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self._devices = bench, iter(devices("c2", 12_000))
        self._beside: Any = None

    def signed_in(self) -> Events:
        while True:
            yield http_api("POST", "/v1/auth/anonymous", {"device_id": next(self._devices), "mkt": "de"}, {})

    def beside(self, event: dict[str, Any]) -> Any:
        from lambda_runtime import LambdaRuntime

        if self._beside is None:
            told = self.bench.environment(self.bench.ground.document("c2", "eu-central", twins=False))
            self._beside = LambdaRuntime(f"{HOME}.http.handle", told, path=str(ROOT / "src"))
        answer = self._beside.call(event)
        assert answer["statusCode"] < 300, answer
        return msgspec.json.decode(answer["body"]) if answer.get("body") else None

    def viewer(self) -> dict[str, str]:
        told = self.beside(next(self.signed_in()))
        return {"Authorization": f"Bearer {told['access']}", "Eisbach-Slot": told["slot"]}

    @staticmethod
    def start(headers: dict[str, str]) -> dict[str, Any]:
        body = {"asset": {"type": "vod", "id": "tears"}}
        return http_api("POST", "/v1/playback/sessions", body, {**headers, "Idempotency-Key": os.urandom(8).hex()})

    def starts(self, *, overtaken: bool) -> Events:
        """Of a viewer each; ``overtaken``: another sandbox of the cell has written since this one's last call."""
        ready = [] if overtaken else [self.viewer() for _ in range(self.bench.calls + 20)]
        while True:
            yield self.start(ready.pop() if ready else self.viewer())

    def beats(self) -> Events:
        """Of one viewer who plays."""
        headers = self.viewer()
        told = self.beside(self.start(headers))
        for seq in itertools.count(1):
            body = {"seq": seq, "pos_s": seq % 90 + 1, "state": "playing", "session": told["session"]}
            yield http_api("POST", f"/v1/playback/sessions/{told['sid']}/heartbeat", body, headers)

    def saves(self) -> Events:
        headers = self.viewer()
        for number in itertools.count(1):
            yield http_api("PUT", "/v1/me/progress/tears", {"pos_s": number % 90 + 1, "dur_s": 100}, headers)

    def gets(self, path: str) -> Events:
        headers = self.viewer()
        while True:
            yield http_api("GET", path, None, headers)

    def kinds(self) -> list[Kind]:
        ok = lambda a: a["statusCode"] == 200  # noqa: E731
        made = lambda a: a["statusCode"] in (200, 201)  # noqa: E731
        return [
            Kind("home", self.gets("/v1/de/free/web/12/home"), ok),
            Kind("heartbeat", self.beats(), ok),
            Kind("durable progress write", self.saves(), lambda a: a["statusCode"] == 204),
            Kind("own rails", self.gets("/v1/me/rails"), ok),
            Kind("sign-in of a new viewer", self.signed_in(), ok),
            Kind("playback start", self.starts(overtaken=False), made),
            Kind("playback start, another sandbox wrote meanwhile", self.starts(overtaken=True), made),
        ]

    def written(self, events: int) -> Events:
        """A nudge of the stream, when so many events wait for the relay: of new viewers."""
        self.drain()
        while True:
            for _ in range(events):
                self.beside(next(self.signed_in()))
            yield {"Records": [{"eventID": "1"}]}

    def still(self) -> Events:
        """After one call that archives all that was written before."""
        told = self.bench.ground.document("c2", "eu-central", twins=False)
        told = msgspec.structs.replace(told, backups="s3:eu-central-1/eb-backups", secret=KEYS)
        self.once("archive", self.bench.environment(told))
        yield from itertools.repeat({"sweep": True})

    def saved(self, writes: int) -> Events:
        """When so many durable writes of one viewer wait for the archive."""
        each = self.saves()
        while True:
            for _ in range(writes):
                self.beside(next(each))
            yield {"sweep": True}

    def sweeps(self) -> Events:
        self.drain()
        yield from itertools.repeat({"sweep": True})

    def drain(self) -> None:
        self.once("relay", self.bench.environment(self.bench.ground.document("c2", "eu-central", twins=False)))

    @staticmethod
    def once(handler: str, told: dict[str, str]) -> None:
        from lambda_runtime import LambdaRuntime

        function = LambdaRuntime(f"{HOME}.{handler}.handle", told, path=str(ROOT / "src"), timeout_s=300)
        function.call({"sweep": True})
        function.close()


class Batches:
    """Messages of the hub for the spoke ``publish``: an asset is received and ready, which is one command."""

    def __init__(self) -> None:
        self._number = 0

    def of(self, count: int) -> Events:
        from tests.deploy.aws.test_handlers import event, received, record

        while True:
            records = []
            for _ in range(count):
                n, self._number = self._number, self._number + 1
                first = received(2 * n + 1, max(0, 2 * n - 1), asset=f"a-{n}")
                ready = event(ASSET_READY, 2 * n + 2, 2 * n, {"id": f"a-{n}"})
                both = [msgspec.structs.replace(one, subject=f"a-{n}") for one in (first, ready)]
                records.append(record(n + 1, *both))
            yield {"Records": records}


def rows(made: list[Function], compiled: str) -> list[Row]:
    found: list[Row] = []
    for function in made:
        for kind in function.kinds:
            walls = statistics.quantiles(kind.walls, n=100)
            found.append(Row(figure=f"warm: {function.name}: {kind.name}", measured=kind.cpu_ms, unit="ms CPU",
                             note=f"wall {walls[49]:.1f} ms in the median, {walls[98]:.0f} p99"))  # fmt: skip
    for function in made:
        medians = {way: tuple(statistics.median(c) for c in zip(*runs, strict=True)) for way, runs in function.cold.items()}  # fmt: skip
        (cpu, wall), (cpu_c, wall_c) = medians["sources"], medians["compiled"]
        found.append(Row(figure=f"cold: {function.name}", measured=cpu, unit="CPU-s",
                         note=f"wall {wall:.2f} s; {compiled}: {cpu_c:.2f} CPU-s, wall {wall_c:.2f} s"))  # fmt: skip
    return found


def _studio() -> Any:
    """Takes commands, as in the tests; has no assets and no region that was left."""
    from tests.deploy.aws.test_handlers import Studio

    studio = Studio()
    answers = {"/studio/assets": b'{"assets":[]}', "/studio/regions": b'{"regions":{}}'}

    def get(request: Any) -> None:
        body = answers[request.path.partition("?")[0]]
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    studio.RequestHandlerClass.do_GET = get  # type: ignore[attr-defined]
    return studio


def measure(bench: Bench) -> list[Row]:
    asyncio.run(bench.prepare())
    ways = {"sources": bench.unzipped(compiled=False), "compiled": bench.unzipped(compiled=True)}
    studio = _studio()
    try:
        made = functions(bench, studio.url)
        for function in made:
            bench.warm(function, ways["compiled"])
            for way, path in ways.items():
                bench.cold(function, way, path)
    finally:
        studio.shutdown()
        studio.server_close()
    print(f"  {len(studio.posts)} commands at the studio", flush=True)
    return rows(made, "with compiled modules")


def run() -> list[Row]:
    os.environ.update(ENVIRONMENT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cell"), str(ROOT / "tests" / "deploy" / "aws")]
    with tempfile.TemporaryDirectory(prefix="eisbach-bench-functions-") as name:
        folder = Path(name)
        aws = AwsEmulator(folder).start()
        try:
            return measure(Bench(aws, folder))
        finally:
            aws.stop()
