"""What counted things cost, item by item: list prices of ``plan/cost`` for eu-central-1. Pure; no emulator, no clock.

What is assumed and not counted is a constant here with its reason, and is said in the rows that it makes.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from eisbach.plan.cost.prices import PriceBook

REGION = "eu-central-1"
WORKS_SHARE = 0.5
"""Of a task's processor that is in work on average: the rest is the other region's viewers after a failover."""
GB_A_VCPU = 2.0
"""As the example platform's tasks: half a processor, 1 GB."""
CONNECTIONS_A_LCU, NEW_A_LCU, GB_A_LCU, RULES_A_LCU = 3000, 25, 1.0, 1000
"""AWS's four measures of an LCU, of which the largest is billed (Elastic Load Balancing pricing page)."""


@dataclass(slots=True)
class Counted:
    """Of the whole window, both regions."""

    viewer_hours: float
    viewers: int
    requests: int
    joins: int
    bytes_in: int
    bytes_out: int
    bytes_between: int = 0
    """From one region to the other."""
    write_units: float = 0.0
    replicated_units: float = 0.0
    """On the log, which is replicated, and all of which is deleted seven days later at as many units again."""
    read_units: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    """Of AWS's services, by ``service.Operation``."""
    written: Counter[str] = field(default_factory=Counter)
    """Write units by what was written."""
    logged: Counter[str] = field(default_factory=Counter)
    """Ops in rows of the log by what they are."""
    task_cpu_s: float = 0.0
    lambda_calls: int = 0
    lambda_gb_s: float = 0.0

    def add(self, usage: Mapping[str, Any]) -> None:
        """What an engine counted (``AwsUsage`` as ``/status`` tells it)."""
        calls = Counter(usage["calls"])
        self.calls += calls
        self.written += Counter(usage["written"])
        self.logged += Counter(usage["logged"])
        self.write_units += usage["write_units"]
        self.replicated_units += usage["replicated_units"]
        # The emulator tells no units of batches. Every row here is under 4 KB, so a row is a unit, as on AWS.
        self.read_units += usage["read_units"] + usage["batch_rows"]


def usage_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What was used from one ``/status`` to the next."""
    numbers = ("read_units", "write_units", "replicated_units", "batch_rows")
    counters = {name: Counter(after[name]) for name in ("calls", "written", "logged")}
    for name, counter in counters.items():
        counter.subtract(before[name])
    return {
        **{name: +counter for name, counter in counters.items()},
        **{name: after[name] - before[name] for name in numbers},
    }


def bill(counted: Counted, book: PriceBook, *, door: str) -> dict[str, float]:
    """USD a viewer-hour by item; ``door``: ``alb`` with tasks, or ``http-api`` with functions."""

    def usd(price: str, units: float) -> float:
        charge = book.get(REGION, price).charge(Decimal(str(units)))
        if charge is None:
            raise ValueError(f"no price of {price}")
        return float(charge)

    sqs = sum(count for call, count in counted.calls.items() if call.startswith("sqs."))
    items = {
        "DynamoDB, writes": usd("dynamodb.write", counted.write_units),
        "DynamoDB, writes replicated": usd("dynamodb.replicated_write", counted.replicated_units),
        "DynamoDB, log forgotten": usd("dynamodb.write", counted.replicated_units)
        + usd("dynamodb.replicated_write", counted.replicated_units),
        "DynamoDB, reads": usd("dynamodb.read", counted.read_units),
        "SNS, publications": usd("sns.publish", counted.calls["sns.Publish"]),
        "SQS, requests": usd("sqs.request", sqs),
        "transfer to viewers": usd("internet.out.gb", counted.bytes_out / 1e9),
        "transfer between regions": usd("interregion.out.gb", counted.bytes_between / 1e9),
    }
    if door == "alb":
        items["ALB, capacity units"] = usd("alb.lcu_hour", lcu_hours(counted))
        seconds = counted.task_cpu_s / WORKS_SHARE
        items["Fargate, ARM"] = usd("fargate.vcpu_hour.arm", seconds / 3600) + usd(
            "fargate.gb_hour.arm", seconds * GB_A_VCPU / 3600
        )
    else:
        items["HTTP API, requests"] = usd("http_api.request", counted.requests)
        items["Lambda, requests"] = usd("lambda.request", counted.lambda_calls)
        items["Lambda, ARM, time"] = usd("lambda.gb_second.arm", counted.lambda_gb_s)
    return {name: cost / counted.viewer_hours for name, cost in items.items()}


def breakdown(counted: Counted) -> dict[str, tuple[float, str]]:
    """What the write units of a viewer-hour are, and the ops in the log: what -> (how many, unit), most first."""
    units = {f"written, {what}": (n / counted.viewer_hours, "WRU") for what, n in counted.written.most_common()}
    ops = {f"logged, {what}": (n / counted.viewer_hours, "ops") for what, n in counted.logged.most_common()}
    return units | ops


def lcu_hours(counted: Counted) -> float:
    """The largest of AWS's four measures; a viewer keeps one connection open, and a join opens one (workload.md)."""
    hours = counted.viewer_hours / counted.viewers
    return max(
        counted.viewers * hours / CONNECTIONS_A_LCU,
        counted.joins / 3600 / NEW_A_LCU,
        (counted.bytes_in + counted.bytes_out) / 1e9 / GB_A_LCU,
        counted.requests / 3600 / RULES_A_LCU,
    )
