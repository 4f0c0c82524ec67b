"""Op ids, item versions and vectors: what orders writes, and what a store has seen.

- An **op id** ``(slot, origin, epoch, seq)`` names a write for ever; ``seq`` is dense from 1 in (slot, origin, epoch).
- A **version** ``(hlc, origin, seq)`` orders two writes of one item; the higher wins everywhere, so regions converge.
- A **vector** ``{origin: (epoch, seq)}`` says up to where a store holds a slot's ops of each origin region.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from eisbach.kernel.errors import Invalid

__all__ = ["Mark", "Vector", "Version", "covers", "decode_position", "encode_position", "merged", "position_bytes"]


class Mark(NamedTuple):
    """A place in one origin's log of one slot; ordered by epoch, then seq."""

    epoch: int
    """From 1; rises with every change of ownership in the origin region."""
    seq: int
    """From 1, dense within the epoch; 0 means 'none of this epoch yet'."""


Vector = Mapping[str, Mark]
"""Origin region -> last mark held. An origin that is absent counts as ``Mark(0, 0)``."""


class Version(NamedTuple):
    """Version of an item; plain tuple order is the merge order (higher wins)."""

    hlc: int
    """Hybrid logical clock: milliseconds << 16 | counter."""
    origin: str
    """Region in which the op was first written; breaks ties of ``hlc``."""
    seq: int
    """The op's seq; breaks ties within one origin (never needed in practice: hlc rises in an origin)."""


def covers(have: Vector, want: Vector) -> bool:
    """Whether a store at ``have`` holds everything up to ``want``."""
    return all(have.get(origin, Mark(0, 0)) >= mark for origin, mark in want.items())


def merged(one: Vector, other: Vector) -> dict[str, Mark]:
    """The least vector that covers both."""
    return {o: max(one.get(o, Mark(0, 0)), other.get(o, Mark(0, 0))) for o in {*one, *other}}


_POSITION_BYTES_MAX = 512
_decoder = msgspec.json.Decoder(dict[str, tuple[int, int]])
_encoder = msgspec.json.Encoder()


def encode_position(vector: Vector) -> str:
    """The value of ``Eisbach-Position``: compact JSON ``{origin:[epoch,seq]}``, origins sorted."""
    return position_bytes(vector).decode()


def position_bytes(vector: Vector) -> bytes:
    """The same as it is sent."""
    return _encoder.encode({o: vector[o] for o in sorted(vector)} if len(vector) > 1 else dict(vector))


def decode_position(text: str) -> dict[str, Mark]:
    """Parse ``Eisbach-Position``; at most 512 bytes and 8 origins.

    Raises:
        Invalid: when it is not such a value.
    """
    try:
        if len(text) > _POSITION_BYTES_MAX:
            raise ValueError("too long")
        raw = _decoder.decode(text)
        if len(raw) > 8 or any(epoch < 0 or seq < 0 for epoch, seq in raw.values()):
            raise ValueError("out of bounds")
    except (ValueError, msgspec.DecodeError) as error:
        raise Invalid(f"Eisbach-Position {text[:80]!r} is not {{origin: [epoch, seq]}}: {error}") from error
    return {origin: Mark(*mark) for origin, mark in raw.items()}
