"""The merge of one item: pure, so that its laws are properties and not hopes.

The higher version wins, in any order of arrival; so merge is commutative, associative and idempotent.

When is a loser kept? When the two writes did not know of each other. A store fills into every change the version that
it replaced (``kernel.ops.ItemChange.base``). A write knew of another exactly when its base is that write or a higher
one: its store had then merged the other, or something that already beat it (and *that* merge kept the loser).
Within one origin region writes of an item are sequential, since one lease row orders them: no loser there.
"""

from typing import Final, NamedTuple

from eisbach.kernel.versions import Version

__all__ = ["NO_BASE", "Stored", "Verdict", "judge"]

NO_BASE = (0, "")
"""Base of a write that found nothing."""


class Stored(NamedTuple):
    """What a store knows of an item besides its value; a tombstone is an item that is not ``live``."""

    hlc: int
    origin: str
    seq: int
    base_hlc: int
    base_origin: str
    live: bool

    @property
    def version(self) -> Version:
        """Its version."""
        return Version(self.hlc, self.origin, self.seq)


class Verdict(NamedTuple):
    """What to do with an incoming change."""

    wins: bool
    """The incoming change becomes the item's value."""
    conflict: bool
    """The two did not know of each other: the loser goes to the conflict log."""


_WINS: Final = Verdict(wins=True, conflict=False)
_LOSES: Final = Verdict(wins=False, conflict=False)
_WINS_OVER_ANOTHER: Final = Verdict(wins=True, conflict=True)
_LOSES_TO_ANOTHER: Final = Verdict(wins=False, conflict=True)


def judge(
    stored: Stored | None, version: Version, base: Version | None, *, late: bool = False, here: str = ""
) -> Verdict:
    """Compare an incoming change with what is stored.

    Args:
        stored: what is there, None for nothing ever.
        version: of the incoming change.
        base: what it replaced where it was written.
        late: the change comes from an owner that its own region had given up: not sequential even within its origin.
        here: the region whose own writes did not know of what arrives now; empty in a store that is made anew, to which
            its own writes come in any order.
    """
    if stored is None:
        return _WINS
    mine = stored[:3]
    if version == mine:
        return _LOSES
    same_origin = version[1] == mine[1] and not late
    if version > mine:
        knew = same_origin or (base is not None and base[:2] >= mine[:2])
        return _WINS if knew else _WINS_OVER_ANOTHER
    knew = same_origin or (mine[1] != here and stored[3:5] >= version[:2])
    return _LOSES if knew else _LOSES_TO_ANOTHER
