"""What a channel's arithmetic promises, held against brute force and for any two instants."""

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.domain.channels import (
    Timing,
    Window,
    airing_at,
    airings,
    check_loop,
    now_and_next,
    programme_ms,
    window,
)
from eisbach.kernel.errors import Invalid

START_MS = 1_735_689_600_000


@dataclass(frozen=True)
class Programme:
    title: str
    asset: str
    duration_ms: int


@dataclass(frozen=True)
class Channel:
    loop: list[Programme]
    start_ms: int = START_MS
    id: str = "one"
    tracks: dict[str, dict[str, Timing]] = field(default_factory=dict)


def picture(duration_ms: int) -> Timing:
    """Segments of exactly 2 s at 25 pictures a second, and what is left."""
    whole, rest = divmod(duration_ms, 2000)
    return Timing(12800, [(25600, whole)] * (whole > 0) + [(rest * 128 // 10, 1)] * (rest > 0))


def sound(duration_ms: int) -> Timing:
    """AAC frames of 1024 samples, cut at the first frame that reaches the next two seconds, as the packager does."""
    frames = -(-duration_ms * 48 // 1024)
    bounds = sorted({-(-second * 48000 // 1024) for second in range(0, duration_ms // 1000 + 1, 2)} | {frames})
    lengths = [(after - before) * 1024 for before, after in itertools.pairwise(bounds)]
    return Timing(48000, [(length, len(list(run))) for length, run in itertools.groupby(lengths)])


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    """Loops of one to five programmes; some assets are longer than their programme."""
    loop, tracks = [], {"v240": {}, "a-de": {}}
    for place, segments in enumerate(draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))):
        asset_ms = segments * 2000 + draw(st.sampled_from([0, 40, 1280, 1999, 6000]))
        name = f"asset-{place}"
        loop.append(Programme(f"title-{place}", name, segments * 2000))
        tracks["v240"][name], tracks["a-de"][name] = picture(asset_ms), sound(asset_ms)
    return Channel(loop, tracks=tracks)


instants = st.integers(0, 3_600_000)
tracks = st.sampled_from(["v240", "a-de"])
TWO = Channel([Programme("t-a", "a", 6000), Programme("t-b", "b", 4000)])
TIMINGS = {"a": picture(6000), "b": picture(4000)}


def listed(found: Window) -> list[tuple[int, str, int]]:
    return [(s.sequence, s.airing.asset, s.number) for s in found.segments]


def test_a_programme_holds_its_start_and_not_its_end() -> None:
    on = [airing_at(TWO, START_MS + offset).title for offset in (0, 5999, 6000, 9999, 10_000)]

    assert on == ["t-a", "t-a", "t-b", "t-b", "t-a"]


def test_now_and_next_name_what_is_on_and_what_follows_across_the_wrap_of_the_loop() -> None:
    now, following = now_and_next(TWO, START_MS + 9_000)

    assert (now.title, now.number, now.start_ms, now.end_ms) == ("t-b", 1, START_MS + 6_000, START_MS + 10_000)
    assert (following.title, following.number, following.start_ms) == ("t-a", 2, START_MS + 10_000)


def test_a_segment_is_listed_once_it_has_ended_and_not_a_millisecond_before() -> None:
    before = window(TWO, "v", TIMINGS, START_MS + 3_999)
    after = window(TWO, "v", TIMINGS, START_MS + 4_000)

    assert listed(before) == [(0, "a", 1)]
    assert listed(after) == [(0, "a", 1), (1, "a", 2)]


def test_a_window_reaches_back_over_programmes_and_over_the_wrap_of_the_loop() -> None:
    found = window(TWO, "v", TIMINGS, START_MS + 12_000, count=4)

    assert listed(found) == [(2, "a", 3), (3, "b", 1), (4, "b", 2), (5, "a", 1)]


def test_a_channel_that_has_not_begun_is_refused_with_its_start() -> None:
    with pytest.raises(Invalid, match=str(START_MS)):
        window(TWO, "v", TIMINGS, START_MS - 1)


def test_an_asset_without_the_track_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="asset 'b' has no track 'v'"):
        window(TWO, "v", {"a": picture(6000)}, START_MS + 5000)


@pytest.mark.parametrize(
    "channel",
    [
        Channel([]),
        Channel([Programme("t", "a", 0)]),
        Channel([Programme("t", "a", 5000)]),
        Channel([Programme("t", "a", 2000)], start_ms=1),
        Channel([Programme("t", "a", 2000)] * 1001),
    ],
)
def test_loops_that_do_not_lie_on_the_grid_are_refused(channel: Channel) -> None:
    with pytest.raises(Invalid):
        check_loop(channel)


def test_what_is_left_of_an_asset_beyond_whole_segments_is_not_shown() -> None:
    assert [programme_ms(ms) for ms in (2000, 3999, 5280, 600_000)] == [2000, 2000, 4000, 600_000]
    with pytest.raises(Invalid):
        programme_ms(1999)


@given(channels(), instants)
def test_airings_follow_each_other_without_gap_or_overlap(channel: Channel, into: int) -> None:
    found = list(itertools.islice(airings(channel, START_MS + into), 12))

    assert found[0].start_ms <= START_MS + into < found[0].end_ms
    for one, following in itertools.pairwise(found):
        assert (one.end_ms, one.number + 1) == (following.start_ms, following.number)


@given(channels(), tracks, instants, instants, st.integers(1, 20))
def test_two_windows_of_a_track_agree_where_they_overlap_and_never_go_back(
    channel: Channel, track: str, one: int, other: int, count: int
) -> None:
    early, late = (
        window(channel, track, channel.tracks[track], START_MS + t, count=count) for t in sorted((one, other))
    )

    first, second = ({s.sequence: s for s in w.segments} for w in (early, late))
    for number in first.keys() & second.keys():
        assert first[number] == second[number]
    if first:
        assert max(first) <= max(second)
        assert min(first) <= min(second)


@given(channels(), tracks, instants, st.integers(1, 20))
def test_a_window_has_no_hole_and_its_airing_numbers_rise_by_one(
    channel: Channel, track: str, into: int, count: int
) -> None:
    segments = window(channel, track, channel.tracks[track], START_MS + into, count=count).segments

    for one, following in itertools.pairwise(segments):
        assert following.sequence == one.sequence + 1
        if following.airing == one.airing:
            assert (following.number, following.offset) == (one.number + 1, one.offset + one.duration)
        else:
            assert (following.number, following.offset) == (1, 0)
            assert following.airing.number == one.airing.number + 1


@given(channels(), tracks, st.integers(0, 200_000))
def test_sequence_numbers_count_every_segment_since_the_start(channel: Channel, track: str, into: int) -> None:
    """Brute force: everything ever listed, from the first segment on, is numbered 0, 1, 2 ..."""
    everything = window(channel, track, channel.tracks[track], START_MS + into, count=10_000).segments

    assert [s.sequence for s in everything] == list(range(len(everything)))


@given(channels(), instants)
def test_picture_and_sound_of_an_airing_have_as_many_segments_and_end_together(channel: Channel, into: int) -> None:
    end = START_MS + into + 400_000
    ended: dict[str, dict[int, tuple[int, float]]] = {}
    for track in ("v240", "a-de"):
        found = window(channel, track, channel.tracks[track], end, count=400)
        for s in found.segments:
            seconds = (s.offset + s.duration) / found.timescale[s.airing.asset]
            ended.setdefault(track, {})[s.airing.number] = (s.number, seconds)

    whole = sorted(ended["v240"].keys() & ended["a-de"].keys())[1:-1]
    for airing in whole:
        (pictures, seen), (sounds, heard) = ended["v240"][airing], ended["a-de"][airing]
        assert pictures == sounds
        assert abs(seen - heard) <= 1024 / 48000


@given(channels(), tracks, instants)
def test_the_last_segment_ended_within_the_last_two_seconds(channel: Channel, track: str, into: int) -> None:
    """The live edge never lags: a player that is three segments behind always has three to fetch."""
    found = window(channel, track, channel.tracks[track], START_MS + into + 3000)
    last = found.segments[-1]

    end_ms = last.airing.start_ms + (last.offset + last.duration) * 1000 / found.timescale[last.airing.asset]
    assert 0 <= START_MS + into + 3000 - end_ms < 2000 + 22
