"""Blobs as files: whole or not at all."""

import errno
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.kernel.errors import DigestMismatch, Invalid, NotFound, Unavailable

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


async def pieces(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error:
        raise error


def files(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file()]


async def test_a_blob_comes_out_as_it_went_in_with_size_and_digest(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)

    info = await blobs.put("uploads/u-1", pieces(b"he", b"llo"))

    assert (info.bytes, info.sha256) == (5, HELLO)
    assert await blobs.read("uploads/u-1") == b"hello"
    assert await blobs.info("uploads/u-1") == info


@pytest.mark.parametrize("error", [ConnectionResetError("hung up"), OSError(errno.ENOSPC, "No space left on device")])
async def test_content_that_stops_half_way_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    blobs = FileBlobs(tmp_path)

    with pytest.raises((Unavailable, ConnectionResetError)):
        await blobs.put("uploads/u-1", pieces(b"he", error=error))

    assert files(tmp_path) == []


async def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    async def full_disk(work):
        result = work()
        if result is not None and not hasattr(result, "name"):  # a write, not the opening
            raise OSError(errno.ENOSPC, "No space left on device")
        return result

    blobs = FileBlobs(tmp_path, disk=full_disk)

    with pytest.raises(Unavailable, match="No space left"):
        await blobs.put("uploads/u-1", b"hello")

    assert files(tmp_path) == []


async def test_a_disk_that_lets_no_file_be_made_is_unavailable(tmp_path: Path) -> None:
    async def full_disk(work):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Unavailable, match="No space left"):
        await FileBlobs(tmp_path, disk=full_disk).put("uploads/u-1", b"hello")


async def test_what_a_real_disk_refuses_in_small_pieces_leaves_nothing_although_close_is_refused_too(
    tmp_path: Path,
) -> None:
    async def pieces():
        for _ in range(100):
            yield b"x" * 1000

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the kernel refuses, as a full disk does
    try:
        with pytest.raises(Unavailable, match="could not be stored"):
            await FileBlobs(tmp_path).put("uploads/u-1", pieces())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert files(tmp_path) == []


async def test_content_of_another_digest_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)

    with pytest.raises(DigestMismatch):
        await blobs.put("uploads/u-1", b"hallo", sha256=HELLO)

    assert files(tmp_path) == []


async def test_keys_and_delete_go_by_prefix(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    for key in ("work/a/1", "work/a/2", "work/b/1"):
        await blobs.put(key, b"x")

    deleted = await blobs.delete("work/a/")

    assert (deleted, await blobs.keys("work/")) == (2, ["work/b/1"])
    with pytest.raises(NotFound):
        await blobs.read("work/a/1")


@pytest.mark.parametrize(
    "key", ["../x", "/etc/passwd", "a//b", "a/../b", ".hidden", "a/.b", "", "a\0b", "ä", "x" * 513]
)
async def test_a_key_that_leaves_the_folder_or_hides_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(Invalid):
        await FileBlobs(tmp_path).put(key, b"x")
