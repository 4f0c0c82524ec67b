"""A rehearsal of several traces: every way to run the handler on each, and what follows from it.

Promises: pure; equal arguments give equal reports. Money is of base and spill at list prices; the balancer, the store
and what is sent are the same for all and left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eisbach.control.burst import BurstPolicy, Expected
from eisbach.deploy.burst.handler import Handler, spill_growth
from eisbach.deploy.burst.rehearsal import STRATEGIES, Outcome, rehearse

__all__ = ["LIMITS", "Rehearsed", "Report", "as_json", "report_of"]

LIMITS: Final = (
    "the platforms are models (deploy/burst/rehearsal.py): steady units, a boot time, the functions' quota and growth",
    "cold starts of functions cost time, not refusals, and are not shown",
    "a refused call is counted once; clients' retries are not modelled",
    "balancer, store and egress are the same for every way and left out",
    "never run on AWS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """One trace, every strategy."""

    trace: str
    seconds: int
    peak: float
    """Calls a second, the highest second."""
    booked: tuple[Expected, ...]
    outcomes: tuple[Outcome, ...]
    """In the order of ``STRATEGIES``; then, where something was booked, the hybrid without its booking."""

    def outcome(self, strategy: str) -> Outcome:
        """Of that strategy."""
        return next(o for o in self.outcomes if o.strategy == strategy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All traces under one policy."""

    handler: Handler
    policy: BurstPolicy
    region: str
    prices: Mapping[str, str]
    """Price id -> USD a unit."""
    rehearsed: tuple[Rehearsed, ...]


def report_of(
    traces: Mapping[str, Sequence[float]],
    booked: Mapping[str, tuple[Expected, ...]],
    handler: Handler,
    policy: BurstPolicy,
    *,
    region: str,
    prices: Mapping[str, str],
) -> Report:
    """Play every trace against every strategy; ``booked`` are the loads known beforehand, by trace."""
    growth = spill_growth(handler)
    found: list[Rehearsed] = []
    for name, rates in traces.items():
        expected = booked.get(name, ())
        outcomes = [rehearse(s, rates, policy, spill_growth=growth, expected=expected) for s in STRATEGIES]
        if expected:
            surprised = rehearse("hybrid", rates, policy, spill_growth=growth)
            surprised.strategy = "hybrid, not told"
            outcomes.append(surprised)
        found.append(
            Rehearsed(trace=name, seconds=len(rates), peak=max(rates), booked=tuple(expected), outcomes=tuple(outcomes))
        )
    return Report(handler=handler, policy=policy, region=region, prices=prices, rehearsed=tuple(found))


def as_json(report: Report) -> dict[str, Any]:
    """The report without its curves."""
    p, h = report.policy, report.handler
    return {
        "schema": "eisbach.burst.rehearsal/1",
        "region": report.region,
        "handler": {
            "cpu_ms": str(h.cpu_ms),
            "wait_ms": str(h.wait_ms),
            "duration_ms": str(round(h.duration_ms, 3)),
            "memory_mb": str(h.memory_mb),
            "task_vcpu": str(h.task_vcpu),
            "task_gb": str(h.task_gb),
            "architecture": h.architecture,
        },
        "prices": dict(report.prices),
        "break_even_calls_per_s": round(p.break_even, 2),
        "unit": {"calls_per_s": round(p.unit_rate, 2), "usd_per_hour": p.unit_price_hour},
        "spill": {"usd_per_million_calls": p.spill_price_call * 1e6, "calls_per_s_max": round(p.spill_rate_max, 1)},
        "traces": [
            {
                "trace": r.trace,
                "seconds": r.seconds,
                "peak_calls_per_s": round(r.peak, 1),
                "ways": [
                    {
                        "way": o.strategy,
                        "calls": round(o.calls),
                        "refused": round(o.refused),
                        "usd": round(o.dollars, 6),
                        "usd_base": round(o.base_dollars, 6),
                        "usd_spill": round(o.spill_dollars, 6),
                        "launches": o.launches,
                        "weight_changes": o.weight_changes,
                    }
                    for o in r.outcomes
                ],
            }
            for r in report.rehearsed
        ],
        "limits": list(LIMITS),
    }
