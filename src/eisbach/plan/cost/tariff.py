"""Prices with tiers, and the rules by which AWS rounds what it meters.

Promises: exact decimals; ``charge`` is never negative, grows with the quantity and is continuous at tier boundaries.
Sources of the rules are AWS's pricing pages, named at each function; ``test_aws_examples.py`` holds the code to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Final

__all__ = [
    "CONFIDENCE",
    "GB",
    "HOURS",
    "Price",
    "Tier",
    "ceiling",
    "fargate_seconds",
    "gb_months",
    "gigabytes",
    "http_api_requests",
    "lambda_duration_ms",
    "lambda_gb_seconds",
    "lcus",
    "queue_requests",
    "read_units",
    "write_units",
]

GB: Final = Decimal(2**30)
"""Bytes in what AWS bills as a GB (S3 FAQ, "How will I be charged": 1 GB = 1,073,741,824 bytes)."""
HOURS: Final = Decimal(730)
"""Hours in the month of AWS's calculator: 365 * 24 / 12."""
CONFIDENCE: Final = {"high": Decimal("0.02"), "medium": Decimal("0.10"), "low": Decimal("0.25")}
"""How far a price may be off: read from a price list or a bill; derived; remembered. Our judgement."""
_KIB: Final = 1024
_LAMBDA_FULL_CPU_MB: Final = Decimal(1769)


@dataclass(frozen=True, slots=True)
class Tier:
    """From ``start`` units a month on, each unit costs ``price``."""

    start: Decimal
    price: Decimal
    """USD per single unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One row of the price list."""

    id: str
    unit: str
    region: str
    tiers: Sequence[Tier]
    """Rising starts, the first is 0; empty: nobody knows, so nothing is charged and the line is listed as unpriced."""
    service: str
    usage_type: str
    """AWS's own usage type: the key into the price list and into a bill."""
    source: str
    date: date
    """When the value was last seen at its source."""
    confidence: str
    per: int = 1
    """How many units the written price is for; only for showing it as AWS does."""
    operation: str = ""
    """AWS's operation, where the usage type alone is ambiguous."""
    note: str = ""

    @property
    def known(self) -> bool:
        """Whether anybody knows it."""
        return bool(self.tiers)

    def charge(self, quantity: Decimal) -> Decimal | None:
        """USD for ``quantity`` units in one month, tier by tier; None when the price is unknown.

        Raises:
            ValueError: a negative quantity, which is a bug of the caller.
        """
        return self.margin(Decimal(0), quantity)

    def margin(self, before: Decimal, more: Decimal) -> Decimal | None:
        """USD that ``more`` units cost on top of ``before`` in the same month; None when the price is unknown.

        Raises:
            ValueError: as ``charge``.
        """
        if min(before, more) < 0:
            raise ValueError(f"{self.id}: {min(before, more)} {self.unit} is less than nothing")
        if not self.tiers:
            return None
        total, after = Decimal(0), before + more
        for index, tier in enumerate(self.tiers):
            end = self.tiers[index + 1].start if index + 1 < len(self.tiers) else after
            if tier.start <= before and after <= end:
                return more * tier.price  # all of it in one tier, as nearly always: no digit is lost
            total += max(Decimal(0), min(after, end) - max(before, tier.start)) * tier.price
        return total


def ceiling(value: Decimal, step: Decimal = Decimal(1)) -> Decimal:
    """``value`` rounded up to whole steps, as a count of steps."""
    return (value / step).to_integral_value(ROUND_CEILING)


def gigabytes(bytes_: Decimal) -> Decimal:
    """Bytes as AWS's GB."""
    return bytes_ / GB


def gb_months(byte_hours: Decimal, hours_in_month: int) -> Decimal:
    """Byte-hours as GB-months (S3 FAQ, storage example)."""
    return byte_hours / GB / hours_in_month


def lambda_gb_seconds(requests: Decimal, duration_ms: Decimal, memory_mb: Decimal) -> Decimal:
    """Duration is rounded up to 1 ms a request; memory in GB is MB/1024 (aws.amazon.com/lambda/pricing)."""
    return requests * ceiling(duration_ms) / 1000 * memory_mb / _KIB


def lambda_duration_ms(cpu_ms: Decimal, wait_ms: Decimal, memory_mb: Decimal) -> Decimal:
    """How long a call runs: Lambda gives CPU by memory, one vCPU at 1,769 MB (Lambda developer guide, "memory")."""
    return cpu_ms * max(Decimal(1), _LAMBDA_FULL_CPU_MB / memory_mb) + wait_ms


def write_units(item_bytes: Decimal, *, transactional: bool = False) -> Decimal:
    """1 KB a unit, rounded up an item; a transactional write is twice (aws.amazon.com/dynamodb/pricing, key terms)."""
    return max(Decimal(1), ceiling(item_bytes, Decimal(_KIB))) * (2 if transactional else 1)


def read_units(item_bytes: Decimal, *, kind: str = "strong") -> Decimal:
    """4 KB a unit, rounded up; ``eventual`` is half, ``transactional`` twice (the same page)."""
    factor = {"strong": Decimal(1), "eventual": Decimal("0.5"), "transactional": Decimal(2)}[kind]
    return max(Decimal(1), ceiling(item_bytes, Decimal(4 * _KIB))) * factor


def queue_requests(payload_bytes: Decimal) -> Decimal:
    """SQS and SNS bill every 64 KB chunk of a call as a request (aws.amazon.com/sqs/pricing, /sns/pricing)."""
    return max(Decimal(1), ceiling(payload_bytes, Decimal(64 * _KIB)))


def http_api_requests(payload_bytes: Decimal) -> Decimal:
    """HTTP API calls are metered in 512 KB increments (aws.amazon.com/api-gateway/pricing)."""
    return max(Decimal(1), ceiling(payload_bytes, Decimal(512 * _KIB)))


def fargate_seconds(seconds: Decimal) -> Decimal:
    """Rounded up to a second, one minute at least (aws.amazon.com/fargate/pricing)."""
    return max(Decimal(60), ceiling(seconds))


def lcus(*, new_per_s: Decimal, active: Decimal, gb_per_hour: Decimal, rules_per_s: Decimal = Decimal(0)) -> Decimal:
    """Load balancer capacity units: the highest of four dimensions (aws.amazon.com/elasticloadbalancing/pricing).

    25 new connections a second, 3,000 active, 1 GB an hour (targets that are not Lambda), 1,000 rules a second.
    """
    return max(new_per_s / 25, active / 3000, gb_per_hour, rules_per_s / 1000)
