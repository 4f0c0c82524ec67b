"""What changes the bill, and what a bad day costs.

Levers move one thing and price the whole design anew. Bad days are priced at the margin: what the extra calls and
tasks of that day cost on top of the month, with nobody refusing anything; shedding keeps the real figure below.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from eisbach.plan.cost.bill import Bill
from eisbach.plan.cost.model import bill_of, capacity
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.tariff import HOURS, ceiling, read_units
from eisbach.plan.cost.usage import Point, Usage, usage_of
from eisbach.plan.cost.workload import FRONT_DOORS, Design, Workload

__all__ = ["BadDay", "Lever", "bad_days", "levers"]

_DAY: Final = Decimal(24)


@dataclass(frozen=True, slots=True)
class Lever:
    """One change and what it does to a month of the design."""

    topic: str
    """``caching``, ``batching``, ``replication`` or ``regions``."""
    change: str
    delta: Decimal
    """USD a month; negative saves."""


@dataclass(frozen=True, slots=True)
class BadDay:
    """What one event costs on top of the month."""

    kind: str
    """``failover day``, ``surge day``, ``retry storm`` or ``retry storm, budget``."""
    design: str
    cost: Decimal | None
    """USD; None: the design cannot do it."""
    how: str


def levers(workload: Workload, design: Design, book: PriceBook) -> list[Lever]:
    """Caching, batching, replication by kind of item, and regions, seen from ``design``."""
    point = workload.point() | dict(design.overrides)
    free = replace(design, overrides={})

    def total(changed: Point, built: Design = free) -> Decimal:
        return bill_of(changed, built, book, workload.architecture).total

    base = total(point)
    found = [
        Lever(topic, words, total({**point, **changed}) - base)
        for topic, words, changed in _changes(workload, point)
        if any(point[name] != value for name, value in changed.items())
    ]
    return [*found, *_regions(workload, point, free, book)]


def _changes(workload: Workload, point: Point) -> Iterator[tuple[str, str, dict[str, Decimal]]]:
    hits = {f"calls.{name}.edge_hit": Decimal(0) for name in workload.names("calls")}
    yield "caching", "no edge cache for calls", hits
    for ratio in ("0.90", "0.99"):
        yield "caching", f"CDN hit ratio of media {ratio}", {"media.cdn_hit_ratio": Decimal(ratio)}
    for seconds in (10, 60):
        yield "batching", f"heartbeat every {seconds} s", {"cadence.heartbeat_seconds": Decimal(seconds)}
    yield "batching", "telemetry: 10 samples a call", {"cadence.telemetry_batch": Decimal(10)}
    for seconds in (30, 300):
        words = f"durable progress every {seconds} s"
        yield "batching", words, {"cadence.progress_seconds": Decimal(seconds)}
    yield "batching", "one event an envelope", {"events.per_envelope": Decimal(1)}
    for name in workload.names("items"):
        key = f"items.{name}.replicated"
        words = "not replicated" if point[key] else "replicated"
        yield "replication", f"{name} {words}", {key: Decimal(0) if point[key] else Decimal(1)}


def _regions(workload: Workload, point: Point, design: Design, book: PriceBook) -> Iterator[Lever]:
    """Every neighbouring shape with the same compute, in the workload's own regions."""
    known = list(dict.fromkeys(r for d in (design, *workload.designs) for r in d.regions))
    base = bill_of(point, design, book, workload.architecture).total
    for shape, count in (("single", 1), ("passive-cold", 2), ("passive-warm", 2), ("active-2", 2), ("active-3", 3)):
        if shape == design.shape or len(known) < count:
            continue
        other = replace(design, name=shape, shape=shape, regions=known[:count])
        total = bill_of(point, other, book, workload.architecture).total
        yield Lever("regions", f"{shape} instead of {design.shape}", total - base)


def bad_days(workload: Workload, design: Design, book: PriceBook) -> Sequence[BadDay]:
    """A failover day, a day with a surge, an hour of retries without and with the budget."""
    point = workload.point() | dict(design.overrides)
    usage = usage_of(point)
    month = bill_of(point, design, book, workload.architecture)
    standby = _Day(point, usage, design, book, workload.architecture, design.regions[-1], month)
    home = replace(standby, region=design.regions[0])
    return [standby.failover(), home.surge(), *home.storms()]


@dataclass(frozen=True, slots=True)
class _Day:
    point: Point
    usage: Usage
    design: Design
    book: PriceBook
    architecture: str
    region: str
    """Whose prices hold: the surviving region's in a failover, else the home's."""
    month: Bill
    """What the day comes on top of."""

    def failover(self) -> BadDay:
        shape, viewers = self.design.shape, self.point["audience.peak_viewers"]
        if shape == "single":
            return BadDay("failover day", self.design.name, None, "there is no second region: the day is an outage")
        adopted = viewers / self.design.active
        calls = adopted * self._calls_per_join()
        cost, how = self._calls(calls), f"{adopted:,.0f} viewers join again ({calls:,.0f} calls)"
        tasks = capacity(self.point, self.usage, self.design)
        if shape == "passive-cold":
            cost += self._tasks(tasks, _DAY) + self._backlog()
            how += f", {tasks:,.0f} tasks start in the standby, {self.point['store.log_days']} days of log are applied"
        elif shape == "passive-warm":
            more = tasks * (1 - self.point["compute.warm_share"])
            cost += self._tasks(more, _DAY)
            how += f", the standby grows by {more:,.0f} tasks"
        elif self.design.compute == "both":
            lost = self.usage.origin_calls / HOURS * _DAY / self.design.active
            cost += self._lambda(lost * (1 - self.point["compute.burst_share"]))
            how += ", the lost region's base load runs on Lambda"
        else:
            how += "; the capacity runs already"
        return BadDay("failover day", self.design.name, cost, how)

    def surge(self) -> BadDay:
        factor, hours = self.point["failure.surge_factor"], self.point["failure.surge_hours"]
        average = self.usage.viewer_hours / HOURS
        more = average * hours * (factor - 1)
        surged = {**self.point, "audience.viewer_hours": self.usage.viewer_hours + more}
        cost = bill_of(surged, self.design, self.book, self.architecture).total - self.month.total
        how = f"{factor} x the average audience for {hours} h: {more:,.0f} viewer-hours more, egress included"
        above = average * factor / self.point["audience.peak_viewers"]
        if self.design.compute == "fargate" and above > 1:
            tasks = ceiling(capacity(self.point, self.usage, self.design) * (above - 1)) * self.design.active
            cost += self._tasks(tasks, hours)
            how += f"; above the planned peak, {tasks:,.0f} more tasks"
        return BadDay("surge day", self.design.name, max(Decimal(0), cost), how)

    def storms(self) -> Iterator[BadDay]:
        retries, hours = self.point["failure.retries"], self.point["failure.storm_hours"]
        calls = self.usage.peak_calls * 3600 * hours
        for kind, times in (("retry storm", retries), ("retry storm, budget", self.point["failure.retry_budget"])):
            how = f"{hours} h at the peak, every call sent again {times} times: {calls * times:,.0f} calls more"
            yield BadDay(kind, self.design.name, self._calls(calls * times), how)

    def _calls_per_join(self) -> Decimal:
        found = (n.split(".")[1] for n in self.point if n.startswith("calls.") and n.endswith(".per_play"))
        return sum(
            (self.point[f"calls.{n}.per_play"] * (1 - self.point[f"calls.{n}.edge_hit"]) for n in found), Decimal(0)
        )

    def _calls(self, calls: Decimal) -> Decimal:
        """Front door, Lambda, reads and log of so many average calls; Fargate tasks are paid anyway, and shed."""
        cost = Decimal(0)
        if self.design.front_door != "alb":
            cost += self._price(FRONT_DOORS[self.design.front_door], calls)
        if self.design.compute != "fargate":
            cost += self._lambda(calls)
        read = sum((c.origin * c.reads * read_units(c.read_bytes) for c in self.usage.calls), Decimal(0))
        cost += self._price("dynamodb.read", calls * read / (self.usage.origin_calls or Decimal(1)))
        return cost + self._price("logs.ingest.gb", calls * self.point["logs.bytes_per_call"] / 2**30)

    def _lambda(self, calls: Decimal) -> Decimal:
        total = self.usage.origin_calls or Decimal(1)
        ms = sum((c.origin * ceiling(c.duration_ms) for c in self.usage.calls), Decimal(0)) / total
        seconds = calls * ms / 1000 * self.point["compute.lambda_memory_mb"] / 1024
        return self._price(f"lambda.gb_second.{self.architecture}", seconds) + self._price("lambda.request", calls)

    def _tasks(self, tasks: Decimal, hours: Decimal) -> Decimal:
        if self.design.compute == "lambda":
            return Decimal(0)
        vcpu, gb = self.point["compute.task_vcpu"], self.point["compute.task_gb"]
        return self._price(f"fargate.vcpu_hour.{self.architecture}", tasks * hours * vcpu) + self._price(
            f"fargate.gb_hour.{self.architecture}", tasks * hours * gb
        )

    def _backlog(self) -> Decimal:
        """Applying the kept log: what a warm standby pays in so many days."""
        warm = replace(self.design, shape="passive-warm")
        lines = bill_of(self.point, warm, self.book, self.architecture).lines
        month = sum((x.amount or Decimal(0) for x in lines if x.item.startswith("apply ")), Decimal(0))
        return month * self.point["store.log_days"] / (HOURS / 24)

    def _price(self, id_: str, quantity: Decimal) -> Decimal:
        before = self.month.quantity(self.region, id_)
        return self.book.get(self.region, id_).margin(before, quantity) or Decimal(0)
