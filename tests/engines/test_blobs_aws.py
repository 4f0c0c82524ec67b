"""S3 keeps the promises of the blobs port, small and large, and leaves nothing where something breaks."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from eisbach.engines.aws.blobs import PART_BYTES, S3Blobs
from eisbach.engines.aws.clients import AwsClients, AwsPlace, open_clients
from eisbach.kernel.errors import DigestMismatch, Invalid, OutcomeUnknown, Overloaded, Unavailable
from eisbach.kernel.limits import MIB
from eisbach.ports.blobs import BLOB_READ_MAX, BlobInfo, Blobs
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.blobs_promises import BlobsPromises

# A part is 8 MiB, and aiohttp warns that it is sent in one piece.
pytestmark = [pytest.mark.aws, pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")]
REGION = "eu-central-1"
LARGE = bytes(range(256)) * (PART_BYTES // 128) + b"the end"
SHA256 = hashlib.sha256(LARGE).hexdigest()


class Bucket:
    """A bucket and ways to open it."""

    def __init__(self, aws: AwsEmulator, folder: Path, stack: AsyncExitStack) -> None:
        self.aws, self.folder, self._stack = aws, folder, stack
        self.clients: AwsClients = None  # type: ignore[assignment]

    async def open(self, *, tries: int = 1, answer_s: float = 2.0) -> S3Blobs:
        place = AwsPlace(region=REGION, endpoint=self.aws.endpoint(REGION), tries=tries, answer_s=answer_s)
        self.clients = await self._stack.enter_async_context(open_clients(place, blobs=True))
        return S3Blobs(self.clients, "eb-media", scratch=self.folder / "scratch")

    async def objects(self) -> list[str]:
        told = await self.clients.s3.list_objects_v2(Bucket="eb-media")
        return [one["Key"] for one in told.get("Contents", ())]

    async def uploads(self) -> list[Any]:
        return (await self.clients.s3.list_multipart_uploads(Bucket="eb-media")).get("Uploads") or []


@pytest.fixture
async def bucket(aws: AwsEmulator, tmp_path: Path) -> AsyncIterator[Bucket]:
    async with AsyncExitStack() as stack:
        made = Bucket(aws, tmp_path, stack)
        await made.open()
        await made.clients.s3.create_bucket(Bucket="eb-media", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield made


@pytest.fixture
async def blobs(bucket: Bucket) -> S3Blobs:
    return await bucket.open()


class TestS3Blobs(BlobsPromises):
    """The suite of every engine."""


async def pieces(content: bytes, size: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("announced", [None, SHA256])
async def test_a_large_blob_goes_in_parts_and_comes_back_verified(
    bucket: Bucket, blobs: Blobs, announced: str | None
) -> None:
    told = await blobs.put("media/large", pieces(LARGE), sha256=announced)

    assert told == BlobInfo("media/large", len(LARGE), SHA256)
    assert bucket.clients.usage.calls["s3.UploadPart"] == 3
    assert await blobs.info("media/large") == told
    assert await blobs.read("media/large") == LARGE
    assert hashlib.sha256((await blobs.local_path("media/large")).read_bytes()).hexdigest() == SHA256
    assert await blobs.keys("") == ["media/large"]
    assert await blobs.delete("media/") == 1
    assert await bucket.objects() == [], "its digest goes with it"


async def test_a_large_blob_of_another_digest_leaves_no_part_behind(bucket: Bucket, blobs: Blobs) -> None:
    with pytest.raises(DigestMismatch):
        await blobs.put("media/large", pieces(LARGE), sha256="0" * 64)

    assert (await bucket.objects(), await bucket.uploads()) == ([], [])


async def test_a_sender_that_hangs_up_in_a_large_blob_leaves_what_was_there(bucket: Bucket, blobs: Blobs) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield LARGE
        raise ConnectionResetError("hung up")

    await blobs.put("media/large", b"before")
    with pytest.raises(ConnectionResetError):
        await blobs.put("media/large", breaks())

    assert (await blobs.read("media/large"), await bucket.uploads()) == (b"before", [])
    assert await bucket.objects() == ["media/large"]


async def test_a_cancelled_upload_leaves_nothing(bucket: Bucket, blobs: Blobs) -> None:
    begun = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        yield LARGE
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.put("media/large", hangs()))
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await bucket.objects(), await bucket.uploads()) == ([], [])


async def test_of_two_large_blobs_put_once_at_the_same_time_one_is_kept(bucket: Bucket, blobs: Blobs) -> None:
    other = LARGE[::-1]
    told = await asyncio.gather(*(blobs.put("work/large", pieces(content), once=True) for content in (LARGE, other)))

    stored = await blobs.read("work/large")
    assert stored in (LARGE, other)
    assert {info.sha256 for info in told} == {hashlib.sha256(stored).hexdigest()}
    assert len(await bucket.objects()) == 2, "the blob and its digest, none of the other's"


async def test_what_was_altered_is_found_when_it_is_read(bucket: Bucket, blobs: Blobs) -> None:
    for content in (b"small", LARGE):
        await blobs.put("media/a", content)
        kept = (await bucket.clients.s3.head_object(Bucket="eb-media", Key="media/a"))["Metadata"]
        await bucket.clients.s3.put_object(Bucket="eb-media", Key="media/a", Body=b"altered", Metadata=kept)

        with pytest.raises(DigestMismatch, match="was stored; read again"):
            await blobs.read("media/a")
        with pytest.raises(DigestMismatch):
            await blobs.local_path("media/a")
        assert not (bucket.folder / "scratch" / "media" / "a").exists()


async def test_what_somebody_else_stored_is_digested_by_reading(bucket: Bucket, blobs: Blobs) -> None:
    await bucket.clients.s3.put_object(Bucket="eb-media", Key="media/theirs", Body=b"theirs")

    assert await blobs.info("media/theirs") == BlobInfo("media/theirs", 6, hashlib.sha256(b"theirs").hexdigest())


async def test_a_copy_here_is_brought_anew_only_when_the_blob_is_another(bucket: Bucket, blobs: Blobs) -> None:
    await blobs.put("media/a", b"old")
    path = await blobs.local_path("media/a")
    path.write_bytes(b"old, and used here")

    assert (await blobs.local_path("media/a")).read_bytes() == b"old, and used here"
    await blobs.put("media/a", b"new")
    assert (await blobs.local_path("media/a")).read_bytes() == b"new"


async def test_a_blob_too_large_to_be_read_at_once_is_refused_before_it_is_read(bucket: Bucket, blobs: Blobs) -> None:
    async def zeros() -> AsyncIterator[bytes]:
        for _ in range(BLOB_READ_MAX // MIB + 1):
            yield bytes(MIB)

    await blobs.put("media/huge", zeros())

    with pytest.raises(Invalid, match="use local_path"):
        await blobs.read("media/huge")


@pytest.mark.parametrize(
    ("mode", "write", "read"),
    [
        ("cut", OutcomeUnknown, Unavailable),
        ("mute", OutcomeUnknown, Unavailable),
        ("throttle", Overloaded, Overloaded),
        ("error", OutcomeUnknown, Unavailable),
    ],
)
async def test_a_region_that_fails_is_told_in_the_ports_words_and_rides_on_when_it_heals(
    aws: AwsEmulator, bucket: Bucket, mode: str, write: type[Exception], read: type[Exception]
) -> None:
    blobs = await bucket.open()
    await blobs.put("media/a", b"there")
    aws.fault(REGION, mode)

    with pytest.raises(write):
        await blobs.put("media/b", b"content")
    with pytest.raises(read):
        await blobs.read("media/a")
    with pytest.raises(read):
        await blobs.keys("media/")
    aws.heal(REGION)

    assert await blobs.read("media/a") == b"there"


async def test_a_part_that_fails_once_is_sent_again(aws: AwsEmulator, bucket: Bucket) -> None:
    blobs = await bucket.open(tries=3)
    aws.fault(REGION, "error", service="s3", count=2)

    assert (await blobs.put("media/large", pieces(LARGE))).sha256 == SHA256


async def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    blobs = S3Blobs(bucket.clients, "eb-other", scratch=bucket.folder)

    with pytest.raises(Unavailable, match="NoSuchBucket"):
        await blobs.put("media/a", b"x")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("media/vod/a/v720.m3u8", "application/vnd.apple.mpegurl"),
        ("media/vod/a/v720/1.m4s", "video/iso.segment"),
        ("media/vod/a/img/poster.jpg", "image/jpeg"),
    ],
)
@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
async def test_an_object_of_media_says_what_it_is_and_that_it_stays_so(
    bucket: Bucket, key: str, kind: str, body: bytes
) -> None:
    """A CDN serves it from the bucket itself."""
    blobs = await bucket.open()
    await blobs.put(key, body)
    await blobs.put("work/a/v720/0001.mp4", b"x")
    told = await bucket.clients.s3.head_object(Bucket="eb-media", Key=key)
    work = await bucket.clients.s3.head_object(Bucket="eb-media", Key="work/a/v720/0001.mp4")

    assert (told["ContentType"], told["CacheControl"]) == (kind, "public, max-age=31536000, immutable")
    assert "CacheControl" not in work
