"""Files keep the promises of the blobs port."""

from pathlib import Path

import pytest

from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.testing.blobs_promises import BlobsPromises


class TestFileBlobs(BlobsPromises):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FileBlobs:
        return FileBlobs(tmp_path / "blobs")


async def test_a_symlink_out_of_the_folder_is_no_blob_to_delete(tmp_path: Path) -> None:
    """Channels are symlinks to assets: deleting the channel leaves the asset."""
    blobs = FileBlobs(tmp_path)
    await blobs.put("vod/a/1.m4s", b"x")
    (tmp_path / "ch" / "one").mkdir(parents=True)
    (tmp_path / "ch" / "one" / "a").symlink_to("../../vod/a")

    await blobs.delete("ch/one/")

    assert await blobs.read("vod/a/1.m4s") == b"x"
