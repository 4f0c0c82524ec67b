"""One commit of a cell as one row of the log: what it logged, and what else it wrote, so that memory follows from rows.

Promises: whoever reads a cell's rows in the order of their numbers comes to the same memory as the process that wrote
them. Formats are append-only: new fields come last, with a default. May not know: DynamoDB, asyncio.
"""

import zlib
from typing import Any, Final

import msgspec

from eisbach.kernel.erasure import ERASED, erases, scrubbed
from eisbach.kernel.errors import Invalid
from eisbach.kernel.merge import NO_BASE, Stored
from eisbach.kernel.ops import Op

__all__ = [
    "BODY_MAX", "CommitBody", "Known", "PutRow", "decode_body", "encode_body", "is_of_account", "kind_of",
    "known_of", "slot_of_put", "without_account",
]  # fmt: skip

BODY_MAX: Final = 380_000
"""Bytes of a row's body; DynamoDB takes 400 KB with the names. What is longer lies in rows of its own before it."""
_FORMAT: Final = 1
_LEVEL: Final = 6
_PLAIN, _DEFLATED = b"\0", b"\1"

PutRow = tuple[str, str, dict[str, Any] | None]
"""(pk, sk, the row without its key) of the state table; None: the row is gone."""


class Known(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An item with its value; a tombstone has none."""

    stored: Stored
    value: bytes | None


class CommitBody(msgspec.Struct, frozen=True, array_like=True):
    """What a commit did, in order: its ops, then its other rows."""

    first_lsn: int
    """Of its first op; its ops are dense. Of a commit without ops: the last one's before it, and one."""
    hlc: int
    conflicts: int
    """Ever logged, after this commit."""
    ops: list[Op]
    hidden: list[int] = []
    """Places in ``ops`` of changes that the items do not show after this commit: lost, held, or written over by it."""
    puts: list[PutRow] = []
    """What does not follow from the ops: answers, losers, leases, held ops, erased accounts."""
    format: int = _FORMAT

    @property
    def last_lsn(self) -> int:
        """Of its last op, or of the last one before it."""
        return self.first_lsn + len(self.ops) - 1


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(CommitBody)


def encode_body(body: CommitBody) -> tuple[bytes, int]:
    """(what is stored, its length before it was deflated): names of slots, accounts and kinds come again and again, so
    a body is deflated where that is shorter.
    """
    raw = _encoder.encode(body)
    small = zlib.compress(raw, _LEVEL)
    return (_DEFLATED + small if len(small) < len(raw) else _PLAIN + raw), len(raw)


def decode_body(raw: bytes) -> CommitBody:
    """Read ``encode_body``.

    Raises:
        Invalid: no such body, or one of a newer format.
    """
    try:
        body = _decoder.decode(zlib.decompress(raw[1:]) if raw[:1] == _DEFLATED else raw[1:])
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"a row of the log is none: {error}") from error
    if body.format > _FORMAT:
        raise Invalid(f"a row of the log has format {body.format}; this version reads up to {_FORMAT}")
    return body


def known_of(op: Op) -> Known | None:
    """The item as the op's change makes it."""
    change = op.change
    if change is None:
        return None
    base = change.base[:2] if change.base is not None else NO_BASE
    return Known(Stored(op.hlc, op.origin, op.seq, base[0], base[1], change.value is not None), change.value)


def kind_of(op: Op, *, region: str) -> str:
    """What an op is, for the bill: its event, or the item that it changes; and whether a twin sent it."""
    item = op.change.sk.partition("/")[0] if op.change is not None else "nothing"
    told = op.event.type if op.event is not None else f"item {item}"
    return told if op.origin == region else f"{told}, of a twin"


def slot_of_put(put: PutRow) -> str | None:
    """Whose slot's it is."""
    pk, sk, row = put
    kind, _, slot = pk.partition("#")
    if kind in ("item", "key"):
        return slot
    if kind == "slot":
        return sk
    if kind == "erased":
        return sk.partition("\0")[0]
    if kind == "held":
        return sk.partition("\0")[2]
    return str(row["slot"]["S"]) if row is not None and "slot" in row else None


def without_account(body: CommitBody, slot: str, pk: str) -> CommitBody | None:
    """The body without what an erased account wrote; None when there is nothing of it."""

    def private(op: Op) -> bool:
        return op.slot == slot and op.change is not None and op.change.pk == pk and not erases(op.change)

    ops = [scrubbed(op) if private(op) else op for op in body.ops]
    puts = [put for put in body.puts if not is_of_account(put, slot, pk)]
    if len(puts) == len(body.puts) and not any(map(private, body.ops)):
        return None
    return msgspec.structs.replace(body, ops=ops, puts=puts)


def is_of_account(put: PutRow, slot: str, pk: str) -> bool:
    """Whether a row beside the ops is an account's: an item, an answer, a loser."""
    kind, _, of_slot = put[0].partition("#")
    if kind in ("item", "key"):
        return of_slot == slot and put[1].startswith(f"{pk}\0") and (kind == "key" or put[1] != f"{pk}\0{ERASED}")
    row = put[2]
    return put[0] == "conflict" and row is not None and row["slot"]["S"] == slot and row["ipk"]["S"] == pk
