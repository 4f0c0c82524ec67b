"""Blobs: whole files by key, written once, verified by digest.

A key is a relative POSIX path of safe parts (``media/big-buck-bunny/v720/3.m4s``). A blob appears whole or not at all.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

__all__ = ["BlobInfo", "Blobs"]


class BlobInfo(NamedTuple):
    """What is known of a blob."""

    key: str
    bytes: int
    sha256: str
    """Hexadecimal."""


class Blobs(Protocol):
    """Blob storage of one region."""

    async def put(self, key: str, content: AsyncIterator[bytes] | bytes, *, sha256: str | None = None) -> BlobInfo:
        """Store whole and durable, or not at all; the same key again replaces it.

        Raises:
            DigestMismatch: the content is not what ``sha256`` says; nothing was stored.
            Unavailable: disk full or unreachable; nothing was stored.
        """
        ...

    async def put_file(self, key: str, path: Path) -> BlobInfo:
        """Store a local file (moved where the engine can)."""
        ...

    async def read(self, key: str) -> bytes:
        """The whole content of a small blob (at most 64 MiB).

        Raises:
            NotFound: no such key.
        """
        ...

    async def local_path(self, key: str) -> Path:
        """A path that tools can read; engines without files copy to a scratch folder first.

        Raises:
            NotFound: no such key.
        """
        ...

    async def info(self, key: str) -> BlobInfo | None:
        """Size and digest, None when absent."""
        ...

    async def keys(self, prefix: str) -> Sequence[str]:
        """Every key that starts with ``prefix``, sorted; at most 100,000."""
        ...

    async def delete(self, prefix: str) -> int:
        """Delete what starts with ``prefix`` (at least 3 characters); the number deleted."""
        ...
