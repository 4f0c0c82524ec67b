"""Health of regions from journeys: slow to condemn, slower to forgive."""

from hypothesis import given
from hypothesis import strategies as st

from eisbach.control.region_health import BAD_AFTER, GOOD_AFTER, RegionHealth


def seen(outcomes: list[bool]) -> list[bool]:
    health, found = RegionHealth(["a", "b"]), []
    for succeeded in outcomes:
        health.see("a", succeeded=succeeded)
        found.append(health.well()["a"])
    assert health.well()["b"]
    return found


def test_a_region_is_bad_after_three_failures_in_a_row_and_not_before() -> None:
    assert seen([False, False, True, False, False, False]) == [True] * 5 + [False]


def test_a_region_is_well_again_after_five_successes_in_a_row() -> None:
    assert seen([False] * 3 + [True] * 4 + [False] + [True] * 5)[-2:] == [False, True]


@given(st.lists(st.booleans(), max_size=200))
def test_the_opinion_changes_only_after_a_whole_run_of_the_contrary(outcomes: list[bool]) -> None:
    before = True
    for number, now in enumerate(seen(outcomes)):
        if now != before:
            run = outcomes[number + 1 - (GOOD_AFTER if now else BAD_AFTER) : number + 1]
            assert set(run) == {now}
        before = now
