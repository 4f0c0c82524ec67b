"""Blobs as files: whole or not at all, verified, never outside their folder.

Promises: ``ports.blobs``. A blob is written beside its place as ``.part``, fsynced, and renamed.
"""

import asyncio
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import DigestMismatch, Invalid, NotFound, Unavailable
from eisbach.ports.blobs import BlobInfo

__all__ = ["FileBlobs"]

_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_READ_MAX: Final = 64 * 1024 * 1024
_KEYS_MAX: Final = 100_000
_CHUNK: Final = 1024 * 1024


class FileBlobs:
    """Blobs under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = itertools.count()

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if len(key) > 512 or not all(_PART.fullmatch(part) for part in parts):
            raise Invalid(f"blob key {key[:80]!r} is not a relative path of safe parts, e.g. 'media/vod/a/1.m4s'")
        return self._root.joinpath(*parts)

    async def put(self, key: str, content: AsyncIterator[bytes] | bytes, *, sha256: str | None = None) -> BlobInfo:
        """See ``ports.blobs``; blocks the event loop for one chunk of a write at a time."""
        path = self._path(key)
        part = path.with_name(f".{path.name}.{os.getpid()}.{next(self._numbers)}.part")
        digest, size = hashlib.sha256(), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                async for chunk in _chunks(content):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            if sha256 is not None and digest.hexdigest() != sha256:
                raise DigestMismatch(
                    f"blob {key}: {size} bytes with digest {digest.hexdigest()}, {sha256} was promised"
                )
            part.replace(path)
        except OSError as error:
            raise Unavailable(f"blob {key} could not be stored ({error}); nothing was stored") from error
        finally:
            part.unlink(missing_ok=True)
        return BlobInfo(key, size, digest.hexdigest())

    async def put_file(self, key: str, path: Path) -> BlobInfo:
        """See ``ports.blobs``; a move where source and blobs share a file system."""
        target = self._path(key)
        try:
            info = BlobInfo(key, path.stat().st_size, await asyncio.to_thread(_digest, path))
            target.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(shutil.move, path, target)
        except OSError as error:
            raise Unavailable(f"blob {key} could not be stored from {path} ({error})") from error
        return info

    async def read(self, key: str) -> bytes:
        """See ``ports.blobs``."""
        path = await self.local_path(key)
        if (size := path.stat().st_size) > _READ_MAX:
            raise Invalid(f"blob {key} has {size} bytes; read at most {_READ_MAX} whole, use local_path")
        return path.read_bytes()

    async def local_path(self, key: str) -> Path:
        """See ``ports.blobs``."""
        path = self._path(key)
        if not path.is_file():
            raise NotFound(f"no blob {key!r}")
        return path

    async def info(self, key: str) -> BlobInfo | None:
        """See ``ports.blobs``; reads the whole file for its digest."""
        path = self._path(key)
        if not path.is_file():
            return None
        return BlobInfo(key, path.stat().st_size, await asyncio.to_thread(_digest, path))

    async def keys(self, prefix: str) -> Sequence[str]:
        """See ``ports.blobs``."""
        top = self._root / prefix.rpartition("/")[0]
        found: list[str] = []
        for folder, _, names in os.walk(top):
            relative = Path(folder).relative_to(self._root)
            found += [(relative / name).as_posix() for name in names if not name.endswith(".part")]
            if len(found) > _KEYS_MAX:
                raise Invalid(f"more than {_KEYS_MAX} blobs start with {prefix!r}; ask for fewer")
        return sorted(key for key in found if key.startswith(prefix))

    async def delete(self, prefix: str) -> int:
        """See ``ports.blobs``."""
        if len(prefix) < 3:
            raise Invalid(f"refused to delete every blob that starts with {prefix!r}; give at least 3 characters")
        keys = await self.keys(prefix)
        for key in keys:
            self._path(key).unlink(missing_ok=True)
        return len(keys)


async def _chunks(content: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        yield content
    else:
        async for chunk in content:
            yield chunk


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
