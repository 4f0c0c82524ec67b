"""Positions: inside, done at 95 %, latest first."""

from hypothesis import given
from hypothesis import strategies as st

from eisbach.domain.progress import Saved, position, resume_rail, start_position, watchlist_rail


def test_from_95_percent_a_title_is_done_and_starts_anew() -> None:
    at_94, at_95 = (position("t", pos_s=p, dur_s=100, at_ms=1) for p in (94.9, 95))

    assert (at_94.done, start_position(at_94)) == (False, 94.9)
    assert (at_95.done, start_position(at_95)) == (True, 0.0)


def test_hardly_begun_starts_from_the_beginning() -> None:
    assert start_position(position("t", pos_s=4.9, dur_s=100, at_ms=1)) == 0
    assert start_position(None) == 0


def test_the_resume_rail_has_the_latest_first_without_what_is_done() -> None:
    found = [
        position("old", pos_s=50, dur_s=100, at_ms=1),
        position("done", pos_s=99, dur_s=100, at_ms=2),
        position("new", pos_s=50, dur_s=100, at_ms=3),
    ]

    assert [p.title for p in resume_rail(found)] == ["new", "old"]


def test_the_watch_list_has_the_latest_first() -> None:
    assert [s.title for s in watchlist_rail([Saved(title="a", added_ms=1), Saved(title="b", added_ms=2)])] == ["b", "a"]


@given(st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_position_lies_inside_its_title(pos_s: float, dur_s: float) -> None:
    found = position("t", pos_s=pos_s, dur_s=dur_s, at_ms=1)

    assert found.pos_s >= 0
    assert dur_s == 0 or found.pos_s <= dur_s
    assert 0 <= start_position(found) <= max(found.pos_s, 0)
