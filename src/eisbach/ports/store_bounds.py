"""The bounds of ``ports.store``, checked before a write enters the queue, where a breach can hurt its caller only.

Types are checked too: a value of the wrong type would be refused by SQLite in the middle of its neighbours' group.
"""

from collections.abc import Sequence
from typing import Final

from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import EventDraft
from eisbach.kernel.limits import (
    EVENT_BYTES_MAX,
    ITEM_BYTES_MAX,
    PULL_OPS_MAX,
    READS_PER_TRANSACTION_MAX,
    WRITES_PER_TRANSACTION_MAX,
)
from eisbach.kernel.ops import ItemChange, Op
from eisbach.ports.store import Transaction

__all__ = ["check_ops", "check_transaction"]

_PK_MAX: Final = 256
_SK_MAX: Final = 512
_OPS_MAX: Final = PULL_OPS_MAX + WRITES_PER_TRANSACTION_MAX


def check_transaction(transaction: Transaction) -> None:
    """Refuse what breaks a bound.

    Raises:
        Invalid: names the bound and what was found.
    """
    writes = transaction.writes
    if not 1 <= len(writes) <= WRITES_PER_TRANSACTION_MAX:
        raise Invalid(f"a transaction has {len(writes)} writes; use 1 to {WRITES_PER_TRANSACTION_MAX}")
    if len(transaction.reads) > READS_PER_TRANSACTION_MAX:
        raise Invalid(f"a transaction has {len(transaction.reads)} reads; use at most {READS_PER_TRANSACTION_MAX}")
    for write in writes:
        if write.change is not None:
            _check_change(write.change)
        elif write.event is None:
            raise Invalid("a write has neither a change nor an event; give it one")
        if write.event is not None:
            _check_event(write.event)
    for pk, sk in transaction.reads:
        _check_text(pk, "pk", _PK_MAX)
        _check_text(sk, "sk", _SK_MAX)
    if transaction.key is not None:
        _check_text(transaction.key.scope, "key scope", _PK_MAX)
        _check_text(transaction.key.key, "key", _PK_MAX)
        _check_bytes(transaction.answer, "answer", ITEM_BYTES_MAX)


def check_ops(ops: Sequence[Op]) -> None:
    """Refuse a batch that is too large or holds what no store would have sent.

    Raises:
        Invalid: names the bound and what was found.
    """
    if len(ops) > _OPS_MAX:
        raise Invalid(f"a batch of {len(ops)} ops; send at most {_OPS_MAX}")
    for op in ops:
        if op.change is not None:
            _check_change(op.change)
        if op.epoch < 1 or op.seq < 1 or not 0 <= op.hlc < 1 << 63:
            raise Invalid(f"op {op.id} has hlc {op.hlc}; epoch and seq start at 1, hlc has 63 bits")


def _check_change(change: ItemChange) -> None:
    pk, sk, value = change.pk, change.sk, change.value
    _check_text(pk, "pk", _PK_MAX)
    _check_text(sk, "sk", _SK_MAX)
    if value is not None and (type(value) is not bytes or len(value) > ITEM_BYTES_MAX):
        _check_bytes(value, f"item {pk} {sk}", ITEM_BYTES_MAX)


def _check_event(event: EventDraft) -> None:
    data = event.data
    if type(data) is not bytes or len(data) > EVENT_BYTES_MAX:
        _check_bytes(data, f"event {event.type}", EVENT_BYTES_MAX)


def _check_text(text: str, what: str, bytes_max: int) -> None:
    if type(text) is str and text.isascii() and 0 < len(text) <= bytes_max and "\0" not in text:
        return  # as nearly all are
    if not isinstance(text, str):
        raise Invalid(f"{what} is {type(text).__name__}; give text")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid(f"{what} {text[:80]!r} is not text that UTF-8 can hold") from error
    if not 1 <= size <= bytes_max or "\0" in text:
        raise Invalid(f"{what} {text[:80]!r} has {size} bytes; use 1 to {bytes_max} without NUL")


def _check_bytes(value: bytes, what: str, bytes_max: int) -> None:
    if not isinstance(value, bytes):
        raise Invalid(f"{what} is {type(value).__name__}; give bytes")
    if len(value) > bytes_max:
        raise Invalid(f"{what} has {len(value)} bytes; at most {bytes_max} are kept (events: use a claim check)")
