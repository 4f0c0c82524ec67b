"""What a puller asks another region and what a sender answers, and the way there.

May not know: stores, HTTP.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from eisbach.kernel.limits import MIB, PULL_OPS_MAX
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark
from eisbach.ports.moves import CopyCursor, SlotChunk

__all__ = [
    "ANEW", "ANSWER_BYTES_MAX", "ANSWER_OPS_MAX", "AT_MOST", "FAR_BEHIND", "OP_BYTES", "WAIT_MS", "Batch",
    "PeerTransport", "PullAnswer", "PullRequest", "SlotDigests", "handfuls", "last_mark", "weight",
]  # fmt: skip

ANSWER_OPS_MAX: Final = 8_192
"""Of one answer, give or take a slot's batch: with 512 a link of 20 ms carried 9,000 ops/s after a cut."""
ANSWER_BYTES_MAX: Final = 4 * MIB
FAR_BEHIND: Final = ANSWER_OPS_MAX // 8
OP_BYTES: Final = 160
"""Of an op beside what its owner put into it: no op is smaller."""

ANEW: Final = "eisbach-anew"
"""Header of a question with ``PullRequest.anew``: a region of a version that does not know it answers as it used to,
where it would refuse an unknown field."""
AT_MOST: Final = "eisbach-bytes-max"
"""Header with ``PullRequest.bytes_max``, for the same reason."""
WAIT_MS: Final = 2_000
"""A sender with nothing to send holds the question this long."""


class PullRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a puller asks. What is not asked for is not sent: a region that is not upgraded yet refuses what it does not
    know, and must go on answering the rest; nor are ``anew`` and ``bytes_max``, see ``ANEW``.
    """

    slots: dict[str, dict[str, Mark]]
    """Slot -> the asker's vector."""
    limit: int = PULL_OPS_MAX
    """Ops of one slot, 1 to 512; a transaction is never cut. Of all slots: ``ANSWER_OPS_MAX``."""
    wait_ms: int = WAIT_MS
    """How long to hold the question when there is nothing to send."""
    wall_ms: int = 0
    region: str = ""
    """The asker's; its vectors are acknowledgements."""
    digests: list[str] = []
    """Slots whose digests are wanted, at most 8."""
    copies: dict[str, CopyCursor] = {}
    """A slot of which the next piece is wanted, items and all; at most one."""
    anew: bool = False
    """The asker may be an older copy of its store, or is being restored: of these slots, what it gave before counts as
    held, and is given, if it is here and not on disk yet, and is not taken any more if it is still on its way (P21).
    """
    bytes_max: int = 0
    """Of the answer's ops, nearly, though one transaction is always given; 0, or more: ``ANSWER_BYTES_MAX``. Of a
    copy's piece, too: ``ports.moves``."""


class Batch(msgspec.Struct, frozen=True):
    """What a sender has for one slot."""

    ops: list[Op]
    heads: dict[str, Mark]
    """How far it has every origin's log; to a question ``anew`` at least the asker's, as far as it will have it."""


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
    full: bool = False
    """There was no room for more: a slot without ops may have some."""
    doubt: str = ""
    """Why the sender may hold less than it had acknowledged, e.g. as an older copy of its store; empty: it does not."""


class PeerTransport(Protocol):
    """How another region is reached; the simulated world replaces it."""

    far_behind: int
    """Ops of an answer from which on the way there is used for the next while this one is applied: ``FAR_BEHIND``."""

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


def handfuls(batches: Mapping[str, Batch]) -> Iterator[list[tuple[str, Batch]]]:
    """Slots whose ops are applied together, so that they share a group commit; not all at once after a cut, so that a
    viewer's write waits for a group or two and not for the whole answer.
    """
    handful: list[tuple[str, Batch]] = []
    ops = 0
    for text, batch in batches.items():
        if handful and ops + len(batch.ops) > PULL_OPS_MAX:
            yield handful
            handful, ops = [], 0
        handful.append((text, batch))
        ops += len(batch.ops)
    if handful:
        yield handful


def last_mark(ops: Iterable[Op], origin: str) -> Mark:
    """Of an origin's ops among some; (0, 0) when there are none."""
    return max((Mark(op.epoch, op.seq) for op in ops if op.origin == origin), default=Mark(0, 0))


def weight(op: Op) -> int:
    """Bytes of an op, nearly: what its owner put into it."""
    value = op.change.value if op.change is not None else None
    return len(value or b"") + (len(op.event.data) if op.event is not None else 0) + OP_BYTES
