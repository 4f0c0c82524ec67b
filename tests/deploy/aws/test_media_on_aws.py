"""An upload through what was deployed: studio and worker as their tasks say, spokes as functions, files in the bucket."""

import asyncio
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from eisbach.bootstrap.tools import locate_tools
from eisbach.deploy.aws.deployer import Deployer, stacks_of
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.synth import synthesise
from eisbach.engines.embedded.clock import SystemClock
from eisbach.media.package import FileEntry
from eisbach.settings import Settings
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.world.genesis import secrets_of

from .test_emulated_deployment import ACCOUNT, Account, three_regions, without, zone
from .test_play import Deployed, Refused, Task

__all__ = ["three_regions"]
pytestmark = [pytest.mark.aws, pytest.mark.timeout(420)]
REGION = "eu-central-1"
BUCKET = f"eisbach-{ACCOUNT}-eu-central-media"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six seconds with a tone."""
    path = tmp_path / "clip.mp4"
    graph = "testsrc=s=320x240:r=25:d=6[v];sine=f=440:d=6:r=48000[a]"
    argv = [locate_tools(Settings()).media.ffmpeg, "-v", "error", "-nostdin", "-filter_complex", graph]
    subprocess.run([*argv, "-map", "[v]", "-map", "[a]", "-c:v", "libx264", "-preset", "ultrafast", path], check=True)
    return path


@pytest_asyncio.fixture
async def deployed(
    three_regions: AwsEmulator, example: Platform, here_package: Path, tmp_path: Path
) -> AsyncIterator[Deployed]:
    """One region with the functions' own code; the region's name leads to the studio's task."""
    three_regions.wipe()
    async with AsyncExitStack() as stack:
        account = Account(three_regions, stack)
        await account.bootstrap(REGION)
        platform = msgspec.structs.replace(example, account=ACCOUNT, slots=16)
        made = synthesise(platform, out=tmp_path / "cdk.out", package=here_package)
        found = Deployed(account, three_regions, tmp_path)
        found.studio_port = Task.free_port()
        deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
        for one in stacks_of(made.folder, made.stacks):
            if one.region == REGION:
                id_ = await zone(account, one)

                def change(template: dict[str, Any], id_: str = id_) -> dict[str, Any]:
                    text = json.dumps(without(template)).replace(platform.dns.zone_id, id_)
                    name = "https://eu-central.tv.example.org"
                    return json.loads(text.replace(name, f"http://127.0.0.1:{found.studio_port}"))  # type: ignore[no-any-return]

                await deployer.deploy(one, change=change)
        secrets = await account.client("secretsmanager", REGION)
        told = msgspec.json.encode(secrets_of("eu-central")).decode()
        for cell in ("c1", "c2", "studio"):
            await secrets.put_secret_value(SecretId=f"eisbach/eu-central/{cell}", SecretString=told)
        found.template = json.loads(made.template("eisbach-region-eu-central").read_text())
        yield found


async def test_an_upload_is_encoded_packaged_and_published_by_what_was_deployed(deployed: Deployed, clip: Path) -> None:
    studio = Task(deployed, await deployed.definition("studio"), deployed.folder / "studio", port=deployed.studio_port)
    worker = Task(deployed, await deployed.definition("media"), deployed.folder / "worker")
    operator = {"Authorization": f"Bearer {secrets_of('eu-central').operator_token}"}
    async with aiohttp.ClientSession() as http:
        try:
            await studio.start(http)
            await worker.start(http)
            new = {"name": "clip.mp4", "names": {"de": "Ein Clip"}, "market": "de", "publish": True}
            told = await studio.call(http, "POST", "/studio/uploads", new, **operator)
            url = f"http://127.0.0.1:{studio.port}/studio/uploads/{told['upload']}/content"
            async with http.put(url, data=clip.read_bytes(), headers=operator) as answer:
                assert answer.status == 200, await answer.read()
            asset = await _ready(studio, http, told["asset"], operator)
            title = await _published(studio, http, told["title"], operator)
        finally:
            await worker.kill()
            await studio.kill()

    s3 = await deployed.account.client("s3", REGION)
    listed = (await s3.list_objects_v2(Bucket=BUCKET, Prefix=f"media/vod/{told['asset']}/"))["Contents"]
    raw = await (await s3.get_object(Bucket=BUCKET, Key=f"media/vod/{told['asset']}/files.json"))["Body"].read()
    entries = msgspec.json.decode(raw, type=list[FileEntry])
    assert hashlib.sha256(raw).hexdigest() == asset["files_sha256"]
    assert {f"media/vod/{told['asset']}/{e.path}": e.bytes for e in entries} == {
        o["Key"]: o["Size"] for o in listed if not o["Key"].endswith("/files.json")
    }
    assert title["state"] == "published"


async def _ready(studio: Task, http: aiohttp.ClientSession, asset: str, operator: dict[str, str]) -> dict[str, Any]:
    async with asyncio.timeout(240):
        while True:
            try:
                told = (await studio.call(http, "GET", f"/studio/assets/{asset}", **operator))["record"]
                assert told["state"] in ("received", "ready"), told
                if told["state"] == "ready":
                    return told["asset"]  # type: ignore[no-any-return]
            except Refused as error:
                if error.args[0] != 404:
                    raise
            await asyncio.sleep(0.3)


async def _published(studio: Task, http: aiohttp.ClientSession, title: str, operator: dict[str, str]) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            titles = (await studio.call(http, "GET", "/studio/titles", **operator))["titles"]
            if found := [t for t in titles if t["id"] == title and t.get("state") == "published"]:
                return found[0]  # type: ignore[no-any-return]
            await asyncio.sleep(0.3)
