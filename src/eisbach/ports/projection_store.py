"""Where a cell keeps its projection of the catalogue: a second file, never in op logs or digests, rebuilt by replay."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

__all__ = ["Kept", "ProjectionStore"]


class Kept(NamedTuple):
    """A document as kept."""

    kind: str
    id: str
    version: tuple[int, int, str, int]
    """(revision, hlc, origin, seq)."""
    body: bytes


class ProjectionStore(Protocol):
    """The newest version of each document."""

    async def load(self) -> Sequence[Kept]:
        """Everything.

        Raises:
            FileDamaged: what was kept cannot be read; the process ends.
        """
        ...

    async def doubt(self) -> str:
        """Why what is kept may be older than what the hub was told is kept, until ``asked_anew``; empty: it is not."""
        ...

    async def asked_anew(self) -> None:
        """The hub tells everything from its start, and has begun to.

        Raises:
            Unavailable: the disk refused; the doubt stays.
        """
        ...

    async def keep(self, changes: Sequence[Kept]) -> None:
        """Replace these documents in one transaction, on disk when it returns.

        Raises:
            Unavailable: the disk refused; nothing was written.
            FileDamaged: the file is damaged; the process ends.
        """
        ...
