"""Progress: where a profile stopped, what it goes on with, what it saved.

The smallest independent thing is one title of one profile (design section 3), so two devices that watch different
titles during a split lose nothing. May not know: titles' documents, stores, HTTP.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

__all__ = [
    "DONE_SHARE",
    "PROGRESS_PREFIX",
    "WATCHLIST_PREFIX",
    "Position",
    "ProgressRecorded",
    "Saved",
    "WatchlistChanged",
    "position",
    "resume_rail",
    "start_position",
    "watchlist_rail",
]

DONE_SHARE = 0.95
"""From here a title counts as watched: the rest is credits."""
START_AT_LEAST_S = 5.0
"""Below this, playing on from where one stopped is no help."""
RAIL_MAX = 20
PROGRESS_PREFIX = "progress/"
WATCHLIST_PREFIX = "watchlist/"


class Position(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Item ``progress/{profile}/{title}``."""

    title: str
    pos_s: float
    """0 to ``dur_s``."""
    dur_s: float
    updated_ms: int
    done: bool = False


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """Item ``watchlist/{profile}/{title}``."""

    title: str
    added_ms: int


class ProgressRecorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data of ``tv.playback.progress.recorded.v1``."""

    event_type: ClassVar[str] = "tv.playback.progress.recorded.v1"

    account: str
    profile: str
    title: str
    pos_s: float
    dur_s: float
    done: bool = False


class WatchlistChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Data of ``tv.watchlist.item.added.v1`` and ``removed.v1``."""

    account: str
    profile: str
    title: str


def position(title: str, *, pos_s: float, dur_s: float, at_ms: int) -> Position:
    """A position as it is kept: inside the title, done from 95 % on."""
    inside = min(max(0.0, pos_s), dur_s) if dur_s > 0 else max(0.0, pos_s)
    done = dur_s > 0 and inside >= dur_s * DONE_SHARE
    return Position(title=title, pos_s=inside, dur_s=dur_s, updated_ms=at_ms, done=done)


def start_position(found: Position | None) -> float:
    """Where to start, in seconds: from the beginning when done, new, or hardly begun."""
    if found is None or found.done or found.pos_s < START_AT_LEAST_S:
        return 0.0
    return found.pos_s


def resume_rail(positions: Iterable[Position]) -> Sequence[Position]:
    """What to go on with, the latest first, at most 20: begun and not done."""
    begun = (p for p in positions if start_position(p) > 0)
    return sorted(begun, key=lambda p: (-p.updated_ms, p.title))[:RAIL_MAX]


def watchlist_rail(saved: Iterable[Saved]) -> Sequence[Saved]:
    """What was saved, the latest first."""
    return sorted(saved, key=lambda s: (-s.added_ms, s.title))
