"""An upload through what was deployed: studio and worker as their tasks say, spokes as functions, files in the bucket.

Then a play: a cell's task as deployed, the CDN's function as deployed, the files by the paths that it lets through.
"""

import asyncio
import hashlib
import json
import re
import subprocess
import time
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

from .cdn import MediaHost, get
from .test_emulated_deployment import ACCOUNT, Account, three_regions, without, zone
from .test_play import Deployed, Refused, Task, _lives_here

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


async def test_an_upload_is_encoded_packaged_published_and_played_from_the_bucket_by_what_was_deployed(
    deployed: Deployed, clip: Path, example: Platform
) -> None:
    cell = Task(deployed, await deployed.definition("c1"), deployed.folder / "c1")
    studio = Task(deployed, await deployed.definition("studio"), deployed.folder / "studio", port=deployed.studio_port)
    worker = Task(deployed, await deployed.definition("media"), deployed.folder / "worker")
    operator = {"Authorization": f"Bearer {secrets_of('eu-central').operator_token}"}
    async with aiohttp.ClientSession() as http:
        try:
            await studio.start(http)
            await worker.start(http)
            await cell.start(http)
            new = {"name": "clip.mp4", "names": {"de": "Ein Clip"}, "market": "de", "publish": True}
            told = await studio.call(http, "POST", "/studio/uploads", new, **operator)
            url = f"http://127.0.0.1:{studio.port}/studio/uploads/{told['upload']}/content"
            async with http.put(url, data=clip.read_bytes(), headers=operator) as answer:
                assert answer.status == 200, await answer.read()
            asset = await _ready(studio, http, told["asset"], operator)
            title = await _published(studio, http, told["title"], operator)
            session = await _session(cell, http, told["title"])
            host = MediaHost(example, example.region[0], deployed.folder)
            read = await _watched(deployed, cell, http, (host, session))
            await studio.call(http, "PUT", "/studio/channels/one", _channel(told["title"], told["asset"]), **operator)
            live = await _session(cell, http, "one", kind="live")
            aired = await _aired(deployed, cell, http, (host, live))
        finally:
            await cell.kill()
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
    sizes = {e.path: e.bytes for e in entries}
    assert read == {path: sizes[path] for path in read}
    assert {p for p in sizes if p.endswith(".m4s")} <= set(read), "every segment is in a playlist, and was had"
    assert aired == {path: sizes[path] for path in aired}
    assert {p for p in sizes if p.endswith((".m4s", "init.mp4"))} == set(aired), "three loops of it are listed"


def _channel(title: str, asset: str) -> dict[str, Any]:
    """The clip, for ever, since some minutes ago."""
    start_ms = (time.time_ns() // 1_000_000 - 300_000) // 2000 * 2000
    loop = [{"title": title, "asset": asset, "duration_ms": 6000}]
    return {"id": "one", "revision": 1, "number": 1, "names": {"de": "Eins"}, "markets": ["de"], "start_ms": start_ms, "loop": loop}  # fmt: skip


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


async def _session(cell: Task, http: aiohttp.ClientSession, title: str, *, kind: str = "vod") -> Any:
    """A viewer's of this cell, as soon as its catalogue has the title or channel."""
    device, *_ = [d for d in (f"device-{n:06d}" for n in range(20)) if await _lives_here(cell, http, d)]
    told = await cell.call(http, "POST", "/v1/auth/anonymous", {"device_id": device, "mkt": "de"})
    viewer = {"Authorization": f"Bearer {told['access']}", "Eisbach-Slot": told["slot"], "Idempotency-Key": kind}
    body = {"asset": {"type": kind, "id": title}}
    async with asyncio.timeout(60):
        while True:
            try:
                return await cell.call(http, "POST", "/v1/playback/sessions", body, **viewer)
            except Refused as error:
                if error.args[0] != 404:
                    raise
            await asyncio.sleep(0.3)


async def _watched(
    deployed: Deployed, cell: Task, http: aiohttp.ClientSession, given: tuple[MediaHost, Any]
) -> dict[str, int]:
    """Path in the asset -> bytes, of all that a player would fetch from the region's media host: HLS, to the end."""
    host, session = given
    s3, base = await deployed.account.client("s3", REGION), "https://media-eu-central.tv.example.org"
    keys = secrets_of("eu-central").media_keys
    assert session["manifests"]["hls"].startswith(f"{base}/t/{session['token']['value']}/vod/")

    def through(urls: list[str]) -> list[dict[str, Any]]:
        answers = host.ask([get(url.removeprefix(base)) for url in urls], keys=keys)
        assert [a for a in answers if "uri" not in a] == []
        return answers

    (asked,) = through([session["manifests"]["hls"]])
    token = asked["querystring"]["t"]["value"]
    async with http.get(f"http://127.0.0.1:{cell.port}{asked['uri']}", params={"t": token}) as answer:
        master = await answer.text()
        assert answer.status == 200, master
    read: dict[str, int] = {}
    playlists = [url for url in re.findall(r"https://[^\"\s]+\.m3u8", master) if url.startswith(base)]
    assert playlists
    while playlists:
        found = []
        for url, onward in zip(playlists, through(playlists), strict=True):
            body = await (await s3.get_object(Bucket=BUCKET, Key=onward["uri"][1:]))["Body"].read()
            read[onward["uri"].split("/", 4)[4]] = len(body)
            if url.endswith(".m3u8"):
                names = re.findall(r'^[^#\s].*$|(?<=URI=")[^"]+', body.decode(), re.MULTILINE)
                found += [f"{url.rpartition('/')[0]}/{name}" for name in names]
        playlists = found
    return read


async def _aired(
    deployed: Deployed, cell: Task, http: aiohttp.ClientSession, given: tuple[MediaHost, Any]
) -> dict[str, int]:
    """The same of a channel: its playlists come from the cell, its segments from the bucket of titles."""
    host, session = given
    s3, base = await deployed.account.client("s3", REGION), "https://media-eu-central.tv.example.org"
    keys = secrets_of("eu-central").media_keys

    def through(urls: list[str]) -> list[dict[str, Any]]:
        told = [(get(url.removeprefix(base).partition("?")[0]), url.partition("?m=")[2]) for url in urls]
        answers = host.ask([r | ({"querystring": {"m": {"value": m}}} if m else {}) for r, m in told], keys=keys)
        assert [a for a in answers if "uri" not in a] == []
        return answers

    async def told(asked: dict[str, Any]) -> str:
        query = {name: one["value"] for name, one in asked["querystring"].items()}
        async with http.get(f"http://127.0.0.1:{cell.port}{asked['uri']}", params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    master = await told(through([session["manifests"]["hls"]])[0])
    playlists = [url for url in re.findall(r"https://[^\"\s]+\.m3u8", master) if url.startswith(base)]
    assert playlists
    read: dict[str, int] = {}
    for url, onward in zip(playlists, through(playlists), strict=True):
        names = re.findall(r'^[^#\s].*$|(?<=URI=")[^"]+', await told(onward), re.MULTILINE)
        for part in through([f"{url.rpartition('/')[0]}/{name}" for name in names]):
            body = await (await s3.get_object(Bucket=BUCKET, Key=part["uri"][1:]))["Body"].read()
            read[part["uri"].split("/", 4)[4]] = len(body)
    return read
