"""The control store of a region: a few documents under linearizable compare-and-set.

Needed only to *change* ownership; the data plane never waits for it.
"""

from typing import NamedTuple, Protocol

__all__ = ["ControlStore", "Document"]


class Document(NamedTuple):
    """A document and the revision to compare against."""

    value: bytes
    revision: int
    """From 1; 0 stands for 'absent' in ``put``."""


class ControlStore(Protocol):
    """One a region."""

    async def get(self, key: str) -> Document | None:
        """The current document, linearizable."""
        ...

    async def put(self, key: str, value: bytes, *, expected: int) -> int:
        """Write if the revision is still ``expected`` (0: absent); return the new revision, on disk.

        Raises:
            VersionConflict: read again and decide again.
        """
        ...

    async def keys(self, prefix: str) -> list[str]:
        """Every key that starts with ``prefix``, sorted."""
        ...
