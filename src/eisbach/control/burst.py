"""Where calls go when load bursts: a steady base of containers, and functions for what is above it. A pure function.

The base is billed by the hour and slow to grow; the spill is billed by the call and grows at once. ``decide`` is asked
every few seconds with what was measured, and answers how many units the base should have and which share of the calls
the balancer should give to the spill.

Promises: a unit of the base is kept only while it carries more than the break-even of *this* handler; the shares never
give the base more than ``heat`` of what runs there, as far as the last readings tell; the answer never leaves the
policy's bounds; equal readings give equal answers. Up is fast, down is slow: up in one step, down only after
``keep_s`` without need (units) and by ``step_down`` a reading (share), so that a load that swings around a threshold
moves nothing. May not know: any vendor, clocks, I/O.
The adapter for ECS and a balancer is ``deploy/aws/burst.py``.

Sources: the break-even is ``reference/reliability.md`` section 5 (average calls a second at which a container costs
what the calls it serves would cost as functions); windows for hysteresis as in Kubernetes' horizontal autoscaler
(``stabilizationWindowSeconds``: highest recommendation of the window when scaling down, lowest when scaling up).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from eisbach.kernel.errors import Invalid

__all__ = ["WEIGHT_MAX", "BurstPolicy", "BurstState", "Decision", "Expected", "Reading", "decide"]

WEIGHT_MAX = 1000
"""Shares are in thousandths: a balancer's weights are small whole numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstPolicy:
    """One handler on one base. Prices in US dollars; rates in calls a second."""

    unit_rate: float
    """Calls a second at which one unit of the base is full (its processors busy)."""
    unit_price_hour: float
    spill_price_call: float
    spill_rate_max: float
    """What the spill can take at most (concurrency limit divided by the duration of a call)."""
    units_min: int = 2
    """Runs always: it survives the loss of a zone without a launch."""
    units_max: int = 200
    fill: float = 0.6
    """Share of ``unit_rate`` that a unit is planned for."""
    heat: float = 0.8
    """Share of ``unit_rate`` up to which it may be loaded while the base is too small; above it calls spill."""
    boot_s: float = 90.0
    """From the order of a unit to its first call."""
    rise_s: float = 60.0
    """The need for more units must last this long, so that a spike is left to the spill."""
    keep_s: float = 600.0
    """The need for fewer units must last this long."""
    step_down: int = 100
    """Thousandths by which the spill's share falls in one reading at most."""
    dead_band: int = 20
    """Thousandths by which the share may be too high before it is moved."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            Invalid: with the field, its value and its bounds.
        """
        for name in ("unit_rate", "unit_price_hour", "spill_price_call", "spill_rate_max", "boot_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise Invalid(f"burst policy: {name} is {value}; it must be a finite number above 0")
        if not 0 < self.fill <= self.heat <= 1:
            raise Invalid(f"burst policy: fill {self.fill} and heat {self.heat} must be 0 < fill <= heat <= 1")
        if not 0 <= self.units_min <= self.units_max <= 10_000:
            raise Invalid(f"burst policy: units {self.units_min} to {self.units_max} must be within 0 to 10000")
        if not 0 <= self.rise_s <= self.keep_s <= 86_400:
            raise Invalid(
                f"burst policy: rise_s {self.rise_s} and keep_s {self.keep_s} must be 0 <= rise <= keep <= day"
            )
        if not (1 <= self.step_down <= WEIGHT_MAX and 0 <= self.dead_band < WEIGHT_MAX):
            raise Invalid(
                f"burst policy: step_down {self.step_down} or dead_band {self.dead_band} is not in thousandths"
            )

    @property
    def break_even(self) -> float:
        """Calls a second that a unit must carry to cost less than the spill would for them."""
        return self.unit_price_hour / 3600 / self.spill_price_call

    def units_that_pay(self, rate: float) -> int:
        """Units of the base that earn their price at a lasting ``rate``, within the policy's bounds."""
        planned = self.unit_rate * self.fill
        full, rest = divmod(max(rate, 0.0), planned)
        units = int(full) + (rest > self.break_even) if planned > self.break_even else 0
        return min(max(units, self.units_min), self.units_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was measured since the last reading."""

    at_s: float
    """Monotonic."""
    rate: float
    """Calls a second that arrived, refused ones included."""
    units: int
    """Units of the base that take calls now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A load known beforehand: a kick-off in the schedule."""

    from_s: float
    until_s: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstState:
    """What one decision leaves for the next; empty at the start, and safe to lose."""

    readings: tuple[Reading, ...] = ()
    """Of the last ``keep_s``; the oldest first; at most 1,000."""
    units: int = 0
    spill: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the adapter should make true."""

    units: int
    """Wanted units of the base."""
    spill: int
    """Thousandths of the calls for the spill; the base gets the rest."""
    why: str
    state: BurstState


def decide(policy: BurstPolicy, state: BurstState, reading: Reading, expected: Sequence[Expected] = ()) -> Decision:
    """The next size of the base and the next share of the spill.

    Raises:
        Invalid: a reading that is older than the one before it, or no finite number.
    """
    if not (math.isfinite(reading.rate) and reading.rate >= 0 and reading.units >= 0):
        raise Invalid(f"burst reading: rate {reading.rate} and units {reading.units} must be finite and not negative")
    if state.readings and reading.at_s <= state.readings[-1].at_s:
        raise Invalid(f"burst reading: at {reading.at_s} s is not after the last at {state.readings[-1].at_s} s")
    kept = [r for r in state.readings if r.at_s > reading.at_s - policy.keep_s][-999:]
    history = (*kept, reading)
    soon = _forecast(history, reading.at_s + 2 * _interval(history))
    units, why = _units(policy, state, history, expected)
    spill = _spill(policy, state.spill, reading, soon)
    left = replace(state, readings=history, units=units, spill=spill)
    return Decision(units=units, spill=spill, why=why, state=left)


def _interval(history: Sequence[Reading]) -> float:
    return history[-1].at_s - history[-2].at_s if len(history) > 1 else 0.0


def _forecast(history: Sequence[Reading], at_s: float) -> float:
    """The rate at ``at_s`` if the last rise goes on; never below the last rate: a fall is believed late."""
    last = history[-1]
    if len(history) < 2:
        return last.rate
    slope = (last.rate - history[-2].rate) / (last.at_s - history[-2].at_s)
    return last.rate + max(0.0, slope) * (at_s - last.at_s)


def _units(
    policy: BurstPolicy, state: BurstState, history: Sequence[Reading], expected: Sequence[Expected]
) -> tuple[int, str]:
    """Up by the lowest need of ``rise_s``, down by the highest of ``keep_s``, never under a booking."""
    now = history[-1].at_s
    booked = max((e.rate for e in expected if e.from_s - policy.boot_s <= now < e.until_s), default=0.0)
    floor = policy.units_that_pay(booked)
    lasting, peak = _lasting_rate(policy, history), max(r.rate for r in history)
    up, down = policy.units_that_pay(lasting), policy.units_that_pay(peak)
    before = max(state.units, policy.units_min)
    wanted, why = before, "as it was"
    if up > before:
        wanted, why = up, f"{lasting:.0f} calls/s that last pay for {up} units"
    elif down < before:
        wanted, why = down, f"never above {peak:.0f} calls/s for {policy.keep_s:.0f} s: {down} units are enough"
    if floor > wanted:
        return floor, f"{booked:.0f} calls/s are expected: {floor} units"
    return wanted, why


def _lasting_rate(policy: BurstPolicy, history: Sequence[Reading]) -> float:
    """The lowest rate of ``rise_s``; in a steady rise, what it will be when units have booted."""
    now = history[-1]
    recent = [r for r in history if r.at_s > now.at_s - policy.rise_s]
    low = min(r.rate for r in recent)
    if len(history) > 1 and history[0].at_s > now.at_s - policy.rise_s:
        return 0.0  # too young to say; the first reading of all is taken as it is, so that a lost state is no outage
    if len(recent) > 2 and all(a.rate < b.rate for a, b in pairwise(recent)):  # noise does not rise six times in a row
        first = recent[0]
        return now.rate + (now.rate - first.rate) / (now.at_s - first.at_s) * policy.boot_s
    return low


def _spill(policy: BurstPolicy, before: int, reading: Reading, soon: float) -> int:
    """The share that leaves the base at ``heat`` at most when ``soon`` comes, as far as the spill can take it now."""
    if reading.rate <= 0:
        return max(0, before - policy.step_down)
    over = max(0.0, 1 - reading.units * policy.unit_rate * policy.heat / soon)
    ceiling = min(1.0, policy.spill_rate_max / reading.rate)
    wanted = math.ceil(min(over, ceiling) * WEIGHT_MAX)
    if wanted >= before:
        return wanted
    return before if before - wanted <= policy.dead_band else max(wanted, before - policy.step_down)
