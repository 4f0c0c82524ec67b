"""Where a slot's ops lie in the log: a row of the state a slot and flush, since the log itself is in order of commits.

Promises: rows of one slot that overlap (two processes flushed at the same time) name commits twice and leave none out.
Formats are append-only. May not know: DynamoDB's calls.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from eisbach.engines.aws.tables import Row
from eisbach.engines.aws.unflushed import SlotCommit
from eisbach.kernel.versions import Mark

__all__ = ["SlotIndex", "index_of", "index_pk", "index_put", "index_sk"]


class SlotIndex(msgspec.Struct, array_like=True, frozen=True):
    """Commits that did something to a slot."""

    before: dict[str, Mark]
    """The slot's vector before the first of them."""
    late: bool
    """See ``unflushed.SlotCommit``."""
    steps: list[int]
    """The first number, then how much further each next one is."""

    @property
    def numbers(self) -> list[int]:
        """Of the commits, rising."""
        found: list[int] = []
        for step in self.steps:
            found.append(step + (found[-1] if found else 0))
        return found


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(SlotIndex)


def index_pk(slot: str) -> str:
    """Partition of a slot's index."""
    return f"log#{slot}"


def index_sk(number: int) -> str:
    """Sort key by the first commit."""
    return f"{number:020d}"


def index_put(slot: str, commits: Sequence[SlotCommit]) -> tuple[str, str, dict[str, Any]]:
    """(pk, sk, row) for what a flush writes of a slot."""
    numbers = [commit.number for commit in commits]
    steps = [number - last for number, last in zip(numbers, [0, *numbers], strict=False)]
    made = SlotIndex(commits[0].before, any(commit.late for commit in commits), steps)
    return index_pk(slot), index_sk(numbers[0]), {"b": {"B": _encoder.encode(made)}}


def index_of(row: Row) -> SlotIndex | None:
    """Read a row of ``index_put``; None for one that is gone."""
    return _decoder.decode(row["b"]["B"]) if "b" in row else None
