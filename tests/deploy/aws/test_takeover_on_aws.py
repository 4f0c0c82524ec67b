"""Media work of a region that is gone, begun anew by the other one from the copy of its upload (design section 4).

Two studios as their tasks run, on DynamoDB in two emulated regions, each the other's twin; the function that compares
the work in the real runtime client. S3's copies are made by hand, as its rules would have made them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import msgspec
import pytest
import pytest_asyncio

from eisbach.bootstrap.open_blobs import open_blobs
from eisbach.deploy.aws.documents import VARIABLE, CellDocument, JobsDocument
from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.tables import make_tables
from eisbach.engines.embedded.disk import inline
from eisbach.testing.aws.emulator import CREDENTIALS, ENVIRONMENT, AwsEmulator
from eisbach.testing.world.genesis import secrets_of

from .lambda_runtime import LambdaRuntime
from .test_play import Refused, Task

pytestmark = [pytest.mark.aws, pytest.mark.timeout(180)]
PLACES = {"eu-central": "eu-central-1", "eu-west": "eu-west-1"}
CONTENT = b"a film" * 1000
OPERATOR = {"Authorization": "Bearer operator"}


@dataclass
class Ground:
    """What a task is started on: ``Task`` wants the environment of a deployment."""

    environment: dict[str, str]


class Studios:
    """Both regions' studios, their buckets, and the function of the first."""

    def __init__(self, aws: AwsEmulator, folder: Path) -> None:
        self.aws, self.ports = aws, {name: Task.free_port() for name in PLACES}
        self.tasks = {name: self._task(name, folder / name) for name in PLACES}
        told = JobsDocument(
            region="eu-central", aws_region=PLACES["eu-central"], regions=tuple(PLACES), secret="eb/secret",
            studio=self._url("eu-central"), blobs="s3:eu-central-1/eb-eu-central",
        )  # fmt: skip
        environment = {**self._environment("eu-central"), VARIABLE: msgspec.json.encode(told).decode()}
        self.jobs = LambdaRuntime("eisbach.deploy.aws.handlers.jobs.handle", environment, timeout_s=30)

    def client(self, service: str, name: str) -> Any:
        endpoint = self.aws.endpoint(PLACES[name])
        return boto3.client(service, region_name=PLACES[name], endpoint_url=endpoint, **CREDENTIALS)

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _environment(self, name: str) -> dict[str, str]:
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.aws.endpoint(PLACES[name])}

    def _task(self, name: str, folder: Path) -> Task:
        (other,) = set(PLACES) - {name}
        document = CellDocument(
            region=name, aws_region=PLACES[name], cell="studio", group="any/all/studio", studio=True, slot_count=4,
            slots=(0, 4), log_table="eb-studio-log", state_table="eb-studio-state", prefix="eb", secret="eb/secret",
            address=self._url(name), front="https://tv.example.org", twins={other: self._url(other)},
            media={one: f"https://media-{one}.tv.example.org" for one in PLACES}, groups=("eu/de/main",),
            residency="eu", blobs=f"s3:{PLACES[name]}/eb-{name}+eb-copies",
        )  # fmt: skip
        told = [{"name": VARIABLE, "value": msgspec.json.encode(document).decode()}]
        definition = {"command": ["python", "-m", "eisbach.deploy.aws.handlers.fargate"], "environment": told}
        return Task(Ground(self._environment(name)), definition, folder, port=self.ports[name])  # type: ignore[arg-type]

    def prepare(self) -> None:
        for name, place in PLACES.items():
            s3 = self.client("s3", name)
            for bucket in (f"eb-{name}", "eb-copies") if name == "eu-central" else (f"eb-{name}",):
                s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": place})
            told = msgspec.json.encode(secrets_of(name)).decode()
            self.client("secretsmanager", name).create_secret(Name="eb/secret", SecretString=told)

    def copy_uploads(self) -> None:
        """As S3 does within a quarter of an hour."""
        there, here = self.client("s3", "eu-west"), self.client("s3", "eu-central")
        for one in there.list_objects_v2(Bucket="eb-eu-west")["Contents"]:
            found = there.get_object(Bucket="eb-eu-west", Key=one["Key"])
            body = found["Body"].read()
            here.put_object(Bucket="eb-copies", Key=one["Key"], Body=body, Metadata=found["Metadata"])


@pytest_asyncio.fixture
async def studios(aws: AwsEmulator, tmp_path: Path) -> AsyncIterator[Studios]:
    async with AsyncExitStack() as stack:
        places = [AwsPlace(region=one, endpoint=aws.endpoint(one)) for one in PLACES.values()]
        clients = [await stack.enter_async_context(open_clients(place)) for place in places]
        await make_tables(clients, prefix="eb", cell="studio")
        found = Studios(aws, tmp_path)
        await asyncio.to_thread(found.prepare)
        yield found
        found.jobs.close()
        for task in found.tasks.values():
            await task.kill()


async def record(task: Task, http: aiohttp.ClientSession, asset: str) -> dict[str, Any]:
    """As soon as this region knows of it."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await task.call(http, "GET", f"/studio/assets/{asset}", **OPERATOR))["record"]  # type: ignore[no-any-return]
            except Refused as error:
                if error.args[0] != 404:
                    raise
            await asyncio.sleep(0.1)


async def test_what_a_lost_region_had_begun_is_begun_anew_in_the_other_when_an_operator_says_so(
    studios: Studios, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = studios.tasks["eu-central"], studios.tasks["eu-west"]
    async with aiohttp.ClientSession() as http:
        await asyncio.gather(here.start(http), there.start(http))
        new = {"name": "film.mp4", "names": {"de": "Ein Film"}, "market": "de", "publish": True}
        told = await there.call(http, "POST", "/studio/uploads", new, **OPERATOR)
        url = f"http://127.0.0.1:{there.port}/studio/uploads/{told['upload']}/content"
        async with http.put(url, data=CONTENT, headers=OPERATOR) as answer:
            assert answer.status == 200, await answer.read()
        asset = told["asset"]
        assert (await record(here, http, asset))["home"] == "eu-west"
        await there.kill()
        silent = await asyncio.to_thread(studios.jobs.call, {"sweep": True})
        left = await record(here, http, asset)
        await here.call(http, "POST", "/studio/regions/eu-west", {"serves": False}, **OPERATOR)
        with pytest.raises(RuntimeError, match="is not in this region"):
            await asyncio.to_thread(studios.jobs.call, {"sweep": True})
        await asyncio.to_thread(studios.copy_uploads)
        steps = (await asyncio.to_thread(studios.jobs.call, {"sweep": True}))["steps"]
        taken = await record(here, http, asset)

    assert (silent["steps"]["restart"], left["home"]) == (0, "eu-west"), "a region that is merely silent keeps its work"
    assert (steps["restart"], taken["home"], taken["state"], taken["round"]) == (1, "eu-central", "received", 1)
    for name, value in studios._environment("eu-central").items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        place = "s3:eu-central-1/eb-eu-central+eb-copies"
        blobs = await open_blobs(place, stack, scratch=tmp_path / "worker", disk=inline)  # as a worker's
        source = await blobs.local_path(f"uploads/{told['upload']}")

    assert source.read_bytes() == CONTENT
