"""One play through what was deployed: stacks in the emulator, the task as its definition says, the function beside it."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from eisbach.deploy.aws.deployer import Deployer, stacks_of
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.synth import placeholder, synthesise
from eisbach.engines.aws.clients import AwsPlace
from eisbach.engines.aws.event_log import SnsSqsEventLog
from eisbach.engines.embedded.clock import SystemClock
from eisbach.testing.aws.emulator import ENVIRONMENT, AwsEmulator
from eisbach.testing.world.genesis import secrets_of

from .lambda_runtime import SRC, LambdaRuntime
from .test_emulated_deployment import ACCOUNT, Account, three_regions, without, zone
from .test_handlers import balancer, body_of

sys.path.insert(0, str(Path(__file__).parents[2] / "cell"))
from kit import DEMO, catalogue_envelope

__all__ = ["three_regions"]
pytestmark = pytest.mark.aws
REGION = "eu-central-1"


class Deployed:
    """The region's stacks, and what they say a cell's task is."""

    def __init__(self, account: Account, emulator: AwsEmulator, folder: Path, *, region: str = REGION) -> None:
        self.account, self.folder, self.emulator, self.region = account, folder, emulator, region
        self.template: dict[str, Any] = {}
        self.studio_port = 0
        self.environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": emulator.endpoint(region)}

    async def definition(self, cell: str) -> dict[str, Any]:
        ecs = await self.account.client("ecs", self.region)
        service = (await ecs.describe_services(cluster="eisbach", services=[f"eisbach-{cell}"]))["services"][0]
        told = await ecs.describe_task_definition(taskDefinition=service["taskDefinition"])
        return told["taskDefinition"]["containerDefinitions"][0]  # type: ignore[no-any-return]


class Refused(Exception):
    """An answer that is none: status and body."""


TESTS = {"ecs", "cloudformation", "ssm", "s3", "sts", "route53"}
"""Services that the test itself asks, and no cell."""


def lacking(template: dict[str, Any], called: dict[str, int]) -> set[str]:
    """Actions that were used and that the task's role does not have: an emulator would never refuse them."""
    granted: set[str] = set()
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Policy" and name.startswith("C1TaskTaskRole"):
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                granted |= set(actions if isinstance(actions, list) else [actions])
    used: set[str] = set()
    for call in called:
        service, _, operation = call.partition("/")
        if service in TESTS or operation == "PutSecretValue":
            continue
        # Of transactions the emulator tells no parts; only spokes update in one, and they have a role of their own.
        items = {"TransactWriteItems": ["PutItem", "DeleteItem", "ConditionCheckItem"]}
        used |= {f"{service}:{one}" for one in items.get(operation, [operation])}
    return used - granted


class Task:
    """A container's command with its environment, as a process here."""

    def __init__(self, deployed: Deployed, definition: dict[str, Any], folder: Path, *, port: int = 0) -> None:
        self.port = port or self.free_port()
        self.command = [sys.executable, *definition["command"][1:]]
        told = {one["name"]: one["value"] for one in definition["environment"]}
        more = {"ADDRESS": f"127.0.0.1:{self.port}", "FOLDER": str(folder), "PYTHONPATH": str(SRC)}
        self.environment = {"PATH": os.environ["PATH"], **deployed.environment, **told, **more}
        self.process: asyncio.subprocess.Process | None = None

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    async def start(self, http: aiohttp.ClientSession) -> None:
        self.process = await asyncio.create_subprocess_exec(*self.command, env=self.environment)
        async with asyncio.timeout(60):
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    assert self.process.returncode is None, "the task ended"
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def call(self, http: aiohttp.ClientSession, method: str, path: str, body: Any = None, **headers: str) -> Any:
        async with http.request(method, f"http://127.0.0.1:{self.port}{path}", json=body, headers=headers) as answer:
            raw = await answer.read()
            if answer.status >= 300:
                raise Refused(answer.status, raw)
            return json.loads(raw) if raw else None


@pytest_asyncio.fixture
async def deployed(three_regions: AwsEmulator, example: Platform, tmp_path: Path) -> AsyncIterator[Deployed]:
    three_regions.wipe()
    async with AsyncExitStack() as stack:
        account = Account(three_regions, stack)
        await account.bootstrap(REGION)
        platform = msgspec.structs.replace(example, account=ACCOUNT, slots=16)
        made = synthesise(platform, out=tmp_path / "cdk.out", package=placeholder(tmp_path / "code"))
        deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
        for one in stacks_of(made.folder, made.stacks):
            if one.region == REGION:
                id_ = await zone(account, one)

                def change(template: dict[str, Any], id_: str = id_) -> dict[str, Any]:
                    return json.loads(json.dumps(without(template)).replace(platform.dns.zone_id, id_))  # type: ignore[no-any-return]

                await deployer.deploy(one, change=change)
        secrets = await account.client("secretsmanager", REGION)
        told = msgspec.json.encode(secrets_of("eu-central")).decode()
        for cell in ("c1", "c2"):
            await secrets.put_secret_value(SecretId=f"eisbach/eu-central/{cell}", SecretString=told)
        found = Deployed(account, three_regions, tmp_path)
        found.template = json.loads(made.template("eisbach-region-eu-central").read_text())
        yield found


async def test_a_viewer_plays_on_the_task_the_function_knows_it_and_a_killed_task_loses_nothing(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in deployed.environment.items():
        monkeypatch.setenv(name, value)
    definition = await deployed.definition("c1")
    log = await SnsSqsEventLog(AwsPlace(region=REGION), prefix="eisbach", clock=SystemClock()).open()
    task = Task(deployed, definition, deployed.folder / "one")
    runtime = LambdaRuntime(
        "eisbach.deploy.aws.handlers.http.handle",
        {**deployed.environment, "PROCESS_DOCUMENT": task.environment["PROCESS_DOCUMENT"]},
    )
    async with aiohttp.ClientSession() as http:
        try:
            await task.start(http)
            await log.append(catalogue_envelope(*DEMO), expected=0)
            devices = [f"device-{n:06d}" for n in range(20)]
            device, *_ = [d for d in devices if await _lives_here(task, http, d)]
            told = await task.call(http, "POST", "/v1/auth/anonymous", {"device_id": device, "mkt": "de"})
            viewer = {"Authorization": f"Bearer {told['access']}", "Eisbach-Slot": told["slot"]}
            session = await _played(task, http, viewer)
            await task.call(http, "PUT", "/v1/me/progress/tears", {"pos_s": 42.5, "dur_s": 100}, **viewer)

            # The function beside it, on the same tables: it has the catalogue, and what the viewer did.
            event = balancer("GET", "/v1/me/rails", **{k.lower(): v for k, v in viewer.items()})
            by_function = await asyncio.to_thread(runtime.call, event)
            await task.kill()
            again = Task(deployed, definition, deployed.folder / "another machine")
            await again.start(http)
            try:
                rails = await again.call(http, "GET", "/v1/me/rails", **viewer)
                beat = {"seq": 1, "pos_s": 60, "session": session["session"]}
                beaten = await again.call(http, "POST", f"/v1/playback/sessions/{session['sid']}/heartbeat", beat, **viewer)  # fmt: skip
            finally:
                await again.kill()
        finally:
            await task.kill()
            await asyncio.to_thread(runtime.close)
            await log.aclose()

    called = deployed.emulator.statistics()["doors"][REGION]["calls"]
    assert lacking(deployed.template, called) == set()
    assert by_function["statusCode"] == 200, by_function
    assert [(r["title"], r["pos_s"]) for r in body_of(by_function)["resume"]] == [("tears", 42.5)]
    assert [(r["title"], r["pos_s"]) for r in rails["resume"]] == [("tears", 42.5)]
    assert beaten is not None


async def _lives_here(task: Task, http: aiohttp.ClientSession, device: str) -> bool:
    body = {"device_id": device, "mkt": "de"}
    async with http.post(f"http://127.0.0.1:{task.port}/v1/auth/anonymous", json=body) as answer:
        assert answer.status in (200, 421), await answer.read()
        return answer.status == 200


async def _played(task: Task, http: aiohttp.ClientSession, viewer: dict[str, str]) -> Any:
    """As soon as the catalogue has come through topic and queue."""
    body = {"asset": {"type": "vod", "id": "tears"}}
    async with asyncio.timeout(40):
        while True:
            try:
                return await task.call(
                    http, "POST", "/v1/playback/sessions", body, **viewer, **{"Idempotency-Key": "k1"}
                )
            except Refused as error:
                if error.args[0] != 404:
                    raise
                await asyncio.sleep(0.2)
