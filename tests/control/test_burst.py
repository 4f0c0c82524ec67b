"""The burst controller: bounds, economy, hysteresis, bookings; on single readings and on whole traces."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.control.burst import WEIGHT_MAX, BurstPolicy, BurstState, Decision, Expected, Reading, decide
from eisbach.kernel.errors import Invalid

POLICY = BurstPolicy(unit_rate=100, unit_price_hour=0.036, spill_price_call=1e-6, spill_rate_max=5_000, units_max=40)
"""Break-even at 10 calls a second; a unit is planned for 60 and may be heated to 80."""


def steer(rates: list[float], *, units: int | None = None, expected: tuple[Expected, ...] = ()) -> list[Decision]:
    """A reading every ten seconds; what is wanted runs at once unless ``units`` is what runs."""
    state, decisions = BurstState(), []
    for number, rate in enumerate(rates):
        running = units if units is not None else (decisions[-1].units if decisions else POLICY.units_min)
        decisions.append(decide(POLICY, state, Reading(at_s=number * 10.0, rate=rate, units=running), expected))
        state = decisions[-1].state
    return decisions


def test_a_unit_is_kept_while_it_carries_more_than_its_break_even() -> None:
    assert POLICY.break_even == pytest.approx(10)
    assert POLICY.units_that_pay(60 * 5 + 9) == 5
    assert POLICY.units_that_pay(60 * 5 + 11) == 6


def test_a_handler_that_is_cheaper_as_a_function_leaves_the_base_at_its_minimum() -> None:
    dear = BurstPolicy(unit_rate=15, unit_price_hour=0.0227, spill_price_call=0.333e-6, spill_rate_max=5_000)

    assert dear.break_even > dear.unit_rate * dear.fill
    assert dear.units_that_pay(100_000) == dear.units_min


def test_what_the_base_cannot_take_spills_in_the_same_reading() -> None:
    decision = steer([1_000.0], units=2)[0]

    assert decision.spill == math.ceil((1 - 2 * 80 / 1_000) * WEIGHT_MAX)


def test_a_spike_shorter_than_rise_s_moves_no_unit_but_every_call_has_a_place() -> None:
    decisions = steer([100.0] * 20 + [2_000.0] * 5 + [100.0] * 20)

    assert {d.units for d in decisions} == {2}
    for decision in decisions[20:25]:
        assert 2_000 * (1 - decision.spill / WEIGHT_MAX) <= 2 * POLICY.unit_rate * POLICY.heat


def test_a_rise_that_lasts_brings_units_and_the_spill_falls_step_by_step_to_nothing() -> None:
    decisions = steer([100.0] * 10 + [600.0] * 60)

    assert decisions[-1].units == 10
    assert decisions[-1].spill == 0
    falls = [a.spill - b.spill for a, b in pairwise(decisions)]
    assert max(falls) <= POLICY.step_down


def test_units_end_only_after_keep_s_without_need() -> None:
    decisions = steer([600.0] * 30 + [100.0] * 70)

    first_fall = next(number for number, d in enumerate(decisions) if d.units < 10)
    assert (first_fall - 29) * 10 >= POLICY.keep_s
    assert decisions[-1].units == 2


def test_a_load_that_swings_around_a_threshold_moves_no_unit() -> None:
    edge = 60 * 5 + 10
    decisions = steer([edge + (15.0 if number % 2 else -15.0) for number in range(200)])

    assert len({d.units for d in decisions[61:]}) == 1


def test_a_steady_rise_orders_units_for_the_time_when_they_will_have_booted() -> None:
    rates = [300.0] * 10 + [300.0 + 20 * number for number in range(1, 20)]
    decisions = steer(rates)

    assert decisions[-1].units > POLICY.units_that_pay(rates[-1])


def test_an_expected_load_has_its_units_a_boot_time_before_it_comes_and_until_it_ends() -> None:
    booking = Expected(from_s=600, until_s=1_200, rate=1_800)
    decisions = steer([100.0] * 200, expected=(booking,))

    warm = [number * 10 for number, d in enumerate(decisions) if d.units >= 30]
    assert warm[0] == 600 - POLICY.boot_s
    assert warm[-1] >= 1_190
    assert decisions[-1].units == 2


def test_a_controller_that_lost_its_state_does_not_shrink_what_serves() -> None:
    """Restarted in the middle of a peak, it sizes the base for the peak at once."""
    assert steer([1_800.0], units=30)[0].units == 30


@given(
    rates=st.lists(st.floats(0, 1e6), min_size=1, max_size=80),
    running=st.integers(0, 60),
    booked=st.floats(0, 1e6),
)
def test_no_reading_leads_outside_the_bounds(rates: list[float], running: int, booked: float) -> None:
    for decision in steer(rates, units=running, expected=(Expected(from_s=100, until_s=300, rate=booked),)):
        assert POLICY.units_min <= decision.units <= POLICY.units_max
        assert 0 <= decision.spill <= WEIGHT_MAX
        assert len(decision.state.readings) <= 1_000


@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=60), st.integers(0, 60))
def test_the_spill_never_gets_more_than_it_can_take(rates: list[float], running: int) -> None:
    """In the reading that the share is computed from, but for the slow way down."""
    before = 0
    for decision, rate in zip(steer(rates, units=running), rates, strict=True):
        if decision.spill > before and rate:
            assert (decision.spill - 1) / WEIGHT_MAX * rate <= POLICY.spill_rate_max
        before = decision.spill


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_a_reading_that_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(Invalid, match="rate"):
        steer([rate])


def test_a_reading_from_the_past_is_refused() -> None:
    state = steer([1.0, 2.0])[-1].state

    with pytest.raises(Invalid, match="not after"):
        decide(POLICY, state, Reading(at_s=5.0, rate=1.0, units=2))


@pytest.mark.parametrize(
    "wrong", [{"unit_rate": 0}, {"heat": 1.2}, {"units_min": 9, "units_max": 3}, {"keep_s": 1}, {"step_down": 0}]
)
def test_a_policy_that_cannot_be_meant_is_refused_with_its_value(wrong: dict[str, float]) -> None:
    values = {"unit_rate": 100.0, "unit_price_hour": 0.1, "spill_price_call": 1e-6, "spill_rate_max": 100.0, **wrong}

    with pytest.raises(Invalid, match=str(next(iter(wrong.values())))):
        BurstPolicy(**values)  # type: ignore[arg-type]
