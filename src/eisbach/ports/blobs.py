"""Blobs: whole files by key, written once, verified by digest.

A key is a relative POSIX path of safe parts (``media/big-buck-bunny/v720/3.m4s``). A blob appears whole or not at all.
"""

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import MIB

__all__ = ["BLOB_KEYS_MAX", "BLOB_READ_MAX", "BlobInfo", "Blobs", "check_key", "check_prefix", "is_key"]

BLOB_READ_MAX: Final = 64 * MIB
"""What ``read`` gives at once."""
BLOB_KEYS_MAX: Final = 100_000
_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", re.ASCII)
_PREFIX: Final = re.compile(rf"{_KEY.pattern}/?", re.ASCII)


def is_key(text: str) -> bool:
    """Whether it can be the key of a blob."""
    return len(text) <= 512 and _KEY.fullmatch(text) is not None


def check_key(key: str) -> None:
    """Refuse what leaves the store, hides in it, or breaks a line.

    Raises:
        Invalid: it does.
    """
    if not is_key(key):
        raise Invalid(f"blob key {key[:80]!r} is not a relative path of safe parts")


def check_prefix(prefix: str, *, deletes: bool = False) -> None:
    """The same for the beginning of keys; one that ``deletes`` has at least 3 characters.

    Raises:
        Invalid: it is none.
    """
    if deletes and len(prefix) < 3:
        raise Invalid(f"delete of prefix {prefix!r}: at least 3 characters, lest everything goes")
    if prefix and _PREFIX.fullmatch(prefix) is None:
        raise Invalid(f"blob prefix {prefix[:80]!r} is not the beginning of a relative path of safe parts")


class BlobInfo(NamedTuple):
    """What is known of a blob."""

    key: str
    bytes: int
    sha256: str
    """Hexadecimal."""


class Blobs(Protocol):
    """Blob storage of one region."""

    async def put(
        self, key: str, content: AsyncIterator[bytes] | bytes, *, sha256: str | None = None, once: bool = False
    ) -> BlobInfo:
        """Store whole and durable, or not at all; the same key again replaces it.

        ``once``: what is there stays, and is told; of several at the same time one is stored.

        Raises:
            DigestMismatch: the content is not what ``sha256`` says; nothing was stored.
            Unavailable: disk full or unreachable; nothing was stored.
            OutcomeUnknown: an engine over a network had no answer; send it again.
        """
        ...

    async def put_file(self, key: str, path: Path) -> BlobInfo:
        """Store a local file (moved where the engine can)."""
        ...

    async def read(self, key: str) -> bytes:
        """The whole content of a small blob (at most 64 MiB).

        Raises:
            NotFound: no such key.
            DigestMismatch: an engine that keeps digests beside blobs found another one.
        """
        ...

    async def local_path(self, key: str) -> Path:
        """A path that tools can read; engines without files copy to a scratch folder first.

        Raises:
            NotFound: no such key.
            DigestMismatch: as ``read``.
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
