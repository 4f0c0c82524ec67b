"""The judge of preconditions: who replaces what it has read loses nothing that another wrote meanwhile.

May not know: how the run was made, or any rule of the code under test but the formats.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from eisbach.cell.streams import GUARD
from eisbach.domain.playback import StreamGuard
from eisbach.kernel.ops import Op
from eisbach.testing.world.evidence import Evidence
from eisbach.testing.world.history import History

__all__ = ["places"]

OpId = tuple[str, str, int, int]


def places(_history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """Reads are preconditions: who replaces an account's places keeps every place that it does not say has ended."""
    every = {(op.slot, op.origin, op.epoch, op.seq): op for evidence in regions for op in evidence.ops}
    found: dict[tuple[str, str], list[Op]] = defaultdict(list)
    for op in every.values():
        if op.change is not None and op.change.sk == GUARD and op.change.value is not None:
            found[op.slot, op.change.pk].append(op)
    for (_, account), ops in found.items():
        by_version = {op.version: op for op in ops}
        for op in ops:
            assert op.change is not None
            before = by_version.get(op.change.base) if op.change.base is not None else None
            if before is None or before.origin != op.origin:
                continue  # the first one, or merged with the other region's
            lost = _streams(before) - _streams(op) - _ended(every, op)
            if lost:
                yield f"READS {op.id} of account {account} forgets places that {before.id} gave: {sorted(lost)}"


def _guard(op: Op) -> StreamGuard:
    assert op.change is not None
    return msgspec.json.decode(op.change.value or b"", type=StreamGuard)


def _streams(op: Op) -> set[str]:
    return {stream.sid for stream in _guard(op).streams}


def _ended(every: dict[OpId, Op], op: Op) -> set[str]:
    """Sessions that the op's transaction says have stopped."""
    found = {*_guard(op).ended}
    part: Op | None = op
    while part is not None:
        if part.event is not None and part.event.type == "tv.playback.session.stopped.v1":
            found.add(part.event.subject)
        part = every.get((op.slot, op.origin, op.epoch, part.seq + 1)) if part.more else None
    return found
