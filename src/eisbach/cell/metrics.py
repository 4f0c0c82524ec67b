"""Figures of a cell's calls, kept as plain numbers and turned into Prometheus' form only when somebody asks.

A client library's counter costs microseconds per call; an addition does not. May not know: HTTP, routes' handlers.
"""

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Metrics", "RouteFigures"]

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(slots=True)
class RouteFigures:
    """Of one route since start."""

    importance: str
    statuses: dict[int, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0

    def count(self, status: int, seconds: float) -> None:
        """One answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds


class Metrics(Collector):
    """One a process, with a registry of its own."""

    def __init__(self) -> None:
        self._routes: dict[str, RouteFigures] = {}
        self._gauges: list[Callable[[], Mapping[str, float]]] = []
        self.bugs = 0
        """Calls that ended in an exception nobody expected."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def route(self, name: str, importance: str) -> RouteFigures:
        """The figures of a route, e.g. ``PUT /v1/me/progress/{title}``."""
        return self._routes.setdefault(name, RouteFigures(importance))

    def add(self, gauges: Callable[[], Mapping[str, float]]) -> None:
        """Gauges by name, read when somebody asks; must not do I/O."""
        self._gauges.append(gauges)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    def summary(self) -> dict[str, dict[str, int]]:
        """Route -> status -> answers, for ``/status``."""
        return {n: {str(s): c for s, c in f.statuses.items()} for n, f in self._routes.items() if f.statuses}

    def collect(self) -> Iterable[Metric]:
        """Asked by the registry."""
        calls = CounterMetricFamily(
            "eisbach_calls", "Answers by route, class and status.", labels=("route", "class", "status")
        )
        seconds = HistogramMetricFamily("eisbach_call_seconds", "From head to answer.", labels=("route",))
        for name, figures in self._routes.items():
            for status, count in figures.statuses.items():
                calls.add_metric((name, figures.importance, str(status)), count)
            total, buckets = 0, []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), figures.buckets, strict=True):
                total += count
                buckets.append((bound, float(total)))
            seconds.add_metric((name,), buckets=buckets, sum_value=figures.seconds)
        yield calls
        yield seconds
        bugs = CounterMetricFamily("eisbach_bugs", "Calls that ended in an exception nobody expected.")
        bugs.add_metric((), self.bugs)
        yield bugs
        for read in self._gauges:
            for name, value in read().items():
                yield GaugeMetricFamily(f"eisbach_{name}", f"{name.replace('_', ' ')}.", value=value)
