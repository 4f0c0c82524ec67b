"""What a workload file may say: every key with its unit, bounds, default and where the default comes from.

The defaults are the workload model of the project (docs/cost.md says which are published and which assumed).
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

__all__ = ["CALL_DEFAULTS", "CALL_FIELDS", "FIELDS", "ITEM_DEFAULTS", "ITEM_FIELDS", "Field", "Range"]


@dataclass(frozen=True, slots=True)
class Range:
    """Low, typical and high; equal when there is no doubt."""

    low: Decimal
    typical: Decimal
    high: Decimal

    @property
    def certain(self) -> bool:
        """Whether it is one number."""
        return self.low == self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A key of the file: a number, or ``[low, typical, high]``."""

    unit: str
    default: tuple[str, str, str] | None
    """None: the file must say it."""
    least: str = "0"
    most: str = "1e15"
    why: str = ""
    """Where the default comes from."""


def _field(unit: str, *default: str, least: str = "0", most: str = "1e15", why: str = "assumed") -> Field:
    three = (default[0],) * 3 if len(default) == 1 else default
    return Field(unit=unit, default=(three[0], three[1], three[2]), least=least, most=most, why=why)


_SHARE: Final = {"least": "0", "most": "1"}

FIELDS: Final[dict[str, Field]] = {
    "audience.viewer_hours": Field(unit="hours a month", default=None, least="1", most="1e11"),
    "audience.peak_viewers": Field(unit="viewers at once", default=None, least="1", most="1e9"),
    "audience.session_minutes": _field(
        "minutes a play", "20", "32", "55", least="0.1", most="1440", why="medians: linear 18, on demand 26, live 55"
    ),
    "audience.peak_joins_per_minute": _field(
        "share of the peak", "0.02", "0.05", "0.15", least="0.001", most="1", why="Hotstar's published 4.3 to 4.9 %"
    ),
    "media.bitrate_mbit_s": Field(unit="Mbit/s, average", default=None, least="0.05", most="200"),
    "media.requests_per_second": _field(
        "requests a viewer-second", "0.5", "0.67", "2", least="0.05", most="10", why="6 s segments 0.67, 2 s segments 2"
    ),
    "media.cdn_hit_ratio": _field("share of requests", "0.95", "0.98", "0.995", **_SHARE),
    "media.library_tb": _field("TB", "50", most="1e6"),
    "media.new_tb_per_month": _field("TB a month", "2", most="1e5"),
    "media.encode_vcpu_hours": _field("vCPU-hours a month", "200", most="1e8", why="own encoders on Fargate"),
    "media.convert_minutes": _field("MediaConvert minutes", "0", most="1e9", why="own encoders instead"),
    "cadence.heartbeat_seconds": _field("s", "30", least="1", most="3600", why="design section 3"),
    "cadence.progress_seconds": _field("s", "120", least="1", most="86400", why="design section 3"),
    "cadence.telemetry_seconds": _field("s", "30", least="1", most="86400", why="workload model"),
    "cadence.telemetry_batch": _field("samples a call", "1", least="1", most="1000"),
    "cadence.steering_seconds": _field("s", "300", least="1", most="86400", why="workload model"),
    "cadence.token_seconds": _field("s", "900", least="1", most="86400", why="workload model"),
    "cadence.cpu_ms": _field(
        "CPU ms a call", "0.2", "0.5", "1", least="0.01", most="1000", why="27 us framework, the rest checks"
    ),
    "cadence.wait_ms": _field("ms waiting a call", "0", most="10000", why="a heartbeat only verifies the session"),
    "cadence.bytes_out": _field("bytes a call", "300", most="1e6"),
    "compute.lambda_memory_mb": _field("MB", "512", least="128", most="10240"),
    "compute.utilisation": _field("share of a vCPU at peak", "0.5", "0.6", "0.7", least="0.05", most="0.95"),
    "compute.task_vcpu": _field("vCPU", "1", least="0.25", most="16"),
    "compute.task_gb": _field("GB", "2", least="0.5", most="120"),
    "compute.average_to_peak": _field(
        "share of peak tasks that run on average", "0.4", "0.6", "1", least="0.05", most="1", why="scaled by schedule"
    ),
    "compute.tasks_per_cell": _field("tasks, at least", "2", least="1", most="1000"),
    "compute.warm_share": _field("share of the capacity", "0.3", **_SHARE, why="reference section 5: warm 1.3x"),
    "compute.burst_share": _field("share of calls on Lambda", "0.1", "0.2", "0.3", **_SHARE, why="compute = both"),
    "store.log_bytes": _field("bytes an entry beside the item", "300", least="50", most="10000"),
    "store.packed": _field(
        "share of an op's bytes",
        "0.4",
        "0.55",
        "0.8",
        least="0.1",
        most="1",
        why="ADR 0022: 98 of 183 bytes in company",
    ),
    "store.writes_per_commit": _field(
        "writes a row of the log", "1", "2.2", "8", least="1", most="400", why="counted, 5,000 viewers a cell"
    ),
    "store.apply_batch": _field(
        "ops of the others a row", "2", "6", "20", least="1", most="400", why="a twin is given ops every 250 ms"
    ),
    "store.flushed": _field(
        "share of the writes", "0.1", "0.3", "1", **_SHARE, why="what is written again within minutes is flushed once"
    ),
    "store.utilisation": _field(
        "share of provisioned capacity",
        "0.45",
        "0.63",
        "0.7",
        least="0.05",
        most="1",
        why="capacity = provisioned: AWS's scaling at 70 % on the trace of an ordinary day (scaling.py)",
    ),
    "store.data_gb": _field("GB live", "50", most="1e6"),
    "store.log_days": _field("days", "7", least="7", most="35", why="design section 3: 7 at least"),
    "store.polls_per_second": _field("looks at the log a second and cell", "2", most="1000", why="twice a second"),
    "events.per_write": _field("events a durable write", "0.5", "0.8", "1", most="10"),
    "events.per_envelope": _field("events", "5", "15", "64", least="1", most="64", why="64 at most by design"),
    "events.bytes": _field("bytes an event", "700", least="100", most="65536"),
    "events.packed": _field("share of its bytes", "0.15", "0.3", "0.6", least="0.05", most="1", why="JSON, deflated"),
    "events.cpu_ms": _field("CPU ms an event and spoke", "0.3", "1", "3", most="60000"),
    "events.spokes": _field("queues a region", "6", most="100", why="built-in spokes"),
    "events.pollers": _field("long polls a queue", "5", most="100", why="Lambda's event source mapping"),
    "network.nat_gateways": _field("a region with Fargate", "2", most="10", why="one a zone"),
    "network.nat_gb": _field("GB a region and month", "50", most="1e6"),
    "logs.bytes_per_call": _field("bytes", "100", "500", "1500", most="1e6", why="reference: 200 GB for 400 M calls"),
    "logs.months_kept": _field("months", "1", most="120"),
    "logs.stored_share": _field(
        "share of what is written",
        "0.1",
        "0.15",
        "0.3",
        least="0.01",
        most="1",
        why="compressed; AWS's calculator: 0.15",
    ),
    "failure.surge_factor": _field("times", "10", least="1", most="100"),
    "failure.surge_hours": _field("hours", "4", least="0.1", most="24"),
    "failure.retries": _field("retries a call", "2", most="20", why="workload model: client retries 2"),
    "failure.storm_hours": _field("hours", "1", least="0.1", most="24"),
    "failure.retry_budget": _field("share of calls", "0.1", **_SHARE, why="design section 5"),
    "contract.egress_discount": _field("share off the list price", "0", **_SHARE, why="list price"),
}

CALL_FIELDS: Final[dict[str, Field]] = {
    "per_play": Field(unit="calls a play", default=None, most="1000"),
    "edge_hit": _field("share answered by the edge cache", "0", **_SHARE),
    "cpu_ms": _field("CPU ms", "1", "2", "4", least="0.01", most="60000"),
    "wait_ms": _field("ms waiting for the store", "4", "8", "15", most="60000"),
    "reads": _field("items read", "1", most="1000"),
    "read_bytes": _field("bytes an item", "1000", least="1", most="400000"),
    "bytes_out": _field("bytes", "4000", most="1e8"),
}
ITEM_FIELDS: Final[dict[str, Field]] = {
    "bytes": Field(unit="bytes", default=None, least="1", most="400000"),
    "writes_per_play": _field("writes a play", "0", most="1000"),
    "writes_per_viewer_hour": _field("writes a viewer-hour", "0", most="100000"),
    "replicated": _field("share, 1 or 0", "1", **_SHARE),
}
CALL_DEFAULTS: Final[dict[str, dict[str, str]]] = {
    "config": {"per_play": "1", "edge_hit": "0.99", "reads": "0", "bytes_out": "2000"},
    "token_refresh": {"per_play": "0.70"},
    "home": {"per_play": "1", "edge_hit": "0.97", "reads": "4", "bytes_out": "20000"},
    "me_rails": {"per_play": "0.75", "reads": "3", "bytes_out": "8000"},
    "live_now": {"per_play": "1", "edge_hit": "0.97", "reads": "2", "bytes_out": "10000"},
    "title": {"per_play": "0.60", "edge_hit": "0.97", "reads": "2", "bytes_out": "10000"},
    "playback_session": {"per_play": "1.15", "reads": "4"},
    "licence": {"per_play": "0.69"},
    "steering": {"per_play": "1.15", "reads": "0", "bytes_out": "500"},
}
"""The join of the workload model: 8.04 calls a play, of which 4.53 reach the origin."""
ITEM_DEFAULTS: Final[dict[str, dict[str, str]]] = {
    "progress": {"bytes": "250", "writes_per_play": "2"},
    "lease": {"bytes": "400", "writes_per_play": "1"},
    "watchlist": {"bytes": "200", "writes_per_play": "0.05"},
    "account": {"bytes": "1500", "writes_per_play": "0.02"},
}
"""``progress`` is also written every ``cadence.progress_seconds`` of watching."""
