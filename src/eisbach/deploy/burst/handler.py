"""One handler in two forms, priced: a container of the base and a function of the spill, as a ``BurstPolicy``.

Promises: every price comes from the price list with its confidence; an unknown price is refused, never taken as 0.
The balancer is in front of both and left out. A container overlaps waiting, so only its CPU counts; a function is
billed while it waits, and has CPU by its memory.

Sources: Lambda developer guide, "Lambda quotas" and "function scaling": a function serves ten calls a second for each
execution environment at most, and gains 1,000 environments each ten seconds.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from eisbach.control.burst import BurstPolicy
from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.breakeven import break_even
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.tariff import ceiling, lambda_duration_ms
from eisbach.plan.cost.workload import Workload

__all__ = ["Handler", "handler_of", "policy_of", "prices_of", "spill_growth"]

_CALLS_PER_ENVIRONMENT: Final = 10
_ENVIRONMENTS_PER_TEN_SECONDS: Final = 1_000
_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "cpu_ms": ("0.001", "60000"),
    "wait_ms": ("0", "60000"),
    "memory_mb": ("128", "10240"),
    "task_vcpu": ("0.25", "16"),
    "task_gb": ("0.5", "120"),
    "environments": ("1", "1000000"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What one call needs, and in which sizes it runs. The defaults are assumptions: measure your own."""

    cpu_ms: Decimal = Decimal(4)
    """CPU of a call on one whole vCPU."""
    wait_ms: Decimal = Decimal(6)
    """What it waits for: the store's round trips."""
    memory_mb: Decimal = Decimal(512)
    """Of the function; CPU comes with it, a whole vCPU at 1,769."""
    task_vcpu: Decimal = Decimal("0.5")
    task_gb: Decimal = Decimal(1)
    architecture: str = "arm"
    environments: Decimal = Decimal(1000)
    """Concurrent executions the account may have (its quota; 1,000 in a new account)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            Invalid: with the field, its value and its bounds.
        """
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not (value.is_finite() and Decimal(least) <= value <= Decimal(most)):
                raise Invalid(f"handler: {name} is {value}; it must be from {least} to {most}")
        if self.architecture not in ("arm", "x86"):
            raise Invalid(f"handler: architecture is {self.architecture!r}; it must be arm or x86")

    @property
    def duration_ms(self) -> Decimal:
        """How long the function runs for a call."""
        return lambda_duration_ms(self.cpu_ms, self.wait_ms, self.memory_mb)

    @property
    def unit_rate(self) -> float:
        """Calls a second that fill a container's CPU."""
        return float(self.task_vcpu * 1000 / self.cpu_ms)


def handler_of(workload: Workload, book: PriceBook, region: str) -> Handler:
    """The average call of a cost workload."""
    point, edge = workload.point(), break_even(workload, book, region)
    stretch = lambda_duration_ms(Decimal(1), Decimal(0), point["compute.lambda_memory_mb"])
    return Handler(
        cpu_ms=round(edge.cpu_ms, 3),
        wait_ms=max(Decimal(0), round(edge.billed_ms - edge.cpu_ms * stretch, 3)),
        memory_mb=point["compute.lambda_memory_mb"],
        task_vcpu=point["compute.task_vcpu"],
        task_gb=point["compute.task_gb"],
        architecture=workload.architecture,
    )


def prices_of(handler: Handler, book: PriceBook, region: str) -> dict[str, Decimal]:
    """USD by price id, of one unit in the first tier.

    Raises:
        Invalid: the list does not know the region or one of the prices.
    """
    kind = handler.architecture
    ids = (f"fargate.vcpu_hour.{kind}", f"fargate.gb_hour.{kind}", f"lambda.gb_second.{kind}", "lambda.request")
    found: dict[str, Decimal] = {}
    for id_ in ids:
        price = book.get(region, id_)
        if not price.known:
            raise Invalid(f"the price {id_} of {region} is unknown; give a list that has it with --prices FOLDER")
        found[id_] = price.tiers[0].price
    return found


def policy_of(handler: Handler, book: PriceBook, region: str, **chosen: float) -> BurstPolicy:
    """The policy for ``handler`` at the prices of ``region``; ``chosen`` are fields of ``BurstPolicy`` to set.

    Raises:
        Invalid: an unknown price, or a field that cannot be meant.
    """
    kind, prices = handler.architecture, prices_of(handler, book, region)
    hour = handler.task_vcpu * prices[f"fargate.vcpu_hour.{kind}"] + handler.task_gb * prices[f"fargate.gb_hour.{kind}"]
    seconds = ceiling(handler.duration_ms) / 1000  # billed by the whole millisecond
    call = prices["lambda.request"] + seconds * handler.memory_mb / 1024 * prices[f"lambda.gb_second.{kind}"]
    policy = BurstPolicy(
        unit_rate=handler.unit_rate,
        unit_price_hour=float(hour),
        spill_price_call=float(call),
        spill_rate_max=_rate(handler, handler.environments),
    )
    return dataclasses.replace(policy, **chosen)  # type: ignore[arg-type]  # BurstPolicy checks them itself


def spill_growth(handler: Handler) -> float:
    """Calls a second that the functions' capacity gains in ten seconds."""
    return _rate(handler, Decimal(_ENVIRONMENTS_PER_TEN_SECONDS))


def _rate(handler: Handler, environments: Decimal) -> float:
    return float(environments * min(Decimal(_CALLS_PER_ENVIRONMENT), 1000 / max(handler.duration_ms, Decimal(1))))
