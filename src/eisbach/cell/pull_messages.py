"""What a puller asks another region and what a sender answers, and the way there.

May not know: stores, HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from eisbach.kernel.limits import PULL_OPS_MAX
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor, SlotChunk

__all__ = ["WAIT_MS", "Batch", "PeerTransport", "PullAnswer", "PullRequest", "SlotDigests"]

WAIT_MS: Final = 2_000
"""A sender with nothing to send holds the question this long."""


class PullRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a puller asks."""

    slots: dict[str, dict[str, Mark]]
    """Slot -> the asker's vector."""
    limit: int = PULL_OPS_MAX
    """Ops in all, 1 to 512; a transaction is never cut."""
    wait_ms: int = WAIT_MS
    """How long to hold the question when there is nothing to send."""
    wall_ms: int = 0
    region: str = ""
    """The asker's; its vectors are acknowledgements."""
    digests: list[str] = []
    """Slots whose digests are wanted, at most 8."""
    copies: dict[str, CopyCursor] = {}
    """A slot of which the next piece is wanted, items and all; at most one."""


class Batch(msgspec.Struct, frozen=True):
    """What a sender has for one slot."""

    ops: list[Op]
    heads: dict[str, Mark]


class SlotDigests(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds of a slot, bucket by bucket (``kernel.digests``)."""

    vector: dict[str, Mark]
    """All of it is applied, nothing beyond it."""
    buckets: list[str]


class PullAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender answers; slots without news are left out."""

    batches: dict[str, Batch]
    moved: dict[str, str]
    """Slot -> its owner over there, empty when unknown."""
    wall_ms: int
    waited_ms: int = 0
    """How long the question was held: what is left of the asker's waiting is the round trip."""
    failed: dict[str, str] = {}
    """Slot -> code of what keeps the sender from answering for it; the others are answered."""
    copies: dict[str, SlotChunk] = {}
    """The piece that was asked for, without idempotency keys."""
    digests: dict[str, SlotDigests] = {}
    """Of the slots asked for, those that are the sender's and were not written meanwhile."""


class PeerTransport(Protocol):
    """How another region is reached; the simulated world replaces it."""

    async def owners(self) -> Mapping[str, Sequence[str]]:
        """Group -> owner cell per slot number, from that region's signed map.

        Raises:
            Unavailable: not reachable now.
        """
        ...

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        """Ask a cell over there.

        Raises:
            Unavailable: not reachable now; ask again.
        """
        ...
