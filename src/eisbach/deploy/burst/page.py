"""The page of a rehearsal: one self-contained file, for the one who decides what runs where."""

from pathlib import Path
from typing import Final

from eisbach.deploy.burst.plots import costs, timeline
from eisbach.deploy.burst.report import LIMITS, Rehearsed, Report
from eisbach.plan.page import Figure, Page, escape, figures, section

__all__ = ["as_html", "headline"]

_KEY: Final = (
    '<ul class="key"><li><i style="background:var(--c1)"></i>calls that came</li>'
    '<li><i style="background:var(--c2)"></i>what the base can take; its cost</li>'
    '<li><i style="background:var(--c3)"></i>to the functions; their cost</li>'
    '<li><i style="background:var(--bad)"></i>refused</li></ul>'
)


def headline(report: Report) -> str:
    """One sentence."""
    policy = report.policy
    if policy.break_even > policy.unit_rate * policy.fill:
        return (
            f"This handler is cheaper as a function at every load: a unit earns its price at {policy.break_even:,.1f}"
            f" calls/s and is planned for {policy.unit_rate * policy.fill:,.1f}."
        )
    return (
        f"A unit of the base earns its price from {policy.break_even:,.1f} calls/s on and is planned for "
        f"{policy.unit_rate * policy.fill:,.1f}; what it cannot take goes to functions."
    )


def as_html(report: Report) -> str:
    """The whole file."""
    body = _figures(report) + "".join(_trace(report, one) for one in report.rehearsed) + _handler(report)
    links = [(one.trace, one.trace) for one in report.rehearsed]
    return Page(
        title="Burst: a base of containers, functions above it",
        lead=headline(report),
        body=body,
        made=f"eisbach burst rehearse. USD list prices of {report.region}. Models, not measurements: "
        f"{'; '.join(LIMITS)}.",
        links=[*links, ("handler", "Handler and prices")],
        style=(Path(__file__).parent / "burst.css").read_text(encoding="utf-8"),
    ).html()


def _figures(report: Report) -> str:
    shown = [
        Figure(value=f"{report.policy.break_even:,.1f}/s", label="break-even of one unit, average calls"),
        Figure(value=f"${report.policy.spill_price_call * 1e6:,.3f}", label="a million calls as functions"),
        Figure(value=f"${report.policy.unit_price_hour * 730:,.2f}", label="a unit of the base, a month"),
    ]
    for one in report.rehearsed:
        hybrid = one.outcome("hybrid")
        share = hybrid.refused / max(hybrid.calls, 1)
        tone = "good" if share <= 1e-4 else "warn" if share <= 1e-3 else "bad"
        shown.append(Figure(value=f"{share:.3%}", label=f"{one.trace}: refused by the hybrid", tone=tone))
    return figures(shown)


def _trace(report: Report, one: Rehearsed) -> str:
    hybrid = one.outcome("hybrid")
    rows = "".join(
        f"<tr><td>{escape(o.strategy)}</td>"
        + "".join(
            f'<td class="number">{text}</td>'
            for text in (
                f"{o.calls:,.0f}",
                f"{o.refused:,.0f}",
                f"${o.base_dollars:,.2f}",
                f"${o.spill_dollars:,.2f}",
                f"${o.dollars:,.2f}",
                f"${o.dollars / max(o.calls - o.refused, 1) * 1e6:,.3f}",
                f"{o.launches:,}",
                f"{o.weight_changes:,}",
            )
        )
        + "</tr>"
        for o in one.outcomes
    )
    heads = ("calls", "refused", "base", "functions", "together", "a million served", "launches", "weights moved")
    head = "<th>way</th>" + "".join(f'<th class="number">{h}</th>' for h in heads)
    table = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(one.trace)}, figures"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    told = "".join(
        f" It was told of {e.rate:,.0f} calls/s from {e.from_s / 60:,.0f} to {e.until_s / 60:,.0f} min."
        for e in one.booked
    )
    lead = f"{one.seconds / 3600:,.1f} hours, {one.peak:,.0f} calls/s at the peak. The curves are the hybrid's.{told}"
    picture = timeline(hybrid, report.policy, f"{one.trace}: load, share of the spill and refused calls over time")
    return section(one.trace, one.trace, f"{picture}{_KEY}{costs(one.outcomes)}{table}", lead=lead)


def _handler(report: Report) -> str:
    h = report.handler
    rows = [
        ("CPU of a call", f"{h.cpu_ms} ms"),
        ("waiting of a call", f"{h.wait_ms} ms"),
        ("billed as a function", f"{round(h.duration_ms, 2)} ms, rounded up to whole ones, at {h.memory_mb} MB"),
        (
            "a unit of the base",
            f"{h.task_vcpu} vCPU, {h.task_gb} GB, {h.architecture}; full at {h.unit_rate:,.0f} calls/s",
        ),
        ("the functions at most", f"{report.policy.spill_rate_max:,.0f} calls/s ({h.environments} environments)"),
        *((name, f"${price}") for name, price in report.prices.items()),
    ]
    body = "".join(f'<tr><td>{escape(a)}</td><td class="number">{escape(b)}</td></tr>' for a, b in rows)
    table = f'<div class="scroll" tabindex="0" role="region" aria-label="handler"><table>{body}</table></div>'
    return section("handler", "Handler and prices", table, lead="All that the break-even comes from.")
