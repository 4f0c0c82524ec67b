"""The page: one file that a board reads, and an engineer can check line by line."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from eisbach.plan.cost.bill import GROUPS, Line
from eisbach.plan.cost.charts import curve, stacks, tornado
from eisbach.plan.cost.ranges import Answer
from eisbach.plan.cost.report import NOT_MODELLED, Report, drivers, per
from eisbach.plan.cost.tariff import Price
from eisbach.plan.cost.terminal import headline, usd
from eisbach.plan.page import Figure, Page, escape, figures, section

__all__ = ["as_html"]

_APART: Final = ("egress", "media")
_REST: Final = tuple(name for name in GROUPS if name not in _APART)
_TOP: Final = 5


def as_html(report: Report) -> str:
    """The whole file."""
    body = "".join(
        (
            _figures(report),
            _warnings(report),
            _designs(report),
            _sensitivity(report),
            _levers(report),
            _break_even(report),
            _days(report),
            _lines(report),
            _assumptions(report),
            _prices(report),
        )
    )
    links = [
        ("designs", "Designs"),
        ("moves", "What moves it"),
        ("levers", "What changes it"),
        ("edge", "Break-even"),
        ("days", "Bad days"),
        ("lines", "Every line"),
        ("assumptions", "Assumptions"),
        ("prices", "Prices"),
    ]
    return Page(
        title=f"Cost: {report.workload.name}",
        lead=headline(report),
        body=body,
        made=f"eisbach cost {report.workload.source} on {report.today}. USD list prices, one month of 730 hours. "
        f"Not in it: {'; '.join(NOT_MODELLED)}.",
        links=links,
        style=(Path(__file__).parent / "cost.css").read_text(encoding="utf-8"),
    ).html()


def _figures(report: Report) -> str:
    a, usage = report.reference, report.usage
    total = a.bill.total
    return figures(
        [
            Figure(value=_brief(total), label=f"a month, {a.design.name}"),
            Figure(value=f"{_brief(a.likely[0])} - {_brief(a.likely[1])}", label="its likely range"),
            Figure(value=usd(a.control[1]), label="of it neither egress nor media"),
            Figure(value=f"${per(total, usage.viewer_hours):.4f}", label="a viewer-hour"),
            Figure(value=usd(per(total, usage.plays) * 10**6), label="a million plays"),
            Figure(
                value=f"${per(a.control[1], usage.viewer_hours):.6f}", label="a viewer-hour without egress and media"
            ),
        ]
    )


def _brief(amount: Decimal) -> str:
    return (
        f"${amount / 10**6:,.2f} M"
        if amount >= 10**6
        else f"${amount / 1000:,.0f} k"
        if amount >= 10**5
        else usd(amount)
    )


def _warnings(report: Report) -> str:
    found: list[str] = []
    for item in sorted({line.item for _, line in report.unpriced}):
        line = next(line for _, line in report.unpriced if line.item == item)
        found.append(f"Unpriced: {item}, {line.quantity:,.0f} {line.price.unit}. It is in no total.")
    if report.stale:
        old = report.stale[0]
        found.append(
            f"{len(report.stale)} prices were last seen more than 180 days ago, the oldest on {old.date}: {old.id}."
        )
    weak = {(x.price.region, x.price.id) for a in report.answers for x in a.bill.lines if x.price.confidence == "low"}
    if weak:
        found.append(
            f"Remembered, not read from a list: {len(weak)} of the prices (low confidence, taken as +-25 %). "
            "eisbach cost refresh reads them from AWS."
        )
    rows = "".join(f"<li>{escape(words)}</li>" for words in found)
    return f'<ul class="warn-list">{rows}</ul>' if rows else ""


def _designs(report: Report) -> str:
    answers = report.answers
    rest = stacks(answers, _REST, [(a.control[0], a.control[2]) for a in answers])
    whole = stacks(answers, GROUPS, [a.likely for a in answers])
    rows = (
        (
            a.design.name,
            usd(a.bill.total),
            usd(a.bill.group("egress")),
            usd(a.control[1]),
            f"${per(a.bill.total, report.usage.viewer_hours):.5f}",
            f"${per(a.control[1], report.usage.viewer_hours):.6f}",
            usd(per(a.bill.total, report.usage.plays) * 10**6),
            usd(per(a.control[1], report.usage.plays) * 10**6),
        )
        for a in answers
    )
    heads = ("design", "total", "egress", "the rest", "viewer-hour", "rest of it", "million plays", "rest of it")
    lead = (
        f"{report.usage.viewer_hours:,.0f} viewer-hours and {report.usage.plays:,.0f} plays a month. "
        "First the whole bill, in which egress hides everything else; then what the choice of a design decides."
    )
    body = (
        f"<h3>The whole bill, USD a month</h3>{whole}<h3>Without egress and media</h3>{rest}"
        f"{_table(heads, rows, label='designs', numbers=range(1, 8))}"
    )
    return section("designs", "Designs", body, lead=lead)


def _sensitivity(report: Report) -> str:
    a = report.reference
    parts = []
    for words, swings, without in (
        ("Of the whole bill", a.swings, ()),
        ("Of the rest, without egress and media", a.control_swings, _APART),
    ):
        named = ", ".join(f"{item} {usd(amount)}" for item, amount in drivers(a, *without))
        parts.append(
            f"<div><h3>{words}</h3><p class='note'>Three drivers: {escape(named)}.</p>{tornado(swings[:_TOP])}</div>"
        )
    lead = (
        f"{a.design.name}: the five assumptions that move the month most, each alone between its ends. "
        "The likely range adds all of them as independent doubts."
    )
    extreme = f"With every assumption at its cheaper or dearer end at once: {usd(a.extreme[0])} to {usd(a.extreme[1])}."
    body = f'<div class="two">{"".join(parts)}</div><p class="note">{escape(extreme)}</p>'
    return section("moves", "What moves it", body, lead=lead)


def _levers(report: Report) -> str:
    signs = [("+", "plus") if x.delta > 0 else ("", "minus") for x in report.levers]
    rows = "".join(
        f'<tr><td>{escape(x.topic)}</td><td class="name">{escape(x.change)}</td>'
        f'<td class="number {kind}">{sign}{escape(usd(x.delta))}</td></tr>'
        for x, (sign, kind) in zip(report.levers, signs, strict=True)
    )
    head = '<tr><th>topic</th><th>change</th><th class="number">USD a month</th></tr>'
    lead = f"One change at a time to {report.reference.design.name}, the whole design priced anew."
    body = _scroll("changes", f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>")
    return section("levers", "What changes it", body, lead=lead)


def _break_even(report: Report) -> str:
    edge = report.break_even
    if edge.cheaper_from is None:
        words = "At every load shown Lambda is the cheaper one."
    else:
        words = f"From {edge.cheaper_from:,.0f} calls a second on, Fargate is the cheaper one."
    lead = (
        f"{words} This workload has {edge.here:,.0f} on average; its average call needs {edge.cpu_ms:.2f} ms of CPU and"
        f" Lambda bills {edge.billed_ms:.2f} ms. Lambda behind an HTTP API, Fargate sized for the peak behind a load"
        f" balancer, prices of {edge.region}."
    )
    return section("edge", "Lambda or Fargate", curve(edge), lead=lead)


def _days(report: Report) -> str:
    kinds = list(dict.fromkeys(day.kind for day in report.days))
    rows = []
    for a in report.answers:
        costs = {day.kind: day.cost for day in report.days if day.design == a.design.name}
        rows.append((a.design.name, *("outage" if (c := costs[k]) is None else usd(c) for k in kinds)))
    name = report.reference.design.name
    how = "".join(f"<li><b>{escape(day.kind)}</b>: {escape(day.how)}</li>" for day in report.days if day.design == name)
    lead = "USD on top of the month, if nothing were refused; shedding keeps the real figure below."
    table = _table(("design", *kinds), rows, label="bad days", numbers=range(1, len(kinds) + 1))
    return section(
        "days", "Bad days", f'{table}<p class="note">{escape(name)}:</p><ul class="note">{how}</ul>', lead=lead
    )


def _lines(report: Report) -> str:
    parts = []
    for a in report.answers:
        rows = (_line(line) for line in a.bill.lines)
        heads = ("group", "line", "region", "quantity", "how", "price", "USD")
        summary = f"{escape(a.design.name)} <span>{escape(usd(a.bill.total))}, {len(a.bill.lines)} lines</span>"
        table = _table(heads, rows, label=f"lines of {a.design.name}", numbers=(3, 6), formula=4)
        parts.append(f"<details{_open(report, a)}><summary>{summary}</summary>{table}</details>")
    lead = "Quantity times price, with how the quantity came about. Sources of the prices are below."
    return section("lines", "Every line", "".join(parts), lead=lead)


def _open(report: Report, a: Answer) -> str:
    return " open" if a is report.reference else ""


def _line(line: Line) -> tuple[str, ...]:
    amount = "unpriced" if line.amount is None else f"{line.amount:,.2f}"
    quantity = f"{line.quantity:,.0f} {line.price.unit}"
    place = line.price.region.replace("-", "\N{NON-BREAKING HYPHEN}")
    return (line.group, line.item, place, quantity, line.formula, _tiers(line.price), amount)


def _tiers(price: Price) -> str:
    if not price.known:
        return "unknown"
    unit = price.unit if price.per == 1 else f"{price.per:,} {price.unit}"
    first, last = price.tiers[0], price.tiers[-1]
    words = _short(first.price * price.per)
    if last is not first:
        words += f" down to {_short(last.price * price.per)} in {len(price.tiers)} tiers"
    return f"${words} a {unit}"


def _short(value: Decimal) -> str:
    return format(value.normalize(), "f")


def _assumptions(report: Report) -> str:
    rows = (
        (name, *(f"{x:,f}" for x in (a.value.low, a.value.typical, a.value.high)), a.unit, a.origin)
        for name, a in report.workload.assumptions.items()
    )
    table = _table(
        ("assumption", "low", "typical", "high", "unit", "who says so"), rows, label="assumptions", numbers=(1, 2, 3)
    )
    said = sum(not a.origin.startswith("default") for a in report.workload.assumptions.values())
    summary = f"All {len(report.workload.assumptions)} <span>{said} from the file</span>"
    body = f"<details><summary>{summary}</summary>{table}</details>"
    return section(
        "assumptions", "Assumptions", body, lead="From the workload file with its line, or a default and why."
    )


def _prices(report: Report) -> str:
    used = {(line.price.region, line.price.id): line.price for a in report.answers for line in a.bill.lines}
    rows = (
        (p.region, p.id, _tiers(p), p.confidence, p.date.isoformat(), p.source + (f" ({p.note})" if p.note else ""))
        for _, p in sorted(used.items())
    )
    table = _table(
        ("region", "price", "value", "confidence", "seen", "source"), rows, label="prices", numbers=(), formula=5
    )
    body = f"<details><summary>{len(used)} prices <span>with source and date</span></summary>{table}</details>"
    lead = (
        "High: read from a price list or a bill (2 %); medium: derived (10 %); low: remembered (25 %). Bands are ours."
    )
    return section("prices", "Prices", body, lead=lead)


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    label: str,
    numbers: Sequence[int] | range,
    formula: int = -1,
) -> str:
    def cell(index: int, text: str) -> str:
        kind = "number" if index in numbers else "formula" if index == formula else "name" if index == 0 else ""
        return f'<td class="{kind}">{escape(text)}</td>'

    head = "".join(
        f'<th class="number">{escape(x)}</th>' if i in numbers else f"<th>{escape(x)}</th>" for i, x in enumerate(heads)
    )
    body = "".join(f"<tr>{''.join(cell(i, x) for i, x in enumerate(row))}</tr>" for row in rows)
    return _scroll(label, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def _scroll(label: str, inner: str) -> str:
    """A box that scrolls sideways on a phone, also by keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{inner}</div>'
