"""Many slots in few lines: how many, where, why, and some by name; ``--json`` has each.

Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

__all__ = ["missing_ranges", "unproved"]

_NAMED: Final = 3
_REASONS: Final = 6


def unproved(slots: dict[str, Any]) -> list[str]:
    """A line for each cell and reason of slots that are not proved, the most first. ``slots``: slot -> its proof."""
    groups: dict[tuple[str, str], list[str]] = {}
    for slot, proof in slots.items():
        if not proof["proved"]:
            groups.setdefault((proof["cell"], proof["trouble"]), []).append(slot)
    return _lines((f" at {cell}", why, names) for (cell, why), names in groups.items())


def missing_ranges(slots: dict[str, Any]) -> list[str]:
    """A line for each reason why what a lost region wrote is not known to be here. ``slots``: slot -> its range."""
    groups: dict[str, list[str]] = {}
    for slot, found in slots.items():
        if found.get("trouble"):
            groups.setdefault(found["trouble"], []).append(slot)
    return _lines(("", why, names) for why, names in groups.items())


def _lines(groups: Iterable[tuple[str, str, Sequence[str]]]) -> list[str]:
    most_first = sorted(groups, key=lambda group: -len(group[2]))
    said = [f"{_named(names)}{where}: {why}" for where, why, names in most_first[:_REASONS]]
    if left := sum(len(names) for _, _, names in most_first[_REASONS:]):
        said.append(f"and {left} more slots, of other reasons: --json has all")
    return said


def _named(slots: Sequence[str]) -> str:
    if len(slots) == 1:
        return slots[0]
    more = ", …" if len(slots) > _NAMED else ""
    return f"{len(slots)} slots ({', '.join(sorted(slots, key=_in_order)[:_NAMED])}{more})"


def _in_order(slot: str) -> tuple[str, int, str]:
    """``eu/de/main/2`` before ``eu/de/main/10``."""
    group, _, number = slot.rpartition("/")
    return group, int(number) if number.isdecimal() else 0, number
