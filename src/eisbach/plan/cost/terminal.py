"""The answer for a terminal: one sentence, the designs, what drives and moves them, bad days, warnings."""

from decimal import Decimal
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eisbach.plan.cost.report import NOT_MODELLED, Report, drivers, per

__all__ = ["headline", "show", "usd"]

_BAR: Final = 16
_BARS: Final = 100
_SHOWN: Final = 5
_WIDE: Final = 140
"""Columns that the whole table of designs needs."""
_HEADS: Final = {"failover day": "failover", "surge day": "surge", "retry storm, budget": "with budget"}
_NARROW: Final = ("design", "total", "the rest", "its range")


def usd(amount: Decimal) -> str:
    """Whole USD from 100 on, else cents; a minus in front of the sign."""
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount):,.0f}" if abs(amount) >= 100 else f"{sign}${abs(amount):,.2f}"


def headline(report: Report) -> str:
    """What a board should take home."""
    egress = report.reference.bill.group("egress")
    share = per(egress, report.reference.bill.total) * 100
    words = f"Egress is {share:.0f} % of the bill."
    single = next((a for a in report.answers if a.design.shape == "single"), None)
    pair = [a for a in report.answers if a.design.shape == "active-2"]
    same = next((a for a in pair if single and a.design.compute == single.design.compute), None)
    if single and same:
        more = same.bill.total - single.bill.total
        whole, rest = per(more, single.bill.total) * 100, per(more, single.control[1]) * 100
        words += (
            f" A second active region adds {usd(more)} a month: {whole:.2g} % of the whole,"
            f" {rest:.0f} % of what is neither egress nor media."
        )
    return words


def show(report: Report, console: Console) -> None:
    """Print it."""
    usage = report.usage
    console.print(Text(report.workload.name, style="bold"))
    console.print(Text(headline(report)))
    console.print(
        Text(
            f"A month: {usage.viewer_hours:,.0f} viewer-hours, {usage.plays:,.0f} plays, {usage.media_gb:,.0f} GB"
            f" of video, {usage.origin_calls:,.0f} calls to the regions, {usage.writes:,.0f} durable writes",
            style="dim",
        )
    )
    console.print(_designs(report, console.width))
    _drivers(report, console)
    console.print(_sensitivity(report, console.width))
    console.print(_levers(report))
    console.print(_days(report))
    _edge(report, console)
    _warnings(report, console)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0)
    return table


def _designs(report: Report, width: int) -> Table:
    """All columns where they fit, else those that a decision needs."""
    rows = [
        {
            "design": a.design.name,
            "total": usd(a.bill.total),
            "likely range": f"{usd(a.likely[0])} - {usd(a.likely[1])}",
            "egress": usd(a.bill.group("egress")),
            "media": usd(a.bill.group("media")),
            "the rest": usd(a.control[1]),
            "its range": f"{usd(a.control[0])} - {usd(a.control[2])}",
            "$/1000 h": f"{per(a.bill.total, report.usage.viewer_hours) * 1000:.2f}",
            "$/M plays": f"{per(a.bill.total, report.usage.plays) * 10**6:,.0f}",
        }
        for a in report.answers
    ]
    columns = [name for name in rows[0] if width >= _WIDE or name in _NARROW]
    table = _table("\nUSD a month", *columns)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _drivers(report: Report, console: Console) -> None:
    a = report.reference
    for words, found in (("Drivers", drivers(a)), ("without egress and media", drivers(a, "egress", "media"))):
        text = ", ".join(f"{item} {usd(amount)}" for item, amount in found)
        console.print(Text(f"{words} ({a.design.name}): {text}"))


def _sensitivity(report: Report, width: int) -> Table:
    a = report.reference
    table = _table(f"\nWhat moves it ({a.design.name})", "assumption", "between", "saves", "costs")
    table.columns[1].justify = "left"
    if width >= _BARS:
        table.add_column("")
    for words, swings in (("", a.swings[:_SHOWN]), ("without egress and media", a.control_swings[:_SHOWN])):
        if words:
            table.add_row(Text(words, style="dim"))
        widest = max((s.width for s in swings), default=Decimal(1))
        for s in swings:
            between = f"{_short(s.low)} and {_short(s.high)}"
            if width >= _WIDE:
                between = f"{s.low:,f} and {s.high:,f} {s.unit}"
            bar = ["█" * round(s.width / widest * _BAR)] if width >= _BARS else []
            table.add_row(s.name, between, usd(s.down), usd(s.up), *bar)
    return table


def _short(value: Decimal) -> str:
    """A number of at most six characters or so, for a narrow table."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if value >= size:
            return f"{value / (size if letter != 'k' else 1000):,.4g}{letter}"
    return f"{value:.4g}"


def _levers(report: Report) -> Table:
    table = _table(f"\nWhat changes it ({report.reference.design.name}), USD a month", "topic", "change", "")
    table.columns[1].justify = "left"
    for lever in report.levers:
        sign = "+" if lever.delta > 0 else ""
        table.add_row(lever.topic, lever.change, sign + usd(lever.delta))
    return table


def _days(report: Report) -> Table:
    kinds = list(dict.fromkeys(day.kind for day in report.days))
    table = _table("\nBad days, USD on top, nothing refused", "design", *(_HEADS.get(kind, kind) for kind in kinds))
    for a in report.answers:
        costs = {day.kind: day.cost for day in report.days if day.design == a.design.name}
        table.add_row(a.design.name, *("outage" if (c := costs[k]) is None else usd(c) for k in kinds))
    return table


def _edge(report: Report, console: Console) -> None:
    edge = report.break_even
    if edge.cheaper_from is None:
        words = "Lambda is cheaper than Fargate at every load up to 100,000 calls a second"
    else:
        words = f"Fargate behind a load balancer is cheaper than Lambda from {edge.cheaper_from:,.0f} calls a second on"
    console.print(Text(f"\nBreak-even: {words}; this workload has {edge.here:,.0f} on average ({edge.region})."))


def _warnings(report: Report, console: Console) -> None:
    names = {line.item for _, line in report.unpriced}
    for item in sorted(names):
        line = next(line for _, line in report.unpriced if line.item == item)
        words = f"unpriced: {item}, {line.quantity:,.0f} {line.price.unit}; nobody knows the price, it is in no total"
        console.print(Text(words, style="yellow"))
    if report.stale:
        oldest = report.stale[0]
        words = (
            f"{len(report.stale)} prices last seen more than 180 days ago, the oldest on {oldest.date} ({oldest.id})"
        )
        console.print(Text(f"stale: {words}; eisbach cost refresh", style="yellow"))
    weak = {(x.price.region, x.price.id) for a in report.answers for x in a.bill.lines if x.price.confidence == "low"}
    if weak:
        words = f"remembered, not read from a list: {len(weak)} of the prices (low confidence, +-25 %)"
        console.print(Text(f"weak: {words}; eisbach cost refresh reads them where there is a network", style="yellow"))
    console.print(Text(f"Not in it: {'; '.join(NOT_MODELLED)}.", style="dim"))
