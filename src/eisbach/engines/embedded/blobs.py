"""Blobs as files in a folder.

Promises: ``ports.blobs``: a file appears whole, fsynced, by rename, or not at all; what a crash leaves are hidden
``.part`` files that no key can name. A full disk is ``Unavailable`` and leaves nothing behind.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Final

from eisbach.engines.embedded.disk import Disk, inline
from eisbach.kernel.errors import DigestMismatch, Invalid, NotFound, Unavailable
from eisbach.kernel.limits import MIB
from eisbach.ports.blobs import BLOB_KEYS_MAX, BLOB_READ_MAX, BlobInfo, check_key, check_prefix, is_key

__all__ = ["FileBlobs"]

_WRITE_BYTES: Final = 1 * MIB


class FileBlobs:
    """One folder."""

    def __init__(self, folder: Path, *, disk: Disk = inline) -> None:
        """``folder`` is made when absent."""
        self._folder, self._disk = folder.resolve(), disk

    async def put(
        self, key: str, content: AsyncIterator[bytes] | bytes, *, sha256: str | None = None, once: bool = False
    ) -> BlobInfo:
        """See ``Blobs``. Cancelling stores nothing."""
        target = self._path(key)
        if once and (there := await self.info(key)) is not None:
            return there
        try:
            part = await self._disk(lambda: _open_part(target))
        except OSError as error:
            raise Unavailable(f"blob {key} could not be stored: {error}; nothing was kept") from error
        try:
            info = await self._fill(key, part, content)
            if sha256 is not None and info.sha256 != sha256:
                raise DigestMismatch(f"blob {key}: sha256 is {info.sha256}, {sha256} was announced; send it again")
            placed = await self._disk(lambda: _place(part, target, once=once))
        except OSError as error:
            raise Unavailable(f"blob {key} could not be stored: {error}; nothing was kept") from error
        finally:
            # Not through the disk seam: this also runs when the caller is cancelled.
            with contextlib.suppress(OSError):  # what a full disk refused once is flushed again by close, in vain
                part.close()
            Path(part.name).unlink(missing_ok=True)
        return info if placed else await self.info(key) or info

    async def put_file(self, key: str, path: Path) -> BlobInfo:
        """See ``Blobs``: copied, since the source may lie on another disk or belong to the caller."""

        async def pieces() -> AsyncIterator[bytes]:
            with path.open("rb") as file:
                while piece := await self._disk(lambda: file.read(_WRITE_BYTES)):
                    yield piece

        return await self.put(key, pieces())

    async def read(self, key: str) -> bytes:
        """See ``Blobs``."""
        path = await self.local_path(key)

        def work() -> bytes:
            if path.stat().st_size > BLOB_READ_MAX:
                raise Invalid(f"blob {key} is over {BLOB_READ_MAX} bytes; use local_path")
            return path.read_bytes()

        return await self._disk(work)

    async def local_path(self, key: str) -> Path:
        """See ``Blobs``."""
        path = self._path(key)
        if not path.is_file():
            raise NotFound(f"blob {key} is not here")
        return path

    async def info(self, key: str) -> BlobInfo | None:
        """See ``Blobs``; reads the file to digest it."""
        path = self._path(key)

        def work() -> BlobInfo | None:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                return BlobInfo(key, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())

        return await self._disk(work)

    async def keys(self, prefix: str) -> Sequence[str]:
        """See ``Blobs``."""
        check_prefix(prefix)

        def work() -> list[str]:
            found: list[str] = []
            root = self._folder / prefix.rpartition("/")[0]
            for path in sorted(root.rglob("*")):
                key = path.relative_to(self._folder).as_posix()
                if key.startswith(prefix) and is_key(key) and path.is_file():
                    found.append(key)
            return found[:BLOB_KEYS_MAX]

        return await self._disk(work)

    async def delete(self, prefix: str) -> int:
        """See ``Blobs``."""
        check_prefix(prefix, deletes=True)
        keys = await self.keys(prefix)

        def work() -> int:
            for key in keys:
                (self._folder / key).unlink(missing_ok=True)
            folder = self._folder / prefix.rstrip("/")
            if is_key(prefix.rstrip("/")) and folder.is_dir() and prefix.endswith("/"):
                shutil.rmtree(folder, ignore_errors=True)
            return len(keys)

        return await self._disk(work)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._folder / key

    async def _fill(self, key: str, part: IO[bytes], content: AsyncIterator[bytes] | bytes) -> BlobInfo:
        digest, size = hashlib.sha256(), 0
        async for piece in _pieces(content):
            digest.update(piece)
            size += len(piece)
            await self._disk(lambda piece=piece: part.write(piece))  # type: ignore[misc]
        await self._disk(lambda: _sync(part))
        return BlobInfo(key, size, digest.hexdigest())


async def _pieces(content: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    """In pieces worth a write each: a socket hands over little at a time."""
    if isinstance(content, bytes):
        yield content
        return
    held: list[bytes] = []
    size = 0
    async for piece in content:
        held.append(piece)
        size += len(piece)
        if size >= _WRITE_BYTES:
            yield b"".join(held)
            held, size = [], 0
            await asyncio.sleep(0)
    if held:
        yield b"".join(held)


def _open_part(target: Path) -> IO[bytes]:
    target.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=".part", delete=False)


def _sync(part: IO[bytes]) -> None:
    part.flush()
    os.fsync(part.fileno())


def _place(part: IO[bytes], target: Path, *, once: bool) -> bool:
    """Whether it is there now; ``once``: not where another was first."""
    if once:
        try:
            target.hardlink_to(part.name)
        except FileExistsError:
            return False
    else:
        Path(part.name).replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
