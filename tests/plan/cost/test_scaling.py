"""Provisioned capacity that scales, as AWS's rules have it: steady load, steps, bursts, schedules, decreases."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eisbach.plan.cost.scaling import CHANGE_S, Booked, Scaling, scaled

SCALING = Scaling(least=10.0, most=10_000.0, target=0.5)


def test_a_steady_load_uses_the_target_and_nothing_is_refused() -> None:
    found = scaled([100.0] * 7200, SCALING)

    assert found.utilisation == pytest.approx(0.5)
    assert (found.throttled, found.worst_s) == (0.0, 0)


def test_a_step_is_refused_once_the_burst_is_used_up_and_until_the_table_has_grown() -> None:
    calm = [100.0] * 1800  # 200 are there, 100 of them unused: 300 s of 200 are saved up
    saved_s = 300 * 200 // (500 - 200)
    found = scaled([*calm, *[500.0] * 3600], SCALING)

    assert found.worst_s == pytest.approx(120 + CHANGE_S - saved_s, abs=1)
    assert found.throttled == pytest.approx(found.worst_s * 300)
    assert scaled([*calm, *[500.0] * saved_s], SCALING).worst_s == 0


def test_what_the_schedule_knows_is_there_and_nothing_is_refused() -> None:
    rates = [*[100.0] * 1800, *[2000.0] * 1800]
    told = scaled(rates, SCALING, booked=[Booked(1500, 3600, 4000.0)])

    assert scaled(rates, SCALING).throttled > 0
    assert told.throttled == 0
    assert told.utilisation < scaled(rates, SCALING).utilisation


def test_a_table_shrinks_after_a_quarter_of_an_hour_and_four_times_a_day_at_once() -> None:
    fall = [*[1000.0] * 600, *[100.0] * 3600]
    found = scaled(fall, SCALING)
    down_s = 600 + 15 * 60 + CHANGE_S

    assert found.provisioned == pytest.approx(2000 * down_s + 200 * (4200 - down_s), rel=0.05)


def test_never_below_the_least_nor_above_the_most() -> None:
    small = scaled([0.0] * 7200, SCALING)
    large = scaled([1e6] * 7200, SCALING)

    assert small.provisioned == 10 * 7200
    assert large.provisioned == 10_000 * 7200
    assert large.utilisation == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 5_000), min_size=1, max_size=40), st.floats(0.2, 0.9))
def test_what_is_used_was_paid_for_or_saved_up(minutes: list[float], target: float) -> None:
    found = scaled([rate for rate in minutes for _ in range(60)], Scaling(least=10.0, most=10_000.0, target=target))

    assert 0 <= found.throttled <= found.asked
    assert found.asked - found.throttled <= found.provisioned * (1 + 1e-9)
    assert found.utilisation <= 1 + 1e-9
