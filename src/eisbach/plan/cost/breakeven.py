"""Lambda against Fargate: from which average load on is Fargate cheaper, for the calls of this workload?

Both sides have their front door and the same calls; Fargate has its minimum of tasks and is sized for the peak.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.tariff import HOURS, ceiling, gigabytes, lcus
from eisbach.plan.cost.usage import SECONDS, connections_per_s, usage_of
from eisbach.plan.cost.workload import Workload

__all__ = ["BreakEven", "break_even", "rate_where_equal"]

_PER_DECADE: Final = 12
_FIRST: Final = Decimal("0.1")
_DECADES: Final = 6


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Both curves, and where they cross."""

    region: str
    points: Sequence[tuple[Decimal, Decimal, Decimal]]
    """(average calls a second, USD a month on Lambda, on Fargate), rising."""
    cheaper_from: Decimal | None
    """Average calls a second from which Fargate stays cheaper; None: not below the last point."""
    here: Decimal
    """The workload's own average."""
    cpu_ms: Decimal
    """CPU of its average call."""
    billed_ms: Decimal
    """What Lambda bills for its average call."""


def rate_where_equal(fixed: Decimal, per_call: Decimal) -> Decimal:
    """Average calls a second, over a month, at which ``per_call`` has cost ``fixed`` USD.

    Raises:
        ValueError: calls that cost nothing never reach it.
    """
    if per_call <= 0:
        raise ValueError(f"a call costs {per_call} USD; it must be more than 0")
    return fixed / per_call / SECONDS


def break_even(workload: Workload, book: PriceBook, region: str) -> BreakEven:
    """The curves of the workload's average call in ``region``: Lambda behind an HTTP API, Fargate behind an ALB."""
    point = workload.point()
    usage = usage_of(point)
    total = usage.origin_calls
    cpu = sum((c.origin * c.cpu_ms for c in usage.calls), Decimal(0)) / total
    billed = sum((c.origin * ceiling(c.duration_ms) for c in usage.calls), Decimal(0)) / total
    average = total / SECONDS
    out = sum((c.origin * c.bytes_out for c in usage.calls), Decimal(0))
    peak_to_average = max(Decimal(1), usage.peak_cpu / (usage.cpu_seconds / SECONDS))
    kind = workload.architecture

    def charge(id_: str, quantity: Decimal) -> Decimal:
        return book.get(region, id_).charge(quantity) or Decimal(0)

    def on_lambda(rate: Decimal) -> Decimal:
        calls = rate * SECONDS
        seconds = calls * billed / 1000 * point["compute.lambda_memory_mb"] / 1024
        time = charge(f"lambda.gb_second.{kind}", seconds)
        return time + charge("lambda.request", calls) + charge("http_api.request", calls)

    def on_fargate(rate: Decimal) -> Decimal:
        busy = rate * cpu / 1000 * peak_to_average / point["compute.utilisation"] / point["compute.task_vcpu"]
        tasks = max(point["compute.tasks_per_cell"], ceiling(busy) * point["compute.average_to_peak"])
        vcpu = charge(f"fargate.vcpu_hour.{kind}", tasks * HOURS * point["compute.task_vcpu"])
        memory = charge(f"fargate.gb_hour.{kind}", tasks * HOURS * point["compute.task_gb"])
        part = rate / average
        units = lcus(
            new_per_s=connections_per_s(usage) * part, active=usage.viewer_hours / HOURS * part,
            gb_per_hour=gigabytes(out) / HOURS * part,
        )  # fmt: skip
        return vcpu + memory + charge("alb.hour", HOURS) + charge("alb.lcu_hour", units * HOURS)

    rates = [_FIRST * Decimal(10) ** (Decimal(n) / _PER_DECADE) for n in range(_PER_DECADE * _DECADES + 1)]
    points = [(rate, on_lambda(rate), on_fargate(rate)) for rate in rates]
    dearer = [index for index, (_, lam, far) in enumerate(points) if far >= lam]
    first = dearer[-1] + 1 if dearer else 0
    crossing = None
    if first < len(points):
        low, high = (rates[first - 1], rates[first]) if first else (Decimal(0), rates[0])
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if on_fargate(middle) < on_lambda(middle) else (middle, high)
        crossing = high
    return BreakEven(region, points, crossing, average, cpu, billed)
