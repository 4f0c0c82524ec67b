"""The second line of ``viewer_hour``: the same counts, the log's and the hub's tables of provisioned capacity that scales.

How much of it is used comes from a day's trace (``deploy/burst/traces``: calls a second, to which writes are taken to be
proportional), played against AWS's rules of scaling (``plan/cost/scaling``). State tables stay on demand: a flush comes
in waves of minutes. So do reads. Pure; no emulator.
"""

from decimal import Decimal
from functools import cache

from bench.viewer_bill import REGION, Counted

from eisbach.deploy.burst.traces import kick_off, ordinary_day
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.scaling import Booked, Scaled, Scaling, scaled

VIEWERS = 50_000
TARGET = 0.7
BOOKED_S = (1500, 5400)
"""Of the kick-off's trace, which begins to rise at 1800 s: what the schedule knows five minutes before."""


@cache
def traces() -> dict[str, Scaled]:
    """What scaling makes of a day without football, and of a kick-off that nobody, or the schedule, told of."""
    scaling, match = Scaling(least=1.0, most=1e9, target=TARGET), kick_off(VIEWERS)
    peak = max(sum(match[start : start + 60]) / 60 for start in range(0, len(match), 60))
    return {
        "ordinary day": scaled(ordinary_day(VIEWERS), scaling),
        "kick-off, not told": scaled(match, scaling),
        "kick-off, told": scaled(match, scaling, booked=[Booked(*BOOKED_S, peak / TARGET)]),
    }


def provisioned(items: dict[str, float], counted: Counted, book: PriceBook) -> dict[str, float]:
    """``items`` of ``viewer_bill.bill`` with log and hub at the prices of capacity, as an ordinary day uses it."""

    def usd(id_: str, units: float) -> float:
        hours = units / 3600 / traces()["ordinary day"].utilisation
        charge = book.get(REGION, id_).charge(Decimal(str(hours)))
        if charge is None:
            raise ValueError(f"no price of {id_}")
        return float(charge) / counted.viewer_hours

    hub = sum(units for what, units in counted.written.items() if what.startswith("hub:"))
    on_demand = counted.write_units - counted.replicated_units - hub
    log = usd("dynamodb.write_hour", counted.replicated_units)
    copies = usd("dynamodb.replicated_write_hour", counted.replicated_units)
    each = items["DynamoDB, writes"] / counted.write_units if counted.write_units else 0.0
    return items | {
        "DynamoDB, writes": on_demand * each + log + usd("dynamodb.write_hour", hub),
        "DynamoDB, writes replicated": copies,
        "DynamoDB, log forgotten": log + copies,
    }


def said() -> str:
    """In words, for the row."""
    day, untold, told = traces().values()
    return (
        f"log and hub scaled at {TARGET:.0%}: {day.utilisation:.0%} of it used on the trace 'ordinary day' of {VIEWERS:,} "
        f"viewers; at the trace 'kick-off' {untold.throttled / untold.asked:.1%} of the writes throttled in "
        f"{untold.worst_s} s when nobody told it, {told.throttled / told.asked:.1%} when the schedule did"
    )
