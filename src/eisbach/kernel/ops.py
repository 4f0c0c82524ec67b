"""Op: one entry of a slot's log - an item change, the event derived from it, or both.

These structs and ``EventDraft`` hold no cycles, so the collector need not look at them (``gc=False``): a cell keeps
thousands and makes several a write.

The one log is the outbox to the hub, the stream to the twin and the tail of a move. Store formats are append-only:
new fields get defaults and ``OP_FORMAT`` rises; ``tests/golden/op-v*.json`` are decoded for ever.
"""

import msgspec

from eisbach.kernel.events import EventDraft
from eisbach.kernel.versions import Version

__all__ = ["OP_FORMAT", "ItemChange", "Op", "decode_op", "encode_op", "op_id"]

OP_FORMAT = 2


class ItemChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The new state of one item of the op's slot."""

    pk: str
    """Partition key: the account, or for the studio the kind of thing; 1 to 256 bytes."""
    sk: str
    """Sort key inside ``pk``, e.g. ``progress/p1/tears``; 1 to 512 bytes."""
    value: bytes | None
    """At most 64 KiB, the owner's encoding; None is a tombstone."""
    base: Version | None = None
    """Version that this change replaced where it was written, None for a new item; the store fills it in. Two
    writes of one item knew of each other exactly when one is the other's base: that is how a conflict is told."""


class Op(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A logged write. ``(slot, origin, epoch, seq)`` is its id, for ever and everywhere."""

    slot: str
    origin: str
    """Region in which it was first written."""
    epoch: int
    seq: int
    """Dense from 1 within (slot, origin, epoch)."""
    hlc: int
    change: ItemChange | None
    event: EventDraft | None
    more: bool = False
    """The transaction goes on in the next seq: appliers and senders never cut after an op with ``more``."""
    format: int = OP_FORMAT

    @property
    def version(self) -> Version:
        """The version that its item change carries."""
        return Version(self.hlc, self.origin, self.seq)

    @property
    def id(self) -> str:
        """Event id = op id."""
        return op_id(self.slot, self.origin, self.epoch, self.seq)


def op_id(slot: str, origin: str, epoch: int, seq: int) -> str:
    """``slot:origin:epoch:seq``, e.g. ``eu/de/main/17:eu-central:3:4711``."""
    return f"{slot}:{origin}:{epoch}:{seq}"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Op)


def encode_op(op: Op) -> bytes:
    """The stored and transmitted form: MessagePack array."""
    return _encoder.encode(op)


def decode_op(raw: bytes) -> Op:
    """Decode what ``encode_op`` of this or an earlier format wrote.

    Raises:
        msgspec.DecodeError: not an op; the store that held it is corrupt.
    """
    return _decoder.decode(raw)
