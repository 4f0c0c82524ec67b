"""Slots that stand at the cut of a move: they are read and take no writes, until control decides how the move ends.

A move stands for milliseconds, and what is asked once a second may meet one, so only what was seen for two seconds is
told. No cell knows since when: it is said since when it was seen. Pure but for what it remembers.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

__all__ = ["Cut", "Cuts", "span"]

_STANDS_MS: Final = 2_000
"""A move's cut has 800 ms; control that lives ends it within a second."""
_NAMED: Final = 3


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Of one cell."""

    target: str
    region: str
    slots: Sequence[str]
    since_ms: int
    """When the first of them was first seen to be frozen."""
    sentence: str
    next: str


class Cuts:
    """What was seen so far; one an observer."""

    def __init__(self) -> None:
        self._since: dict[str, dict[str, int]] = {}

    def note(self, target: str, frozen: Sequence[str], *, now_ms: int) -> None:
        """What a cell that answers says; what it does not name any more is over."""
        before = self._since.get(target, {})
        self._since[target] = {slot: before.get(slot, now_ms) for slot in frozen}

    def standing(self, controls: Mapping[str, tuple[str, bool]], *, now_ms: int) -> list[Cut]:
        """What stands. ``controls``: region -> state of its control process, and whether that was broken on purpose."""
        found = []
        for target, since in sorted(self._since.items()):
            slots = sorted(slot for slot, at in since.items() if now_ms - at >= _STANDS_MS)
            region = target.split("/")[1] if "/" in target else ""
            if slots and region in controls:
                at = min(since[slot] for slot in slots)
                found.append(_cut(target, region, slots, at, controls[region], now_ms=now_ms))
        return found


def _cut(
    target: str, region: str, slots: Sequence[str], since_ms: int, control: tuple[str, bool], *, now_ms: int
) -> Cut:
    more = f" and {len(slots) - _NAMED} more" if len(slots) > _NAMED else ""
    count, verb = (f"{len(slots)} slots", "are") if len(slots) > 1 else ("1 slot", "is")
    what = (
        f"{count} of {target} {verb} frozen by a move for {span(now_ms - since_ms)} at least, read but not written here"
    )
    what += f": {', '.join(slots[:_NAMED])}{more}"
    state, on_purpose = control
    if state in ("ready", "slow"):
        following = f"eisbach cells list --region {region}"
        how = f"control/{region} ends the move once the cells it needs answer, {following} says what it waits for"
    else:
        following = f"eisbach {'heal' if on_purpose else 'why'} control/{region}"
        how = f"only control/{region} can end the move, and that is {state}: {following}"
    return Cut(
        target=target, region=region, slots=slots, since_ms=since_ms, sentence=f"{what}; {how}.", next=following
    )  # fmt: skip


def span(milliseconds: int) -> str:
    """``42 s``, ``12 min``, ``3 h``."""
    seconds = max(0, milliseconds // 1000)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
