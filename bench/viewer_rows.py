"""Rows of ``viewer_hour``: its bill item by item, what was written, and the sum against the goal. May not know: emulators."""

import statistics

from bench.figures import Row
from bench.viewer_bill import Counted, bill, breakdown
from bench.viewer_capacity import provisioned, said
from bench.viewer_fleet import Fleet

from eisbach.plan.cost.prices import load_prices

GOALS = {"alb": 0.00015, "http-api": 0.0015}


def rows(door: str, counted: Counted, fleet: Fleet, notes: dict[str, str]) -> list[Row]:
    if fleet.refused:
        print(f"  {door}: refused {dict(fleet.refused)}", flush=True)
    items = bill(counted, book := load_prices(), door=door)
    hours = counted.viewer_hours
    amounts = {
        "DynamoDB, writes": f"{counted.write_units / hours:.1f} WRU",
        "DynamoDB, writes replicated": f"{counted.replicated_units / hours:.1f} WRU",
        "DynamoDB, log forgotten": "deleted after 7 days at as many units, in both regions",
        "DynamoDB, reads": f"{counted.read_units / hours:.1f} RRU",
        "SNS, publications": f"{counted.calls['sns.Publish'] / hours:.2f}",
        "HTTP API, requests": f"{counted.requests / hours:.0f}",
        "ALB, capacity units": f"{counted.requests / hours:.0f} requests",
    }
    found = [
        Row(figure=f"{door}: {name}", measured=usd * 1e6, unit="USD/1e6", note="; ".join(filter(None, (amounts.get(name, ""), notes.get(name, "")))))
        for name, usd in items.items()
    ]  # fmt: skip
    found += [
        Row(figure=f"{door}: {what}", measured=amount, unit=unit) for what, (amount, unit) in breakdown(counted).items()
    ]
    total, goal = sum(items.values()), GOALS[door]
    took = {name: statistics.quantiles(ms, n=100)[98] for name, ms in fleet.took_ms.items() if len(ms) > 100}
    found.append(
        Row(figure=f"{door}: a viewer-hour of control plane", measured=total * 1e6, unit="USD/1e6",
            goal=f"<= {goal * 1e6:.0f}", met=total <= goal,
            note=f"{counted.viewers} viewers, {fleet.durable / hours:.1f} durable of {fleet.calls['heartbeat'] / hours:.0f} "
            f"heartbeats an hour, {fleet.calls['start'] / hours:.2f} starts; {sum(fleet.refused.values())} refused; "
            f"calls begun {statistics.quantiles(fleet.late_ms, n=100)[98]:.0f} ms late (p99); p99 ms: "
            + ", ".join(f"{name} {ms:.0f}" for name, ms in sorted(took.items())))
    )  # fmt: skip
    other = sum(provisioned(items, counted, book).values())
    found.append(
        Row(figure=f"{door}: the same, provisioned", measured=other * 1e6, unit="USD/1e6",
            goal=f"<= {goal * 1e6:.0f}", met=other <= goal, note=said())
    )  # fmt: skip
    return found
