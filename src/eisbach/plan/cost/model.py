"""What a design uses of AWS in a month, line by line (design sections 3, 4 and 10); its tables are in ``tables``."""

from decimal import Decimal
from typing import Final

from eisbach.plan.cost.bill import Bill, Meter
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.tables import Tables
from eisbach.plan.cost.tariff import (
    HOURS,
    ceiling,
    gigabytes,
    http_api_requests,
    lambda_duration_ms,
    lambda_gb_seconds,
    lcus,
    queue_requests,
)
from eisbach.plan.cost.usage import SECONDS, Point, Usage, connections_per_s, usage_of
from eisbach.plan.cost.workload import FRONT_DOORS, Design

__all__ = ["bill_of", "capacity"]

_BATCH: Final = 10
"""Messages a call of SQS; its own limit."""
_POLL_S: Final = 20
"""The longest long poll."""
_HEALTH_CHECKS: Final = 3
"""A region, from several vantage points (design section 5)."""
_ADDRESSES: Final = 3
"""Public IPv4 of a load balancer, one a zone."""


def bill_of(
    point: Point, design: Design, book: PriceBook, architecture: str, swing: dict[str, Decimal] | None = None
) -> Bill:
    """The month of ``design`` at ``point``.

    Args:
        point: one value for every assumption; the design's overrides lie over it.
        design: what is built.
        book: prices.
        architecture: ``arm`` or ``x86``.
        swing: price id -> factor on its list price, for the sensitivity.
    """
    point = {**point, **design.overrides}
    return _Model(point, design, architecture, Meter(book, swing or {})).bill()


def capacity(point: Point, usage: Usage, design: Design) -> Decimal:
    """Fargate tasks of one serving region at the peak, with room for the loss of one region where several serve."""
    share = Decimal(1) / max(1, design.active - 1)
    wanted = ceiling(usage.peak_cpu * share / point["compute.utilisation"] / point["compute.task_vcpu"])
    return max(wanted, design.cells * point["compute.tasks_per_cell"])


class _Model:
    def __init__(self, point: Point, design: Design, architecture: str, meter: Meter) -> None:
        self.point, self.design, self.architecture, self.meter = point, design, architecture, meter
        self.usage = usage_of(point)
        self.home = design.regions[0]
        self.serving = design.regions[: design.active]
        self.share = Decimal(1) / design.active
        warm = design.shape == "passive-warm"
        self.running = design.regions if warm else self.serving
        """Regions where compute, hub and front door run."""
        self.tables = Tables(point, design, self.usage, meter)

    def bill(self) -> Bill:
        self._egress()
        for index, region in enumerate(self.running):
            self._compute(region, serving=index < self.design.active)
            self._front_door(region, serving=index < self.design.active)
            self._events(region)
            self._network(region)
        self.tables.add(self.running)
        self._media()
        self._logs()
        return self.meter.bill()

    def _egress(self) -> None:
        usage, point, add = self.usage, self.point, self.meter.add
        cached = [call for call in usage.calls if call.cacheable]
        pages = gigabytes(sum((c.total * c.bytes_out for c in cached), Decimal(0)))
        gb, rate = usage.media_gb + pages, point["media.bitrate_mbit_s"]
        how = f"{_n(usage.viewer_hours)} h x 3600 s x {rate} Mbit/s / 8 / 2^30 + {_n(pages)} GB of pages"
        if discount := point["contract.egress_discount"]:
            how = f"{how}, at {discount} off the list price"
            listed = self.meter.swing.get("cloudfront.out.gb", Decimal(1))
            self.meter.swing = self.meter.swing | {"cloudfront.out.gb": listed * (1 - discount)}
        add(("egress", "video and pages to viewers"), self.home, "cloudfront.out.gb", gb, how)
        requests = usage.media_requests + sum((c.total for c in cached), Decimal(0))
        how = f"{_n(usage.viewer_hours)} h x 3600 s x {point['media.requests_per_second']}/s + cacheable calls"
        add(("egress", "requests to the CDN"), self.home, "cloudfront.https.request", requests, how)
        private = gigabytes(sum((c.origin * c.bytes_out for c in usage.calls if not c.cacheable), Decimal(0)))
        for region in self.serving:
            how = f"answers of private calls x {_part(self.design.active)}"
            add(("egress", "private calls to viewers"), region, "internet.out.gb", private * self.share, how)

    def _compute(self, region: str, *, serving: bool) -> None:
        kind = self.design.compute
        if kind == "lambda":
            if serving:
                self._lambda(region, Decimal(1))
            self._lambda_spokes(region)
        elif kind == "fargate":
            tasks = capacity(self.point, self.usage, self.design)
            running = max(tasks * self.point["compute.average_to_peak"], self._least())
            how = f"{_n(tasks)} tasks at the peak x {self.point['compute.average_to_peak']} on average"
            if not serving:
                running, how = tasks * self.point["compute.warm_share"], f"{_n(tasks)} tasks x warm share"
            self._fargate(region, "cells", running, how)
            self._fargate_spokes(region)
        elif kind == "both":
            burst = self.point["compute.burst_share"]
            busy = self.usage.cpu_seconds / SECONDS * (1 - burst) * self.share
            tasks = ceiling(busy / self.point["compute.utilisation"] / self.point["compute.task_vcpu"])
            running = max(tasks, self._least())
            how = f"{_n(tasks)} tasks for the average load, {_n(running)} at least; what exceeds it runs on Lambda"
            if not serving:
                running = running * self.point["compute.warm_share"]
            else:
                self._lambda(region, burst)
            self._fargate(region, "cells", running, how)
            self._fargate_spokes(region)

    def _least(self) -> Decimal:
        return self.design.cells * self.point["compute.tasks_per_cell"]

    def _lambda(self, region: str, part: Decimal) -> None:
        memory = self.point["compute.lambda_memory_mb"]
        share = self.share * part
        seconds = sum(
            (lambda_gb_seconds(c.origin * share, c.duration_ms, memory) for c in self.usage.calls), Decimal(0)
        )
        words = f"{_n(self.usage.origin_calls)} calls x {_part(self.design.active)}" + (
            f" x {part}" if part != 1 else ""
        )
        id_ = f"lambda.gb_second.{self.architecture}"
        how = f"{words}, each rounded up to 1 ms, x {memory}/1024 GB"
        self.meter.add(("compute", "Lambda time"), region, id_, seconds, how)
        calls = self.usage.origin_calls * share
        self.meter.add(("compute", "Lambda calls"), region, "lambda.request", calls, words)

    def _fargate(self, region: str, what: str, tasks: Decimal, how: str) -> None:
        hours = tasks * HOURS
        for unit, each in (("vcpu_hour", "compute.task_vcpu"), ("gb_hour", "compute.task_gb")):
            id_, size = f"fargate.{unit}.{self.architecture}", self.point[each]
            words = "Fargate vCPU" if unit == "vcpu_hour" else "Fargate memory"
            self.meter.add(("compute", f"{words}, {what}"), region, id_, hours * size, f"{how} x 730 h x {size}")

    def _handled(self) -> Decimal:
        """Events that one region's spokes handle in a month: every region's hub has every replicated event."""
        return self._region_events() * self.point["events.spokes"]

    def _region_events(self) -> Decimal:
        everywhere = sum((item.writes * item.replicated for item in self.usage.written), Decimal(0))
        own = (self.usage.writes - everywhere) * self.share
        return (everywhere + own) * self.point["events.per_write"]

    def _lambda_spokes(self, region: str) -> None:
        events, size = self._handled(), self.point["events.per_envelope"]
        batch = size * _BATCH
        runs = ceiling(events / batch)
        memory = self.point["compute.lambda_memory_mb"]
        run_ms = lambda_duration_ms(batch * self.point["events.cpu_ms"], Decimal(0), memory)
        seconds = lambda_gb_seconds(runs, run_ms, memory)
        how = f"{_n(events)} events / {batch} a run"
        id_ = f"lambda.gb_second.{self.architecture}"
        self.meter.add(("compute", "Lambda time of spokes"), region, id_, seconds, f"{how}, x {memory}/1024 GB")
        self.meter.add(("compute", "Lambda calls of spokes"), region, "lambda.request", runs, how)

    def _fargate_spokes(self, region: str) -> None:
        busy = self._handled() * self.point["events.cpu_ms"] / 1000 / SECONDS
        tasks = max(Decimal(1), ceiling(busy / self.point["compute.utilisation"] / self.point["compute.task_vcpu"]))
        self._fargate(region, "spokes", tasks, f"{_n(tasks)} tasks for {_n(self._handled())} events")

    def _front_door(self, region: str, *, serving: bool) -> None:
        door, usage = self.design.front_door, self.usage
        if door != "alb":
            if serving:
                units = sum((c.origin * http_api_requests(c.bytes_out) for c in usage.calls), Decimal(0)) * self.share
                how = f"{_n(usage.origin_calls)} calls x {_part(self.design.active)}, metered in 512 KB"
                self.meter.add(("front door", f"calls ({door})"), region, FRONT_DOORS[door], units, how)
            return
        self.meter.add(("front door", "load balancer"), region, "alb.hour", HOURS, "1 x 730 h")
        if serving:
            bytes_ = sum((c.origin * c.bytes_out for c in usage.calls), Decimal(0)) * self.share
            need = lcus(
                new_per_s=connections_per_s(usage) * self.share,
                active=usage.viewer_hours / HOURS * self.share,
                gb_per_hour=gigabytes(bytes_) / HOURS,
            )
            how = f"highest of new, open connections and GB: {_n(need)} LCU x 730 h"
            self.meter.add(("front door", "load balancer units"), region, "alb.lcu_hour", need * HOURS, how)

    def _events(self, region: str) -> None:
        events, point, add = self._region_events(), self.point, self.meter.add
        envelopes = events / point["events.per_envelope"]
        chunks = queue_requests(point["events.per_envelope"] * point["events.bytes"])
        how = f"{_n(events)} events / {point['events.per_envelope']} an envelope x {chunks} of 64 KB"
        add(("events", "SNS publications"), region, "sns.publish", envelopes * chunks, how)
        self.tables.add_envelopes(region, envelopes)
        sends = envelopes * chunks
        receives = max(envelopes / _BATCH, sends)
        polls = point["events.pollers"] * SECONDS / _POLL_S
        requests = point["events.spokes"] * (sends + receives + envelopes / _BATCH + polls)
        how = f"{point['events.spokes']} spokes x ({_n(envelopes)} sent, received, deleted by 10; {_n(polls)} polls)"
        add(("events", "SQS requests"), region, "sqs.request", requests, how)

    def _media(self) -> None:
        usage, point, add = self.usage, self.point, self.meter.add
        for region in self.design.regions:
            add(
                ("media", "library stored"),
                region,
                "s3.storage.gb_month",
                usage.library_gb,
                f"{point['media.library_tb']} TB",
            )
            how = f"{point['media.new_tb_per_month']} TB in segments"
            add(("media", "new media, puts"), region, "s3.put", usage.segments, how)
        misses = usage.media_requests * (1 - point["media.cdn_hit_ratio"])
        for region in self.serving:
            hit = f"(1 - {point['media.cdn_hit_ratio']})"
            how = f"{_n(usage.media_requests)} requests x {hit} x {_part(self.design.active)}"
            add(("media", "gets that miss the CDN"), region, "s3.get", misses * self.share, how)
        hours = point["media.encode_vcpu_hours"]
        add(("media", "encoding, vCPU"), self.home, f"fargate.vcpu_hour.{self.architecture}", hours, f"{hours} vCPU-h")
        memory = f"fargate.gb_hour.{self.architecture}"
        add(("media", "encoding, memory"), self.home, memory, hours * 2, f"{hours} vCPU-h x 2 GB")
        convert = point["media.convert_minutes"]
        add(("media", "MediaConvert"), self.home, "mediaconvert.minute", convert, f"{convert} minutes")
        for region in self.design.regions[1:]:
            words = f"{point['media.new_tb_per_month']} TB to {region}"
            add(("network", f"media to {region}"), self.home, "interregion.out.gb", usage.new_gb, words)

    def _logs(self) -> None:
        each = self.point["logs.bytes_per_call"]
        for region in self.serving:
            gb = gigabytes(self.usage.origin_calls * each) * self.share
            how = f"{_n(self.usage.origin_calls)} calls x {each} bytes x {_part(self.design.active)}"
            self.meter.add(("logs", "logs written"), region, "logs.ingest.gb", gb, how)
            months, stored = self.point["logs.months_kept"], self.point["logs.stored_share"]
            kept = gb * stored * months
            how = f"{_n(gb)} GB x {stored} (compressed) x {months} months"
            self.meter.add(("logs", "logs kept"), region, "logs.store.gb_month", kept, how)

    def _network(self, region: str) -> None:
        add, gateways = self.meter.add, self.point["network.nat_gateways"]
        addresses = Decimal(_ADDRESSES) if self.design.front_door == "alb" else Decimal(0)
        if self.design.compute != "lambda":
            add(("network", "NAT gateways"), region, "nat.hour", gateways * HOURS, f"{gateways} x 730 h")
            add(("network", "through NAT"), region, "nat.gb", self.point["network.nat_gb"], "images, AWS APIs")
            addresses += gateways
        add(("network", "public IPv4"), region, "ipv4.hour", addresses * HOURS, f"{addresses} x 730 h")
        how = f"{_HEALTH_CHECKS} a region"
        add(("network", "health checks"), region, "route53.health_check", Decimal(_HEALTH_CHECKS), how)
        if region == self.home:
            add(("network", "DNS zone"), region, "route53.zone", Decimal(1), "1")
            plays = self.usage.plays * 2
            add(("network", "DNS queries"), region, "route53.query.latency", plays, f"{_n(self.usage.plays)} plays x 2")


def _part(active: int) -> str:
    return "all" if active == 1 else f"1/{active}"


def _n(value: Decimal) -> str:
    """A number for a formula: four significant digits at least, thousands grouped."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value else "0"
