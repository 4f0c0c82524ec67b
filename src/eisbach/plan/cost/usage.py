"""From a workload to quantities: calls, writes, events and capacity of one month. Pure arithmetic, no prices.

A point is one value for every assumption, by dotted name. Rates of a peak are of the whole platform; the model divides
them over regions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from eisbach.plan.cost.tariff import HOURS, ceiling, gigabytes, lambda_duration_ms

__all__ = ["SECONDS", "Call", "Point", "Usage", "Written", "usage_of"]

Point = Mapping[str, Decimal]
SECONDS: Final = HOURS * 3600
"""Of a month."""
_TB: Final = Decimal(10) ** 12
_TLS_PER_PLAY: Final = 3
"""New connections a play (workload model: api, edge, CDN); the balancer sees one of them, the rest is margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One kind of call in a month."""

    name: str
    total: Decimal
    """As players make them."""
    origin: Decimal
    """Of those, the ones no edge cache answers."""
    peak_per_s: Decimal
    """Origin calls a second at the peak."""
    cpu_ms: Decimal
    duration_ms: Decimal
    """On Lambda at the given memory."""
    reads: Decimal
    read_bytes: Decimal
    bytes_out: Decimal
    cacheable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One kind of item in a month."""

    name: str
    writes: Decimal
    bytes: Decimal
    replicated: Decimal
    """Share that goes to the other regions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Everything that is counted before it is priced."""

    plays: Decimal
    viewer_hours: Decimal
    calls: Sequence[Call]
    written: Sequence[Written]
    media_gb: Decimal
    media_requests: Decimal
    library_gb: Decimal
    new_gb: Decimal
    segments: Decimal
    """Objects put into the origin for new media."""

    @property
    def origin_calls(self) -> Decimal:
        """Calls that reach a region."""
        return sum((call.origin for call in self.calls), Decimal(0))

    @property
    def writes(self) -> Decimal:
        """Durable write transactions."""
        return sum((item.writes for item in self.written), Decimal(0))

    @property
    def cpu_seconds(self) -> Decimal:
        """CPU of all origin calls of the month."""
        return sum((call.origin * call.cpu_ms for call in self.calls), Decimal(0)) / 1000

    @property
    def peak_cpu(self) -> Decimal:
        """Busy vCPUs at the peak."""
        return sum((call.peak_per_s * call.cpu_ms for call in self.calls), Decimal(0)) / 1000

    @property
    def peak_calls(self) -> Decimal:
        """Origin calls a second at the peak."""
        return sum((call.peak_per_s for call in self.calls), Decimal(0))


def usage_of(point: Point) -> Usage:
    """The month of a point."""
    hours = point["audience.viewer_hours"]
    bytes_per_second = point["media.bitrate_mbit_s"] * 1_000_000 / 8
    requests = hours * 3600 * point["media.requests_per_second"]
    segment = bytes_per_second / point["media.requests_per_second"]
    plays = hours * 60 / point["audience.session_minutes"]
    return Usage(
        plays=plays,
        viewer_hours=hours,
        calls=[*_joins(point, plays), *_steady(point, hours)],
        written=_written(point, plays, hours),
        media_gb=gigabytes(hours * 3600 * bytes_per_second),
        media_requests=requests,
        library_gb=gigabytes(point["media.library_tb"] * _TB),
        new_gb=gigabytes(point["media.new_tb_per_month"] * _TB),
        segments=ceiling(point["media.new_tb_per_month"] * _TB / segment),
    )


def names(point: Point, prefix: str) -> list[str]:
    """The calls or items of a point, in order."""
    return list(dict.fromkeys(name.split(".")[1] for name in point if name.startswith(prefix + ".")))


def _joins(point: Point, plays: Decimal) -> list[Call]:
    starts_per_s = point["audience.peak_viewers"] * point["audience.peak_joins_per_minute"] / 60
    calls: list[Call] = []
    for name in names(point, "calls"):
        of = f"calls.{name}."
        reach = point[of + "per_play"] * (1 - point[of + "edge_hit"])
        calls.append(
            Call(
                name=name,
                total=plays * point[of + "per_play"],
                origin=plays * reach,
                peak_per_s=starts_per_s * reach,
                cpu_ms=point[of + "cpu_ms"],
                duration_ms=_duration(point, of),
                reads=point[of + "reads"],
                read_bytes=point[of + "read_bytes"],
                bytes_out=point[of + "bytes_out"],
                cacheable=point[of + "edge_hit"] > 0,
            )
        )
    return calls


def _steady(point: Point, hours: Decimal) -> list[Call]:
    """What every player repeats while it plays; these calls read nothing durable."""
    telemetry = point["cadence.telemetry_seconds"] * point["cadence.telemetry_batch"]
    every = {
        "heartbeat": point["cadence.heartbeat_seconds"],
        "telemetry": telemetry,
        "steering_again": point["cadence.steering_seconds"],
        "token_again": point["cadence.token_seconds"],
    }
    calls: list[Call] = []
    for name, seconds in every.items():
        total = hours * 3600 / seconds
        size = point["cadence.bytes_out"]
        calls.append(
            Call(
                name=name,
                total=total,
                origin=total,
                peak_per_s=point["audience.peak_viewers"] / seconds,
                cpu_ms=point["cadence.cpu_ms"],
                duration_ms=_duration(point, "cadence."),
                reads=Decimal(0),
                read_bytes=Decimal(1),
                bytes_out=size,
                cacheable=False,
            )
        )
    return calls


def _duration(point: Point, of: str) -> Decimal:
    return lambda_duration_ms(point[of + "cpu_ms"], point[of + "wait_ms"], point["compute.lambda_memory_mb"])


def _written(point: Point, plays: Decimal, hours: Decimal) -> list[Written]:
    found: list[Written] = []
    for name in names(point, "items"):
        of = f"items.{name}."
        writes = plays * point[of + "writes_per_play"] + hours * point[of + "writes_per_viewer_hour"]
        if name == "progress":
            writes += hours * 3600 / point["cadence.progress_seconds"]
        found.append(Written(name=name, writes=writes, bytes=point[of + "bytes"], replicated=point[of + "replicated"]))
    return found


def connections_per_s(usage: Usage) -> Decimal:
    """New connections a second, averaged over the month."""
    return usage.plays * _TLS_PER_PLAY / SECONDS
