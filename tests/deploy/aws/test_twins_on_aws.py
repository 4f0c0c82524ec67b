"""Two regions through what was deployed: each region's task pulls the other's log, by the name of the other region."""

import asyncio
import json
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
from eisbach.engines.embedded.clock import SystemClock
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.world.genesis import secrets_of

from .test_emulated_deployment import ACCOUNT, Account, three_regions, without, zone
from .test_play import Deployed, Refused, Task, _lives_here

__all__ = ["three_regions"]
pytestmark = [pytest.mark.aws, pytest.mark.timeout(180)]
REGIONS = {"eu-central": "eu-central-1", "eu-west": "eu-west-1"}


@pytest_asyncio.fixture
async def both(three_regions: AwsEmulator, example: Platform, tmp_path: Path) -> AsyncIterator[dict[str, Task]]:
    """Cell c1's task in each region, as deployed; a region's name leads to the task."""
    three_regions.wipe()
    ports = {name: Task.free_port() for name in REGIONS}
    async with AsyncExitStack() as stack:
        account = Account(three_regions, stack)
        platform = msgspec.structs.replace(example, account=ACCOUNT, slots=16)
        made = synthesise(platform, out=tmp_path / "cdk.out", package=placeholder(tmp_path / "code"))
        deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
        for aws in REGIONS.values():
            await account.bootstrap(aws)
        for one in stacks_of(made.folder, made.stacks):
            if one.region in REGIONS.values():
                id_ = await zone(account, one)

                def change(template: dict[str, Any], id_: str = id_) -> dict[str, Any]:
                    text = json.dumps(without(template)).replace(platform.dns.zone_id, id_)
                    for name, port in ports.items():
                        text = text.replace(f"https://{name}.tv.example.org", f"http://127.0.0.1:{port}")
                    return json.loads(text)  # type: ignore[no-any-return]

                await deployer.deploy(one, change=change)
        await _replicated(account)
        tasks: dict[str, Task] = {}
        for name, aws in REGIONS.items():
            secrets = await account.client("secretsmanager", aws)
            told = msgspec.json.encode(secrets_of(name)).decode()
            await secrets.put_secret_value(SecretId=f"eisbach/{name}/c1", SecretString=told)
            place = Deployed(account, three_regions, tmp_path, region=aws)
            tasks[name] = Task(place, await place.definition("c1"), tmp_path / name, port=ports[name])
        yield tasks
        for task in tasks.values():
            await task.kill()


async def _replicated(account: Account) -> None:
    """The emulator's CloudFormation makes a global table in one region only."""
    dynamodb = await account.client("dynamodb", "eu-central-1")
    await dynamodb.update_table(TableName="eisbach-c1-log", ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])


async def test_what_a_viewer_does_in_one_region_is_in_the_other_and_outlives_the_first(both: dict[str, Task]) -> None:
    here, there = both["eu-central"], both["eu-west"]
    async with aiohttp.ClientSession() as http:
        await asyncio.gather(here.start(http), there.start(http))
        devices = [f"device-{n:06d}" for n in range(20)]
        device, *_ = [d for d in devices if await _lives_here(here, http, d)]
        told = await here.call(http, "POST", "/v1/auth/anonymous", {"device_id": device, "mkt": "de"})
        viewer = {"Authorization": f"Bearer {told['access']}", "Eisbach-Slot": told["slot"]}
        await here.call(http, "PUT", "/v1/me/progress/tears", {"pos_s": 42.5, "dur_s": 100}, **viewer)

        await _shows(there, http, viewer, 42.5)
        await here.kill()
        await there.call(http, "PUT", "/v1/me/progress/tears", {"pos_s": 50.0, "dur_s": 100}, **viewer)
        await here.start(http)
        await _shows(here, http, viewer, 50.0)


async def _shows(task: Task, http: aiohttp.ClientSession, viewer: dict[str, str], pos_s: float) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                found = await task.call(http, "GET", "/v1/me/progress/tears", **viewer)
                if found["pos_s"] == pos_s:
                    return
            except Refused as error:
                if error.args[0] != 404:
                    raise
            await asyncio.sleep(0.1)
