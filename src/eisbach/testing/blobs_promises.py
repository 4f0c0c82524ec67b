"""What every engine of ``ports.blobs`` promises, as tests to inherit from.

Give a fixture ``blobs`` that is an empty ``ports.blobs.Blobs``, and inherit ``BlobsPromises``.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eisbach.kernel.errors import DigestMismatch, EisbachError, Invalid, NotFound
from eisbach.ports.blobs import BlobInfo, Blobs

__all__ = ["BlobsPromises"]

CONTENT = b"whole or not at all"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
UNSAFE = ["../x", "/etc/passwd", "a//b", "a/../b", "", "a\0b", "a/", "\u00e4", "x" * 600, "a\nb", "a b"]


class BlobsPromises:
    """Whole, verified, inside."""

    async def test_a_blob_comes_back_as_it_was_stored(self, blobs: Blobs) -> None:
        info = await blobs.put("media/a/1.m4s", CONTENT, sha256=DIGEST)

        assert info == BlobInfo("media/a/1.m4s", len(CONTENT), DIGEST)
        assert await blobs.info("media/a/1.m4s") == info
        assert await blobs.read("media/a/1.m4s") == CONTENT
        assert (await blobs.local_path("media/a/1.m4s")).read_bytes() == CONTENT

    async def test_content_may_come_in_pieces(self, blobs: Blobs) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(CONTENT), 3):
                yield CONTENT[start : start + 3]

        assert (await blobs.put("media/a", pieces())).sha256 == DIGEST
        assert await blobs.read("media/a") == CONTENT

    async def test_a_local_file_can_be_stored(self, blobs: Blobs, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(CONTENT)

        assert (await blobs.put_file("media/a", source)).sha256 == DIGEST
        assert await blobs.read("media/a") == CONTENT

    async def test_what_is_not_what_was_promised_is_not_stored(self, blobs: Blobs) -> None:
        with pytest.raises(DigestMismatch):
            await blobs.put("media/a", b"other", sha256=DIGEST)

        assert await blobs.info("media/a") is None
        assert await blobs.keys("") == []

    async def test_a_replacement_that_fails_leaves_what_was_there(self, blobs: Blobs) -> None:
        async def breaks() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionResetError("hung up")

        await blobs.put("media/a", CONTENT)

        with pytest.raises((ConnectionResetError, EisbachError)):
            await blobs.put("media/a", breaks())

        assert await blobs.read("media/a") == CONTENT
        assert await blobs.keys("") == ["media/a"]

    async def test_the_same_key_again_replaces_the_blob(self, blobs: Blobs) -> None:
        await blobs.put("media/a", b"old")

        await blobs.put("media/a", CONTENT)

        assert await blobs.read("media/a") == CONTENT

    async def test_what_is_put_once_stays_as_the_first_has_it(self, blobs: Blobs) -> None:
        await blobs.put("work/record", CONTENT, once=True)

        again = await blobs.put("work/record", b"another", once=True)

        assert again == BlobInfo("work/record", len(CONTENT), DIGEST)
        assert await blobs.read("work/record") == CONTENT

    async def test_of_several_that_put_once_together_one_is_stored_and_all_are_told_it(self, blobs: Blobs) -> None:
        contents = [f"{n}".encode() * 100 for n in range(6)]

        told = await asyncio.gather(*(blobs.put("work/record", content, once=True) for content in contents))

        stored = await blobs.read("work/record")
        assert stored in contents
        assert {info.sha256 for info in told} == {hashlib.sha256(stored).hexdigest()}

    async def test_what_is_absent_is_said_to_be(self, blobs: Blobs) -> None:
        assert await blobs.info("media/a") is None
        with pytest.raises(NotFound):
            await blobs.read("media/a")
        with pytest.raises(NotFound):
            await blobs.local_path("media/a")

    async def test_keys_come_by_prefix_in_order(self, blobs: Blobs) -> None:
        for key in ("media/b", "media/a/2", "media/a/1", "mediation", "work/x"):
            await blobs.put(key, CONTENT)

        assert await blobs.keys("media/") == ["media/a/1", "media/a/2", "media/b"]
        assert await blobs.keys("media") == ["media/a/1", "media/a/2", "media/b", "mediation"]
        assert await blobs.keys("nothing/") == []

    async def test_delete_takes_a_prefix_and_nothing_else(self, blobs: Blobs) -> None:
        for key in ("work/a/1", "work/a/2", "work/ab", "media/a"):
            await blobs.put(key, CONTENT)

        assert await blobs.delete("work/a/") == 2
        assert await blobs.keys("") == ["media/a", "work/ab"]

    async def test_a_short_prefix_is_not_deleted(self, blobs: Blobs) -> None:
        await blobs.put("work/a", CONTENT)

        for prefix in ("", "w", "wo"):
            with pytest.raises(Invalid):
                await blobs.delete(prefix)

        assert await blobs.keys("") == ["work/a"]

    @pytest.mark.parametrize("key", UNSAFE)
    async def test_a_key_that_leaves_the_folder_or_a_line_is_refused(self, blobs: Blobs, key: str) -> None:
        with pytest.raises(Invalid):
            await blobs.put(key, CONTENT)
        with pytest.raises(Invalid):
            await blobs.read(key)

    @pytest.mark.parametrize("prefix", ["../", "../../etc/", "/etc/", "media/../../"])
    async def test_a_prefix_that_leaves_the_folder_is_refused(self, blobs: Blobs, prefix: str) -> None:
        with pytest.raises(Invalid):
            await blobs.keys(prefix)
        with pytest.raises(Invalid):
            await blobs.delete(prefix)
