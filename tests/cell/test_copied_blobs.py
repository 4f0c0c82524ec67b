"""A region's blobs with copies of other regions' uploads: read from wherever they are, written and deleted in its own."""

from pathlib import Path

import pytest

from eisbach.bootstrap.copied_blobs import CopiedBlobs
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.disk import inline
from eisbach.kernel.errors import NotFound


async def three(tmp_path: Path) -> tuple[CopiedBlobs, FileBlobs, FileBlobs]:
    own, copies = FileBlobs(tmp_path / "own", disk=inline), FileBlobs(tmp_path / "copies", disk=inline)
    return CopiedBlobs(own, [copies]), own, copies


async def test_an_upload_is_read_from_the_copies_when_it_is_not_among_the_regions_own(tmp_path: Path) -> None:
    blobs, own, copies = await three(tmp_path)
    await copies.put("uploads/u-1", b"theirs")
    await own.put("uploads/u-2", b"ours")
    await copies.put("uploads/u-2", b"never asked for")

    assert [await blobs.read(f"uploads/u-{n}") for n in (1, 2)] == [b"theirs", b"ours"]
    assert (await blobs.local_path("uploads/u-1")).read_bytes() == b"theirs"
    assert await blobs.keys("uploads/") == ["uploads/u-1", "uploads/u-2"]
    assert (await blobs.info("uploads/u-1") or own).bytes == 6  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        await blobs.read("uploads/u-3")


async def test_nothing_else_of_a_copy_is_seen_and_nothing_of_it_is_deleted(tmp_path: Path) -> None:
    """Media of another region count as its own only: a packager that saw them would make nothing."""
    blobs, _, copies = await three(tmp_path)
    await copies.put("media/vod/a/files.json", b"[]")
    await copies.put("uploads/u-1", b"theirs")
    await blobs.put("uploads/u-1", b"ours")

    assert (await blobs.keys("media/"), await blobs.info("media/vod/a/files.json")) == ([], None)
    with pytest.raises(NotFound):
        await blobs.local_path("media/vod/a/files.json")
    assert await blobs.delete("uploads/u-1") == 1
    assert await blobs.read("uploads/u-1") == b"theirs"
