"""The merge of one item: pure, so that its laws are properties and not hopes.

The higher version wins, in any order of arrival; so merge is commutative, associative and idempotent. A loser is kept
when the two writes did not know of each other: neither is the other's base (``kernel.ops.ItemChange.base``).
"""

from typing import NamedTuple

from eisbach.kernel.ops import ItemChange
from eisbach.kernel.versions import Version

__all__ = ["ItemRow", "Verdict", "judge"]


class ItemRow(NamedTuple):
    """An item as stored; ``value`` None is a tombstone."""

    value: bytes | None
    version: Version
    base: tuple[int, str]
    """(hlc, origin) of the version it replaced, (0, '') for none."""


class Verdict(NamedTuple):
    """What to do with an incoming change."""

    wins: bool
    loser: tuple[bytes | None, Version, Version] | None
    """(value, its version, the winner's version) for the conflict log."""


def judge(stored: ItemRow | None, change: ItemChange, version: Version) -> Verdict:
    """Compare an incoming change with what is stored."""
    if stored is None:
        return Verdict(wins=True, loser=None)
    if version == stored.version:
        return Verdict(wins=False, loser=None)
    if version > stored.version:
        knew = change.base is not None and change.base[:2] >= stored.version[:2]
        sequential = knew or version.origin == stored.version.origin
        return Verdict(wins=True, loser=None if sequential else (stored.value, stored.version, version))
    sequential = stored.base >= version[:2] or version.origin == stored.version.origin
    return Verdict(wins=False, loser=None if sequential else (change.value, version, stored.version))
