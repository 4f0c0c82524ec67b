"""The rules of ``ports.store`` that every engine decides by, whatever its rows look like.

Pure: an engine lays before them what it has read, and writes what they allow. Each refuses by raising, before anything
was changed. May not know: rows, files, tables, groups.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from eisbach.kernel.errors import Denied, EpochStale, Invalid, LogGap, SlotFrozen, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.limits import IDEMPOTENCY_KEPT
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Version
from eisbach.ports.store import ItemKey, Lease, Transaction

__all__ = [
    "KEY_KEPT_MS", "NOTHING", "RELEASING", "STATES", "WRITABLE", "check_epoch", "check_erased", "check_frozen",
    "check_lease", "check_read", "linked", "sort_ops",
]  # fmt: skip

NOTHING: Final = Mark(0, 0)
KEY_KEPT_MS: Final = int(IDEMPOTENCY_KEPT.total_seconds() * 1000)
WRITABLE: Final = ("active", "frozen")
"""States in which a repeated key is told its answer; only the first takes writes."""
RELEASING: Final = frozenset({"active", "away"})
"""States in which what was held is applied when its time comes. In a move the copy says what is applied, and who owns
the slot after it lists what that beats: a frozen source, or one that has no slot any more, shows what others have
replaced since, and would list losers that nobody beat."""
STATES: Final = frozenset({"active", "frozen", "importing", "gone", "away"})


def check_epoch(name: str, *, epoch: int, decided: int | None, mark: Mark | None) -> None:
    """A write decided under ``decided``, against a lease at ``epoch`` and a log that ends at ``mark`` of this region.

    Raises:
        EpochStale: the call decided under another epoch, or the lease is behind its own log.
    """
    if decided is not None and decided != epoch:
        raise EpochStale(f"slot {name} is at epoch {epoch}, the call decided under {decided}; read again")
    if mark is not None and mark.epoch > epoch:
        raise EpochStale(
            f"slot {name}: the log holds {mark}, the lease is at epoch {epoch}; commit a higher epoch first"
        )


def check_frozen(name: str, state: str, move: int, what: str) -> None:
    """Nothing comes in while a move has frozen the slot.

    Raises:
        SlotFrozen: it has.
    """
    if state == "frozen":
        raise SlotFrozen(f"slot {name} is frozen by move {move}; {what} wait for the move to end")


def check_erased(erased: AbstractSet[str], transaction: Transaction) -> None:
    """Nothing is read or written of an erased account.

    Raises:
        Denied: ``account_erased``.
    """
    touched = {write.change.pk for write in transaction.writes if write.change is not None}
    if gone := erased & (touched | {key.pk for key in transaction.reads}):
        raise Denied(f"account {min(gone)} is erased for good; sign in with a new device id", code="account_erased")


def check_read(name: str, key: ItemKey, found: Version | None, wanted: Version | None) -> None:
    """What a transaction has read is still so.

    Raises:
        VersionConflict: it is not.
    """
    if found != wanted:
        raise VersionConflict(f"item {key[0]} {key[1]} of slot {name} is at {found}, not {wanted}; read again")


def check_lease(slot: Slot, lease: Lease, *, expected: Lease | None, found: Lease | None, held: Mark | None) -> None:
    """A new lease row against the one that is there and the mark of this region's own ops.

    Raises:
        VersionConflict: another row than ``expected``.
        EpochStale: an epoch would fall, or the log already holds ops above it.
        Invalid: an unknown state, an epoch below 1, a seq that would be used twice.
    """
    if found != expected:
        raise VersionConflict(f"lease of slot {slot} is {found}, not {expected}; read it again")
    if lease.state not in STATES:
        raise Invalid(f"lease of slot {slot}: state {lease.state!r} is none of {sorted(STATES)}")
    if found is not None and lease.epoch < found.epoch:
        raise EpochStale(f"lease of slot {slot} is at epoch {found.epoch}; epoch {lease.epoch} would fall")
    if lease.epoch < 1:
        raise Invalid(f"lease of slot {slot}: epoch {lease.epoch}; epochs start at 1")
    seq = found.seq if found is not None and found.epoch == lease.epoch else 0
    if lease.seq != seq:
        raise Invalid(f"lease of slot {slot}: seq {lease.seq} at epoch {lease.epoch}, it can only be {seq}")
    if held is not None and held > Mark(lease.epoch, seq) and (found is None or found.epoch < lease.epoch):
        raise EpochStale(f"lease of slot {slot}: the log already holds {held}; take an epoch above it")


def sort_ops(
    name: str, marks: Mapping[str, Mark], ops: Sequence[Op], is_logged: Callable[[Op], bool]
) -> tuple[list[Op], list[Op]]:
    """Ops that go on where the log ends, and ops of left epochs that it lacks; what it has is dropped.

    ``is_logged`` is asked only for ops of epochs that the log has left: does it hold them, or did before pruning?

    Raises:
        LogGap: an op is missing, or the batch ends inside a transaction.
        Invalid: an op of another slot.
    """
    have: dict[str, tuple[int, int]] = dict(marks)
    open_ended = dict.fromkeys(marks, False)
    fresh: list[Op] = []
    late: list[Op] = []
    for op in ops:
        if op.slot != name:
            raise Invalid(f"an op of slot {op.slot} was sent for slot {name}; pull again")
        last = have.get(op.origin, NOTHING)
        mark = (op.epoch, op.seq)  # plain: thousands a second come here after a cut
        if mark <= last:
            if mark[0] < last[0] and not is_logged(op):
                late.append(op)
            continue
        if mark[1] != (last[1] + 1 if mark[0] == last[0] else 1):
            raise LogGap(f"slot {name} origin {op.origin}: have {last}, got {mark}; pull again from the vector")
        have[op.origin], open_ended[op.origin] = mark, op.more
        fresh.append(op)
    if cut := [origin for origin, more in open_ended.items() if more]:
        raise LogGap(f"slot {name}: the batch ends inside a transaction of {cut[0]}; pull again")
    return fresh, late


def linked(event: EventDraft, last: Mark | None, *, epoch: int) -> EventDraft:
    """The event with the one before it of its type filled in: in its own epoch, or else the last one of those before.

    ``last`` is what the log at hand holds: so whoever reads that log comes to it first, and nobody waits for an event
    that only a lost store knew of.
    """
    prev, after = (last.seq, None) if last is not None and last.epoch == epoch else (0, last)
    return EventDraft(
        event.type, event.subject, event.data, prev, event.dataref, event.market, event.traceparent, after
    )
