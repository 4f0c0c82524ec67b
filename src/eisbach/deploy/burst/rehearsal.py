"""Play a trace against four ways to run a handler, second by second, and count calls, refusals and dollars.

The models of the platforms are the narrow part and are stated here: a unit of the base takes ``unit_rate`` calls a
second and refuses the rest; it takes calls ``boot_s`` after its order and is billed from the order on, a minute at
least (Fargate bills from the image pull); functions take ``spill_rate_max`` at most and their capacity grows by
``spill_growth`` calls a second each ten seconds (Lambda: 1,000 more concurrent executions every ten seconds a
function). A refused call is counted once: clients' retries are the workload's affair. The balancer's own price is the
same for all and left out.

Promises: equal arguments give equal outcomes; the hybrid is steered by ``control.burst.decide`` itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from eisbach.control.burst import WEIGHT_MAX, BurstPolicy, BurstState, Expected, Reading, decide
from eisbach.kernel.errors import Invalid

__all__ = ["STRATEGIES", "Outcome", "Platform", "rehearse"]

STRATEGIES: Final = ("hybrid", "all functions", "base for the peak", "base, scaled")
_EVERY_S: Final = 10
"""The controller reads every ten seconds: high-resolution metrics; the weights it sets hold until the next reading."""
_TARGET_EVERY_S: Final = 60
"""A target-tracking alarm needs three minutes of metrics of one minute each (Application Auto Scaling's default)."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a strategy did with a trace."""

    strategy: str
    calls: float = 0.0
    refused: float = 0.0
    base_dollars: float = 0.0
    spill_dollars: float = 0.0
    launches: int = 0
    weight_changes: int = 0
    points: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    """Every ten seconds: second, calls/s, units that take calls, share of the spill (0 to 1), refused/s."""

    @property
    def dollars(self) -> float:
        """Of base and spill, for the whole trace."""
        return self.base_dollars + self.spill_dollars


@dataclass(slots=True, kw_only=True)
class Platform:
    """Base and spill as modelled above."""

    policy: BurstPolicy
    spill_growth: float
    """Calls a second that the spill's capacity gains in ten seconds."""
    running: list[int] = field(default_factory=list)
    """Of each unit the second of its order."""
    spill_capacity: float = 0.0

    def resize(self, units: int, second: int, outcome: Outcome) -> None:
        """Order or end units now; the youngest end first, so that what boots is given up before what serves."""
        while len(self.running) < units:
            self.running.append(second)
            outcome.launches += 1
        while len(self.running) > units:
            started = self.running.pop()
            outcome.base_dollars += max(0, 60 - (second - started)) * self._unit_second()

    def _unit_second(self) -> float:
        return self.policy.unit_price_hour / 3600

    def ready(self, second: int) -> int:
        """Units that take calls."""
        return sum(second - started >= self.policy.boot_s for started in self.running)

    def serve(self, second: int, rate: float, spill: float, outcome: Outcome) -> float:
        """One second of load with ``spill`` (0 to 1) of it to the functions; calls refused in it."""
        to_spill = rate * spill
        self.spill_capacity = min(self.policy.spill_rate_max, self.spill_capacity + self.spill_growth / 10)
        served_spill = min(to_spill, self.spill_capacity)
        served_base = min(rate - to_spill, self.ready(second) * self.policy.unit_rate)
        outcome.calls += rate
        refused = max(0.0, rate - served_spill - served_base)
        outcome.refused += refused
        outcome.spill_dollars += served_spill * self.policy.spill_price_call
        outcome.base_dollars += len(self.running) * self._unit_second()
        return refused


def rehearse(
    strategy: str,
    rates: Sequence[float],
    policy: BurstPolicy,
    *,
    spill_growth: float = 10_000.0,
    expected: Sequence[Expected] = (),
) -> Outcome:
    """One strategy of ``STRATEGIES`` on one trace."""
    outcome = Outcome(strategy=strategy)
    steer = _steering(strategy, policy, rates, expected)
    units, spill = steer(0, rates[0], 0)
    warm = min(max(1000.0, rates[0] * spill), policy.spill_rate_max)  # what served before the trace begins is warm
    platform = Platform(policy=policy, spill_growth=spill_growth, spill_capacity=warm)
    platform.resize(units, -math.ceil(policy.boot_s), outcome)  # it ran before the trace begins
    outcome.launches = 0
    refused = 0.0
    for second, rate in enumerate(rates):
        if second and second % _EVERY_S == 0:
            measured = sum(rates[second - _EVERY_S : second]) / _EVERY_S
            units, wanted = steer(second, measured, platform.ready(second))
            outcome.weight_changes += wanted != spill
            spill = wanted
            platform.resize(units, second, outcome)
            outcome.points.append((second, measured, platform.ready(second), spill, refused / _EVERY_S))
            refused = 0.0
        refused += platform.serve(second, rate, spill, outcome)
    return outcome


_Steer = Callable[[int, float, int], tuple[int, float]]
"""(second, measured rate, ready units) -> (wanted units, share of the spill)."""


def _steering(strategy: str, policy: BurstPolicy, rates: Sequence[float], expected: Sequence[Expected]) -> "_Steer":
    match strategy:
        case "hybrid":
            return _hybrid(policy, expected)
        case "all functions":
            return lambda _second, _rate, _ready: (0, 1.0)
        case "base for the peak":
            peak = max(sum(rates[i : i + 10]) / 10 for i in range(0, max(1, len(rates) - 9), 10))
            units = math.ceil(peak / (policy.unit_rate * policy.heat))
            return lambda _second, _rate, _ready: (units, 0.0)
        case "base, scaled":
            return _target_tracking(policy)
        case _:
            raise Invalid(f"strategy {strategy[:40]!r} is not one of {', '.join(STRATEGIES)}")


def _hybrid(policy: BurstPolicy, expected: Sequence[Expected]) -> "_Steer":
    state = BurstState()

    def steer(second: int, rate: float, ready: int) -> tuple[int, float]:
        nonlocal state
        if second == 0:  # what a steady controller would have had
            ready = policy.units_that_pay(rate)
        decision = decide(policy, state, Reading(at_s=float(second), rate=rate, units=ready), expected)
        state = decision.state
        return decision.units, decision.spill / WEIGHT_MAX

    return steer


def _target_tracking(policy: BurstPolicy) -> "_Steer":
    """As a platform team would set it: out after three high minutes, in after fifteen low ones."""
    needs: list[int] = []
    units = 0

    def steer(second: int, rate: float, _ready: int) -> tuple[int, float]:
        nonlocal units
        need = max(policy.units_min, math.ceil(rate / (policy.unit_rate * policy.fill)))
        units = units or need
        if second % _TARGET_EVERY_S == 0:
            needs.append(need)
            if len(needs) >= 3 and min(needs[-3:]) > units:
                units = min(max(needs[-3:]), policy.units_max)
            elif len(needs) >= 15 and max(needs[-15:]) < units:
                units = max(needs[-15:])
        return units, 0.0

    return steer
