"""A region's blobs, with what other regions' uploads were copied here: for stores that copy by themselves (S3).

Promises: ``ports.blobs`` of the region's own; an upload that is not among them is read from the copies, so that work
of a region that is gone can be begun anew here. Copies are never written nor deleted: they are the other region's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from eisbach.kernel.errors import NotFound
from eisbach.ports.blobs import BlobInfo, Blobs

__all__ = ["CopiedBlobs"]

T = TypeVar("T")
_SHARED: Final = "uploads/"


class CopiedBlobs:
    """``own``, then each of ``copies`` for uploads."""

    def __init__(self, own: Blobs, copies: Sequence[Blobs]) -> None:
        self._own, self._copies = own, copies

    async def put(
        self, key: str, content: AsyncIterator[bytes] | bytes, *, sha256: str | None = None, once: bool = False
    ) -> BlobInfo:
        """See ``Blobs``."""
        return await self._own.put(key, content, sha256=sha256, once=once)

    async def put_file(self, key: str, path: Path) -> BlobInfo:
        """See ``Blobs``."""
        return await self._own.put_file(key, path)

    async def read(self, key: str) -> bytes:
        """See ``Blobs``."""
        return await self._first(key, lambda blobs: blobs.read(key))

    async def local_path(self, key: str) -> Path:
        """See ``Blobs``."""
        return await self._first(key, lambda blobs: blobs.local_path(key))

    async def info(self, key: str) -> BlobInfo | None:
        """See ``Blobs``."""
        for blobs in self._of(key):
            if (found := await blobs.info(key)) is not None:
                return found
        return None

    async def keys(self, prefix: str) -> Sequence[str]:
        """See ``Blobs``; copies count for uploads."""
        return sorted({key for blobs in self._of(prefix) for key in await blobs.keys(prefix)})

    async def delete(self, prefix: str) -> int:
        """See ``Blobs``: of the region's own."""
        return await self._own.delete(prefix)

    def _of(self, key: str) -> list[Blobs]:
        return [self._own, *(self._copies if key.startswith(_SHARED) else ())]

    async def _first(self, key: str, ask: Callable[[Blobs], Awaitable[T]]) -> T:
        *others, last = self._of(key)
        for blobs in others:
            try:
                return await ask(blobs)
            except NotFound:
                continue
        return await ask(last)
