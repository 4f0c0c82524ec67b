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

__all__ = ["BULK_VERSIONS_MAX", "CHANGED_SHARE_MAX", "CellEntry", "SlotMap", "decode_signed", "encode_signed", "judge"]

CHANGED_SHARE_MAX = 0.2
"""One version that changes more than this share of the slots needs the ``bulk`` flag."""
_CHANGED_ALWAYS: Final = 2
"""So many may change in a region however few slots it has: moves run two at a time."""
BULK_VERSIONS_MAX: Final = 64
"""Versions with the flag that a map remembers: an edge that missed more than these needs one anew."""


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
    """This version may change any share of the slots: an operator said so."""
    since: dict[str, list[int]] = {}
    """Group -> version in which slot 0, 1, 2 ... got its owner. So an edge that missed versions can judge each of them,
    and sees a map that contradicts what it has. A map of before this field (empty) is judged as one change."""
    bulk_before: list[int] = []
    """Earlier versions that had ``bulk``, the last ``BULK_VERSIONS_MAX`` of them, rising."""

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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"slot map refused: not a signed map ({error}); keep the last good one") from error


def judge(candidate: SlotMap, current: SlotMap | None, *, region: str, slot_counts: Mapping[str, int]) -> None:
    """Refuse a map that would do harm; silence means: take it.

    Args:
        candidate: signature already checked.
        current: the map in force, None at first start.
        region: the region this edge stands in.
        slot_counts: group -> number of slots, fixed for life.

    Raises:
        Invalid: old, partial, empty, of another region, with unknown cells, changing over a fifth in one version
            without ``bulk``, or contradicting what is in force.
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
    if current is not None and (found := _too_much(candidate, current)):
        raise refuse(found)


def _too_much(candidate: SlotMap, current: SlotMap) -> str:
    """Which version between the two changed too much, or contradicts what is in force; empty: none."""
    total = sum(map(len, candidate.groups.values()))
    changed: dict[int, int] = {}
    for group, owners in candidate.groups.items():
        since = candidate.since.get(group, [])
        if candidate.since and len(since) != len(owners):
            return f"group {group} says of {len(since)} of {len(owners)} slots since when they have their owner"
        for number, owner in enumerate(owners):
            before = current.owner(group, number)
            if owner == before:
                continue
            version = since[number] if since else candidate.version
            if not current.version < version <= candidate.version:
                return (
                    f"slot {group}/{number} is said to be {owner}'s since version {version},"
                    f" but version {current.version} in force gave it to {before or 'nobody'}"
                )
            changed[version] = changed.get(version, 0) + 1
    allowed = {*candidate.bulk_before, *([candidate.version] if candidate.bulk else [])}
    for version, slots in sorted(changed.items()):
        if slots > max(_CHANGED_ALWAYS, total * CHANGED_SHARE_MAX) and version not in allowed:
            return (
                f"version {version} changes {slots} of {total} slots, more than a fifth, without the bulk flag"
                " (eisbach cells move SLOT --to CELL --bulk gives it, once)"
            )
    return ""
