"""What ``/metrics`` of a cell shows beside its calls. No I/O. May not know: how a cell is composed."""

from collections.abc import Mapping

from eisbach.bootstrap.cell_ground import Parts, Slots
from eisbach.cell.app import Gate

__all__ = ["gauges"]


def gauges(parts: Parts, main: Slots, gate: Gate) -> Mapping[str, float]:
    """Now, by name."""
    store = main.store.statistics()
    found: dict[str, float] = {
        "in_work": gate.in_work,
        "work_limit": gate.limit.value,
        "shed": sum(gate.limit.shed.values()),
        "pressure": gate.limit.pressure,
        "slots_owned": len(main.ownership.owned()),
        "store_queue": store.queue,
        "store_transactions": store.transactions,
        "store_commits": store.commits,
        "store_conflicts": store.conflicts,
        "store_erasing": store.erasing,
        "clock_jumped": store.clock_jumped,
        "relay_behind": max((r.statistics().behind for r in parts.relays.values()), default=0),
    }
    for twin in parts.twins():
        name = twin.region.replace("-", "_")
        found[f"twin_lag_ms_{name}"] = twin.lag_ms
        if twin.ops_behind is not None:
            found[f"twin_ops_behind_{name}"] = twin.ops_behind
    for comparison in (one.statistics() for one in parts.comparisons):
        found[f"twin_slots_differing_{comparison.region.replace('-', '_')}"] = len(comparison.differing)
    return found
