"""The slot map: which cell of this region owns which slot - signed, complete, monotonic.

One document per region; the whole of it every time, changed or not (constant work). ``judge`` is the rule by which
an edge takes or refuses one (P8): a lesson of 2025-10-20, when a delayed worker applied an old, empty plan.
The map is a hint for routing. Authority is the lease row in the cell's own store.
"""

import hashlib
import hmac
import zlib
from collections.abc import Mapping
from typing import Final

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import MIB
from eisbach.kernel.slots import Group

__all__ = ["CHANGED_SHARE_MAX", "CellEntry", "SlotMap", "decode_signed", "encode_signed", "judge"]

CHANGED_SHARE_MAX = 0.2
"""A map that changes more than this share of the slots needs its ``bulk`` flag."""


class CellEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell that the map sends to."""

    address: str
    """``host:port`` inside the region."""
    state: str = "active"
    """``active``, ``cordoned``, ``draining``, ``quarantined``."""


class SlotMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The map of one region."""

    format: int = 1
    region: str
    version: int
    """Rises by one with every change."""
    issued_ms: int
    """Milliseconds since 1970; for people, never for safety."""
    cells: dict[str, CellEntry]
    groups: dict[str, list[str]]
    """Group -> owner cell of slot 0, 1, 2 ...; the length is the group's slot count."""
    preferred: dict[str, list[str]]
    """Group -> preferred region of slot 0, 1, 2 ...: a preference, not a fence."""
    bulk: bool = False

    def owner(self, group: str, number: int) -> str | None:
        """The owner cell of a slot, None when the group or the number is unknown."""
        cells = self.groups.get(group, [])
        return cells[number] if 0 <= number < len(cells) else None


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    map: msgspec.Raw
    signature: str


_PACKED_FROM: Final = 64 * 1024
_BYTES_MAX: Final = 64 * MIB
"""Of a map that is unpacked: what a hundred times 10,000 cells take."""


def encode_signed(slot_map: SlotMap, key: bytes) -> bytes:
    """The distributed form: JSON ``{"map": ..., "signature": hex}``, HMAC-SHA256 over the bytes of ``map``.

    From 64 kB on packed by zlib (RFC 1950): a map repeats itself, 10,000 cells are 80 kB instead of 750.
    """
    raw = msgspec.json.encode(slot_map)
    signature = hmac.new(key, raw, hashlib.sha256).hexdigest()
    document = msgspec.json.encode(_Signed(msgspec.Raw(raw), signature))
    return document if len(document) < _PACKED_FROM else zlib.compress(document)


def _unpacked(document: bytes) -> bytes:
    """JSON begins with a brace, zlib never."""
    if document[:1] == b"{":
        return document
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(document, _BYTES_MAX)
    except zlib.error as error:
        raise Invalid(f"slot map refused: neither JSON nor zlib ({error}); keep the last good one") from error
    if not unpacking.eof:
        raise Invalid(f"slot map refused: cut, or over {_BYTES_MAX} bytes unpacked; keep the last good one")
    return found


def decode_signed(document: bytes, key: bytes) -> SlotMap:
    """Check the signature, then parse.

    Raises:
        Invalid: unsigned, altered, or not a map; keep the last good one.
    """
    try:
        signed = msgspec.json.decode(_unpacked(document), type=_Signed)
        wanted = hmac.new(key, bytes(signed.map), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, signed.signature):
            raise Invalid("slot map refused: its signature does not fit; keep the last good one")
        return msgspec.json.decode(bytes(signed.map), type=SlotMap)
    except msgspec.DecodeError as error:
        raise Invalid(f"slot map refused: not a signed map ({error}); keep the last good one") from error


def judge(candidate: SlotMap, current: SlotMap | None, *, region: str, slot_counts: Mapping[str, int]) -> None:
    """Refuse a map that would do harm; silence means: take it.

    Args:
        candidate: signature already checked.
        current: the map in force, None at first start.
        region: the region this edge stands in.
        slot_counts: group -> number of slots, fixed for life.

    Raises:
        Invalid: old, partial, empty, of another region, with unknown cells, or changing over a fifth without ``bulk``.
    """

    def refuse(found: str) -> Invalid:
        return Invalid(f"slot map version {candidate.version} refused: {found}; keep the last good one")

    if candidate.region != region:
        raise refuse(f"it is for region {candidate.region!r}, this is {region!r}")
    if current is not None and candidate.version <= current.version:
        raise refuse(f"not newer than version {current.version} in force")
    if not candidate.cells or not candidate.groups:
        raise refuse("it is empty")
    for group, count in slot_counts.items():
        if len(candidate.groups.get(group, [])) != count:
            raise refuse(f"group {group} has {len(candidate.groups.get(group, []))} of {count} slots")
        if len(candidate.preferred.get(group, [])) != count:
            raise refuse(f"group {group} lacks preferred regions")
    for group, owners in candidate.groups.items():
        Group.parse(group)
        if unknown := set(owners) - set(candidate.cells):
            raise refuse(f"group {group} names unknown cells {sorted(unknown)}")
    if current is not None and not candidate.bulk:
        total = sum(map(len, candidate.groups.values()))
        changed = sum(
            current.owner(group, number) != owner
            for group, owners in candidate.groups.items()
            for number, owner in enumerate(owners)
        )
        if changed > total * CHANGED_SHARE_MAX:
            raise refuse(f"it changes {changed} of {total} slots without the bulk flag")
