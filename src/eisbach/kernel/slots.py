"""Groups and slots: where an account lives, from its id alone.

``group = (residency, market, cohort)``; ``slot = crc32(account_id) mod slot_count`` in its group. The number of
slots of a group is fixed for life (64 on the laptop, 1024 by default): cells split by moving slots, never by rehashing.
"""

import re
import zlib
from typing import NamedTuple, Self

from eisbach.kernel.errors import Invalid

__all__ = ["STUDIO_GROUP", "Group", "Slot", "slot_of"]

_WORD = re.compile(r"[a-z0-9-]{1,16}", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}", re.ASCII)


class Group(NamedTuple):
    """A set of slots with one residency, market and cohort, e.g. ``eu/de/main``."""

    residency: str
    """Where its data may be kept: regions whose residency is this one, or ``any``."""
    market: str
    cohort: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``residency/market/cohort``; the only spelling of it is the one ``str`` gives.

        Raises:
            Invalid: with the text that was found.
        """
        words = text.split("/")
        if len(words) != 3 or not all(_WORD.fullmatch(word) for word in words):
            raise Invalid(f"group {text[:80]!r} is not 'residency/market/cohort', e.g. 'eu/de/main'")
        return cls(*words)

    def __str__(self) -> str:
        return f"{self.residency}/{self.market}/{self.cohort}"


class Slot(NamedTuple):
    """Fixed hash bucket of a group: the unit of ownership and of ordering, e.g. ``eu/de/main/17``."""

    group: Group
    number: int
    """0 to slot_count - 1, at most 9999."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``residency/market/cohort/number`` strictly (no signs, no leading zeros).

        Raises:
            Invalid: with the text that was found.
        """
        head, _, tail = text.rpartition("/")
        if not head or _NUMBER.fullmatch(tail) is None:
            raise Invalid(f"slot {text[:80]!r} is not 'residency/market/cohort/number', e.g. 'eu/de/main/17'")
        return cls(Group.parse(head), int(tail))

    def __str__(self) -> str:
        return f"{self.group}/{self.number}"


STUDIO_GROUP = Group("any", "all", "studio")
"""What editors write and what spokes keep; no personal data, so every region may hold it."""


def slot_of(account: str, group: Group, slot_count: int) -> Slot:
    """The slot of an account in its group: CRC-32 (ISO 3309, as in zlib) modulo ``slot_count``."""
    return Slot(group, zlib.crc32(account.encode()) % slot_count)
