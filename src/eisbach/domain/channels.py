"""A linear channel computed from its schedule and the clock: which programme, which segments, at any instant.

A channel is a loop of programmes that began at ``start_ms`` and never ends. Everything here is integer arithmetic on
that, so two regions that never talk say the same: the n-th airing since the start, the k-th segment of a track since
the start. Both numbers only rise, across programmes, renditions and wraps of the loop, for all time.

Promises: a window asked for later never starts earlier or ends earlier; two windows of one track that overlap agree on
every segment in the overlap; a segment is listed once it has ended, never before.
May not know: where documents come from (the shapes below are what the catalogue's documents have), manifests, clocks.

Sources: RFC 8216 sections 4.3.2.3 and 4.3.3.2 f. for the meaning of the two sequence numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import SEGMENT

__all__ = [
    "WINDOW_SEGMENTS",
    "Airing",
    "ChannelLike",
    "ListedSegment",
    "Timing",
    "Window",
    "airing_at",
    "airings",
    "check_loop",
    "now_and_next",
    "programme_ms",
    "window",
]

WINDOW_SEGMENTS: Final = 15
"""Thirty seconds: enough for a player that starts three segments behind the edge and was away for ten seconds."""
_SEGMENT_MS: Final = int(SEGMENT.total_seconds() * 1000)
_LOOP_MAX: Final = 1000


class ProgrammeLike(Protocol):
    """An entry of the loop, as ``domain.catalog.Programme`` is."""

    @property
    def title(self) -> str:
        """Title id."""
        ...

    @property
    def asset(self) -> str:
        """Asset id."""
        ...

    @property
    def duration_ms(self) -> int:
        """A multiple of the segment length."""
        ...


class ChannelLike(Protocol):
    """A channel, as ``domain.catalog.Channel`` is."""

    @property
    def id(self) -> str:
        """Channel id."""
        ...

    @property
    def start_ms(self) -> int:
        """When the loop first began."""
        ...

    @property
    def loop(self) -> Sequence[ProgrammeLike]:
        """What is shown, again and again."""
        ...


class Airing(NamedTuple):
    """One showing of a programme."""

    number: int
    """From 0 at the channel's start; rises by one with every programme. Also the discontinuity number."""
    title: str
    asset: str
    start_ms: int
    """Milliseconds since 1970."""
    end_ms: int


class Timing(NamedTuple):
    """How one rendition of an asset is cut: as ``domain.catalog.Track`` says it."""

    timescale: int
    segments: Sequence[tuple[int, int]]
    """Run lengths: (duration in timescale units, how many in a row)."""


class ListedSegment(NamedTuple):
    """One segment of a window."""

    sequence: int
    """Media sequence number: segments of this track before it since the channel's start."""
    airing: Airing
    number: int
    """Of the file, from 1."""
    offset: int
    """Start within the airing, in timescale units."""
    duration: int
    """In timescale units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a live playlist of one track lists now; empty in a channel's first two seconds."""

    track: str
    timescale: Mapping[str, int]
    """Asset -> units per second."""
    segments: Sequence[ListedSegment]
    """In order, without holes in ``sequence``."""


def programme_ms(asset_duration_ms: int) -> int:
    """How long an asset runs on a channel: whole segments only, what is left over is not shown.

    Raises:
        Invalid: the asset is shorter than one segment.
    """
    whole = asset_duration_ms // _SEGMENT_MS * _SEGMENT_MS
    if whole == 0:
        raise Invalid(f"an asset of {asset_duration_ms} ms is too short for a channel; it needs {_SEGMENT_MS} ms")
    return whole


def check_loop(channel: ChannelLike) -> None:
    """Refuse a channel that this arithmetic cannot carry.

    Raises:
        Invalid: empty, too long, not on the grid of segments.
    """
    if not 1 <= len(channel.loop) <= _LOOP_MAX:
        raise Invalid(f"channel {channel.id!r} has {len(channel.loop)} programmes; give it 1 to {_LOOP_MAX}")
    if channel.start_ms < 0 or channel.start_ms % _SEGMENT_MS:
        raise Invalid(f"channel {channel.id!r} starts at {channel.start_ms} ms; use a multiple of {_SEGMENT_MS}")
    for programme in channel.loop:
        if programme.duration_ms < _SEGMENT_MS or programme.duration_ms % _SEGMENT_MS:
            raise Invalid(
                f"channel {channel.id!r}: programme {programme.title!r} lasts {programme.duration_ms} ms;"
                f" use a positive multiple of {_SEGMENT_MS}"
            )


def airing_at(channel: ChannelLike, at_ms: int) -> Airing:
    """What is on at an instant; an airing holds its start and not its end.

    Raises:
        Invalid: before the channel's start.
    """
    if at_ms < channel.start_ms:
        raise Invalid(f"channel {channel.id!r} starts at {channel.start_ms} ms, asked was {at_ms}; ask later")
    loop_ms = sum(programme.duration_ms for programme in channel.loop)
    loops, into = divmod(at_ms - channel.start_ms, loop_ms)
    start_ms = channel.start_ms + loops * loop_ms
    for place, programme in enumerate(channel.loop):
        if into < programme.duration_ms:
            return Airing(
                loops * len(channel.loop) + place,
                programme.title,
                programme.asset,
                start_ms,
                start_ms + programme.duration_ms,
            )
        into -= programme.duration_ms
        start_ms += programme.duration_ms
    raise AssertionError("the remainder of a division is smaller than the divisor")


def airings(channel: ChannelLike, from_ms: int) -> Iterator[Airing]:
    """What is on at ``from_ms`` (or first, if that is before the start), and everything after it, for ever."""
    at_ms = max(from_ms, channel.start_ms)
    while True:
        airing = airing_at(channel, at_ms)
        yield airing
        at_ms = airing.end_ms


def now_and_next(channel: ChannelLike, at_ms: int) -> tuple[Airing, Airing]:
    """What is on, and what follows.

    Raises:
        Invalid: before the channel's start.
    """
    now = airing_at(channel, at_ms)
    return now, airing_at(channel, now.end_ms)


def window(
    channel: ChannelLike,
    track: str,
    timings: Mapping[str, Timing],
    at_ms: int,
    *,
    count: int = WINDOW_SEGMENTS,
) -> Window:
    """The last ``count`` segments of a track that have ended by ``at_ms``.

    Args:
        channel: passed ``check_loop``.
        track: the rendition.
        timings: asset -> how this rendition of it is cut.
        at_ms: the instant.
        count: at least 1.

    Raises:
        Invalid: before the channel's start, or an asset of the loop lacks the track.
    """
    for programme in channel.loop:
        if programme.asset not in timings:
            raise Invalid(f"channel {channel.id!r}: asset {programme.asset!r} has no track {track!r}")
    counts = [_count(timings[p.asset], p.duration_ms) for p in channel.loop]
    airing = airing_at(channel, at_ms)
    found: list[ListedSegment] = []
    while True:
        loops, place = divmod(airing.number, len(channel.loop))
        first = loops * sum(counts) + sum(counts[:place])
        timing = timings[airing.asset]
        ended = _listed(timing, counts[place], airing, first, at_ms)
        found = [*ended[-(count - len(found)) :], *found]
        if len(found) == count or airing.number == 0:
            break
        airing = airing_at(channel, airing.start_ms - 1)
    return Window(track=track, timescale={a: t.timescale for a, t in timings.items()}, segments=found)


def _count(timing: Timing, duration_ms: int) -> int:
    """Segments of an airing: those that lie in it with more than half of themselves.

    Sound is cut at its own frames, up to 21 ms away from the picture's boundaries; by this rule a programme that is
    shorter than its asset has as many sound segments as picture segments.
    """
    total, start = 0, 0
    for length, times in timing.segments:
        # the n-th of the run lies in the airing when 2 * (start + n * length) + length < 2 * end
        end2 = 2 * duration_ms * timing.timescale
        fits = -(-(end2 - (2 * start + length) * 1000) // (2 * length * 1000))
        total += max(0, min(times, fits))
        if fits < times:
            break
        start += length * times
    return total


def _listed(timing: Timing, total: int, airing: Airing, first: int, at_ms: int) -> list[ListedSegment]:
    """Of one airing, the segments that have ended."""
    found: list[ListedSegment] = []
    offset, number = 0, 0
    into = (at_ms - airing.start_ms) * timing.timescale
    for length, times in timing.segments:
        for _ in range(times):
            if number == total or (offset + length) * 1000 > into:
                return found
            found.append(ListedSegment(first + number, airing, number + 1, offset, length))
            offset += length
            number += 1
    return found
