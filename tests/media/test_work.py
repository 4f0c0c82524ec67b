"""Jobs whose files are in blobs elsewhere, files or S3: the same bytes, however workers come and go."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.kernel.errors import EisbachError, Invalid, NotFound, Unavailable
from eisbach.media.jobs import Workspace
from eisbach.media.plan import JobSpec, plan_jobs
from eisbach.media.tools import MediaTools
from eisbach.media.work import BlobWork
from eisbach.ports.blobs import Blobs
from eisbach.testing.aws.emulator import AwsEmulator

from .conftest import Packaged


@pytest.fixture(
    params=[
        pytest.param("files", marks=pytest.mark.processes),
        pytest.param(
            "s3", marks=[pytest.mark.aws, pytest.mark.filterwarnings("ignore:Sending a large:ResourceWarning")]
        ),
    ]
)
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator["Shelf"]:
    async with AsyncExitStack() as stack:
        if request.param == "files":
            yield Shelf(lambda _: FileBlobs(tmp_path / "elsewhere"), tmp_path)
            return
        from eisbach.engines.aws.blobs import S3Blobs
        from eisbach.engines.aws.clients import AwsPlace, open_clients

        aws: AwsEmulator = request.getfixturevalue("aws")
        place = AwsPlace(region="eu-central-1", endpoint=aws.endpoint("eu-central-1"))
        clients = await stack.enter_async_context(open_clients(place, blobs=True))
        where = {"LocationConstraint": "eu-central-1"}
        await clients.s3.create_bucket(Bucket="eb-media", CreateBucketConfiguration=where)
        yield Shelf(lambda scratch: S3Blobs(clients, "eb-media", scratch=scratch), tmp_path)


class Shelf:
    """The region's blobs, and workers with a folder each."""

    def __init__(self, made: object, folder: Path) -> None:
        self._made, self.folder = made, folder
        self.blobs: Blobs = made(folder / "reader")  # type: ignore[operator]

    def worker(self, name: str) -> BlobWork:
        folder = self.folder / name
        folder.mkdir()
        return BlobWork(self._made(folder), folder)  # type: ignore[operator]

    async def sources(self, packaged: Packaged) -> list[JobSpec]:
        for name in ("uploads/u-1", "uploads/u-1.de.vtt"):
            await self.blobs.put_file(name, packaged.blobs / name)
        return list(plan_jobs(packaged.plan, "film"))

    async def media(self) -> dict[str, str]:
        keys = await self.blobs.keys("media/")
        return {key: (await self.blobs.info(key)).sha256 for key in keys}  # type: ignore[union-attr]


def wanted(packaged: Packaged) -> dict[str, str]:
    return dict(_digests(packaged.blobs, packaged.workspace))


def _digests(blobs: Path, workspace: Workspace) -> Iterator[tuple[str, str]]:
    for path in workspace.media("film").rglob("*"):
        if path.is_file():
            yield path.relative_to(blobs).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


async def run_with(work: BlobWork, job: JobSpec, tools: MediaTools) -> object:
    return await work.run(job, tools, lambda _: None)


async def test_two_workers_without_a_common_folder_make_the_same_bytes_and_leave_nothing(
    packaged: Packaged, tools: MediaTools, shelf: Shelf
) -> None:
    jobs = await shelf.sources(packaged)
    one, other = shelf.worker("one"), shelf.worker("other")

    made = [await run_with((one, other)[number % 2], job, tools) for number, job in enumerate(jobs)]

    assert made[-1] == packaged.asset
    assert await shelf.media() == wanted(packaged)
    assert await shelf.blobs.keys("work/") == ["work/film/asset.json"]
    left = [p.relative_to(shelf.folder / "one").as_posix() for p in (shelf.folder / "one").rglob("*") if p.is_file()]
    assert set(left) <= {"uploads/u-1", "uploads/u-1.de.vtt"}


async def test_what_is_done_is_not_done_again(packaged: Packaged, tools: MediaTools, shelf: Shelf) -> None:
    jobs = await shelf.sources(packaged)
    for job in jobs:
        await run_with(shelf.worker(f"w-{job.part}"), job, tools)
    for name in ("uploads/u-1", "uploads/u-1.de.vtt"):
        await shelf.blobs.delete(name)

    assert await run_with(shelf.worker("later"), jobs[-1], tools) == packaged.asset, "without its source"


class Cut:
    """Blobs that fail for good after so many are stored."""

    def __init__(self, inner: Blobs, left: int) -> None:
        self._inner, self._left = inner, left

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def put_file(self, key: str, path: Path) -> object:
        self._left -= 1
        if self._left < 0:
            raise Unavailable("cut off")
        return await self._inner.put_file(key, path)


@pytest.mark.parametrize("stored", [0, 5, 32, 33])
async def test_a_worker_cut_off_while_it_stores_a_package_is_repeated_with_the_same_bytes(
    packaged: Packaged, tools: MediaTools, shelf: Shelf, stored: int
) -> None:
    jobs = await shelf.sources(packaged)
    worker = shelf.worker("one")
    for job in jobs[:-1]:
        await run_with(worker, job, tools)
    worker._blobs = Cut(worker._blobs, stored)  # type: ignore[assignment]
    with pytest.raises(EisbachError, match="cut off"):
        await run_with(worker, jobs[-1], tools)
    assert "work/film/asset.json" not in await shelf.blobs.keys("work/")

    assert await run_with(shelf.worker("another"), jobs[-1], tools) == packaged.asset
    assert await shelf.media() == wanted(packaged)


async def test_a_part_that_somebody_tidied_up_is_made_anew(packaged: Packaged, tools: MediaTools, shelf: Shelf) -> None:
    jobs = await shelf.sources(packaged)
    for job in jobs[:-1]:
        await run_with(shelf.worker(f"w-{job.part}"), job, tools)
    await shelf.blobs.delete("work/film/v240/")

    assert await run_with(shelf.worker("later"), jobs[-1], tools) == packaged.asset
    assert await shelf.media() == wanted(packaged)


async def test_a_worker_keeps_one_source_at_a_time_and_none_from_outside(packaged: Packaged, shelf: Shelf) -> None:
    await shelf.sources(packaged)
    await shelf.blobs.put("uploads/u-2", b"another")
    worker = shelf.worker("one")

    first = await worker.source("uploads/u-1")
    second = await worker.source("uploads/u-2")

    assert (first.exists(), second.read_bytes()) == (False, b"another")
    for key in ("../secrets", "/etc/passwd"):
        with pytest.raises(Invalid):
            await worker.source(key)
    with pytest.raises(NotFound):
        await worker.source("uploads/none")
