"""The stream limit, decided in the viewer's favour."""

from hypothesis import given
from hypothesis import strategies as st

from eisbach.domain.playback import (
    Started,
    Stream,
    StreamGuard,
    TooManyStreams,
    end,
    renew,
    session_id,
    start,
    termination_code,
)

LEASE = 300_000


def stream(name: str, at_ms: int = 0, *, device: str | None = None) -> Stream:
    return Stream(
        sid=name,
        device=device or f"device-{name}",
        platform="tv",
        asset="vod:x",
        started_ms=at_ms,
        expires_ms=at_ms + LEASE,
    )


def begin(guard: StreamGuard, one: Stream, **more: object) -> StreamGuard:
    done = start(guard, one, limit=2, now_ms=one.started_ms, **more)  # type: ignore[arg-type]
    assert isinstance(done, Started)
    return done.guard


def sids(guard: StreamGuard) -> list[str]:
    return [s.sid for s in guard.streams]


def test_the_third_of_two_streams_is_refused_with_what_could_be_taken_over() -> None:
    guard = begin(begin(StreamGuard(), stream("a", 1)), stream("b", 2))

    refused = start(guard, stream("c", 3), limit=2, now_ms=3)

    assert TooManyStreams(2, (stream("a", 1), stream("b", 2))) == refused


def test_a_stream_taken_over_gives_its_place_and_is_told_to_stop() -> None:
    guard = begin(begin(StreamGuard(), stream("a", 1)), stream("b", 2))

    guard = begin(guard, stream("c", 3), takeover=[termination_code("a")])

    assert sids(guard) == ["b", "c"]
    assert renew(guard, stream("a", 1), limit=2, now_ms=4).action == "stop"


def test_a_device_reclaims_its_own_place_after_a_crash() -> None:
    guard = begin(begin(StreamGuard(), stream("a", 1, device="tv")), stream("b", 2))

    assert sids(begin(guard, stream("c", 3, device="tv"))) == ["b", "c"]


def test_a_repeat_of_a_start_takes_no_second_place() -> None:
    guard = begin(StreamGuard(), stream("a", 1))

    assert guard == begin(guard, stream("a", 1))


def test_a_silent_stream_whose_place_was_needed_does_not_push_out_who_plays_now() -> None:
    guard = begin(begin(StreamGuard(), stream("a", 1)), stream("b", 2))
    guard = begin(guard, stream("c", 3), silent=["a"])

    assert sids(guard) == ["b", "c"]
    assert renew(guard, stream("a", 1), limit=2, now_ms=4).action == "stop"
    assert renew(guard, stream("c", 3), limit=2, now_ms=4).action == "continue"


def test_a_silent_stream_whose_place_nobody_needed_goes_on() -> None:
    guard = begin(StreamGuard(), stream("a", 1))
    guard = begin(guard, stream("b", 2), silent=["a"])

    assert renew(guard, stream("a", 1), limit=2, now_ms=4).action == "continue"


def test_after_a_split_the_newest_stops_and_the_one_that_was_watching_plays_on() -> None:
    here = begin(begin(StreamGuard(), stream("old", 1)), stream("here", 5))
    there = begin(begin(StreamGuard(), stream("old", 1)), stream("there", 9))

    for merged in (here, there):
        assert renew(merged, stream("old", 1), limit=2, now_ms=10).action == "continue"

    adopted = renew(there, stream("here", 5), limit=2, now_ms=10)
    assert adopted.action == "continue"
    assert renew(adopted.guard, stream("there", 9), limit=2, now_ms=10).action == "stop"


def test_a_stopped_stream_does_not_come_back_by_a_late_heartbeat() -> None:
    guard = end(begin(StreamGuard(), stream("a", 1)), "a", now_ms=2)

    assert sids(guard) == []
    assert renew(guard, stream("a", 1), limit=2, now_ms=3).action == "stop"


def test_of_the_sessions_that_ended_in_the_last_hour_the_newest_32_are_remembered() -> None:
    guard = StreamGuard()
    for number in range(40):
        guard = end(guard, f"s{number:02}", now_ms=1000 + number)

    assert set(guard.ended) == {f"s{number:02}" for number in range(8, 40)}
    assert set(end(guard, "s99", now_ms=1039 + 3_600_000).ended) == {"s99"}  # an hour later the others are forgotten


def test_the_same_key_gives_the_same_session_everywhere() -> None:
    assert session_id("a-1", "key") == session_id("a-1", "key")
    assert session_id("a-1", "key") != session_id("a-1", "other")


actions = st.lists(
    st.tuples(st.sampled_from(["start", "renew", "end"]), st.integers(0, 5), st.integers(0, 400_000)), max_size=30
)


@given(actions)
def test_whatever_happens_the_guard_never_lists_more_than_the_limit_or_one_twice(
    steps: list[tuple[str, int, int]],
) -> None:
    guard, now = StreamGuard(), 0
    for action, number, later in steps:
        now += later
        one = Stream(
            sid=f"s{number}", device=f"d{number}", platform="tv", asset="vod:x", started_ms=now, expires_ms=now + LEASE
        )
        if action == "start":
            done = start(guard, one, limit=2, now_ms=now)
            guard = done.guard if isinstance(done, Started) else guard
        elif action == "renew":
            guard = renew(guard, one, limit=2, now_ms=now).guard
        else:
            guard = end(guard, one.sid, now_ms=now)

        assert len(guard.streams) <= 2
        assert len(set(sids(guard))) == len(guard.streams)
        assert len(guard.ended) <= 32
