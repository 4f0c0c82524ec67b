"""The burst controller on whole traces, against the other ways to run the same handler."""

from pathlib import Path

import pytest

from eisbach.control.burst import BurstPolicy, Expected
from eisbach.deploy.burst.rehearsal import STRATEGIES, Outcome, rehearse
from eisbach.deploy.burst.traces import TRACES, read_trace
from eisbach.kernel.errors import Invalid

POLICY = BurstPolicy(unit_rate=250, unit_price_hour=0.0227, spill_price_call=0.333e-6, spill_rate_max=50_000)
KICK_OFF = Expected(from_s=1_800, until_s=5_400, rate=3_600)


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], Outcome]:
    booked = {"kick-off": (KICK_OFF,)}
    return {
        (trace, strategy): rehearse(strategy, rates, POLICY, expected=booked.get(trace, ()))
        for trace, rates in ((name, make(50_000)) for name, make in TRACES.items())
        for strategy in STRATEGIES
    }


@pytest.mark.parametrize("trace", TRACES)
def test_the_hybrid_refuses_next_to_nothing_on_any_trace(outcomes: dict, trace: str) -> None:
    hybrid = outcomes[trace, "hybrid"]

    assert hybrid.refused <= 1e-4 * hybrid.calls


@pytest.mark.parametrize("trace", TRACES)
def test_the_hybrid_costs_less_than_functions_alone_and_than_a_base_for_the_peak(outcomes: dict, trace: str) -> None:
    hybrid = outcomes[trace, "hybrid"].dollars

    assert hybrid < outcomes[trace, "all functions"].dollars
    assert hybrid < outcomes[trace, "base for the peak"].dollars


def test_a_base_alone_that_follows_the_load_refuses_calls_at_kick_off(outcomes: dict) -> None:
    """The reason for the spill; if this stops failing, the model of the base has become too kind."""
    assert outcomes["kick-off", "base, scaled"].refused > 1e-3 * outcomes["kick-off", "base, scaled"].calls


def test_without_its_booking_the_hybrid_still_serves_kick_off_by_spilling_more() -> None:
    rates = TRACES["kick-off"](50_000)
    booked = rehearse("hybrid", rates, POLICY, expected=(KICK_OFF,))
    surprised = rehearse("hybrid", rates, POLICY)

    assert surprised.refused <= 1e-3 * surprised.calls
    assert surprised.spill_dollars > booked.spill_dollars


def test_weights_are_moved_rarely(outcomes: dict) -> None:
    """Each change is a call of a control plane."""
    assert outcomes["ordinary-day", "hybrid"].weight_changes <= 20


def test_every_call_is_served_or_refused_and_paid_for_once() -> None:
    rates = [100.0] * 120
    functions = rehearse("all functions", rates, POLICY)

    assert functions.calls == pytest.approx(12_000)
    assert functions.spill_dollars == pytest.approx(12_000 * 0.333e-6)


def test_equal_arguments_give_equal_outcomes() -> None:
    rates = TRACES["exit-wave"](5_000)

    assert rehearse("hybrid", rates, POLICY) == rehearse("hybrid", TRACES["exit-wave"](5_000), POLICY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,rate\n", ":1: the header"),
        ("second,calls_per_s\n0,5\n2,5\n", ":3: expected second 1"),
        ("second,calls_per_s\n0,many\n", ":2: '0,many'"),
        ("second,calls_per_s\n0,-1\n", ":2: expected second 0"),
        ("second,calls_per_s\n0,1\n", "1 seconds; a trace has at least 60"),
    ],
)
def test_a_wrong_trace_file_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)

    with pytest.raises(Invalid, match=says):
        read_trace(path)
