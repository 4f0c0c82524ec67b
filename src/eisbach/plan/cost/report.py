"""The whole answer to a workload, as one value and as the JSON and CSV that others read.

Promises: equal inputs give equal bytes; amounts are decimal texts of USD; what has no price is under ``unpriced``.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from eisbach.plan.cost.bill import GROUPS, Line
from eisbach.plan.cost.breakeven import BreakEven, break_even
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.ranges import Answer, Swing, answer
from eisbach.plan.cost.tariff import Price
from eisbach.plan.cost.usage import Usage, usage_of
from eisbach.plan.cost.whatif import BadDay, Lever, bad_days, levers
from eisbach.plan.cost.workload import Workload

__all__ = ["NOT_MODELLED", "Report", "as_csv", "as_json", "cents", "drivers", "per", "report_of"]

NOT_MODELLED: Final = (
    "people, support plans and tax", "encoders and contribution of live signals", "DRM licences and advertising",
    "WAF, Shield, KMS, CloudTrail and traces", "free tiers, savings plans and private prices but for egress",
    "viewers outside the home region's price zone of the CDN", "test and staging systems",
)  # fmt: skip
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that terminal, page, JSON and CSV show."""

    workload: Workload
    today: date
    usage: Usage
    answers: Sequence[Answer]
    days: Sequence[BadDay]
    reference: Answer
    """The design that levers and sensitivity are shown for: the first with two active regions, else the first."""
    levers: Sequence[Lever]
    break_even: BreakEven
    stale: Sequence[Price]

    @property
    def unpriced(self) -> list[tuple[str, Line]]:
        """(design, line) of all that is used and has no price."""
        return [(a.design.name, line) for a in self.answers for line in a.bill.unpriced]


def report_of(workload: Workload, book: PriceBook, *, today: date) -> Report:
    """Price every design of a workload.

    Raises:
        Invalid: a region or a price that the book does not have.
    """
    answers = [answer(workload, design, book) for design in workload.designs]
    reference = next((a for a in answers if a.design.shape == "active-2"), answers[0])
    used = {(line.price.region, line.price.id) for a in answers for line in a.bill.lines}
    return Report(
        workload=workload,
        today=today,
        usage=usage_of(workload.point()),
        answers=answers,
        days=[day for a in answers for day in bad_days(workload, a.design, book)],
        reference=reference,
        levers=levers(workload, reference.design, book),
        break_even=break_even(workload, book, reference.design.regions[0]),
        stale=book.stale(used, today=today),
    )


def drivers(answer_: Answer, *without: str) -> list[tuple[str, Decimal]]:
    """The three items that cost most, over all regions, outside the groups ``without``."""
    sums: dict[str, Decimal] = {}
    for line in answer_.bill.lines:
        if line.amount is not None and line.group not in without:
            sums[line.item] = sums.get(line.item, Decimal(0)) + line.amount
    return sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))[:3]


def per(amount: Decimal, units: Decimal) -> Decimal:
    """USD a unit; 0 when there is none."""
    return amount / units if units else Decimal(0)


def cents(amount: Decimal) -> str:
    """USD to the cent, as text."""
    return format(amount.quantize(Decimal("0.01")), "f")


def _plain(value: Decimal, digits: int = 6) -> str:
    text = format(round(value, digits), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_json(report: Report) -> dict[str, Any]:
    """The document of ``--json``: schema ``eisbach.cost.report/1``."""
    edge = report.break_even
    return {
        "schema": "eisbach.cost.report/1",
        "workload": {"name": report.workload.name, "file": report.workload.source},
        "today": report.today.isoformat(),
        "month": {
            "hours": 730,
            "viewer_hours": _plain(report.usage.viewer_hours),
            "plays": _plain(report.usage.plays, 0),
            "origin_calls": _plain(report.usage.origin_calls, 0),
            "durable_writes": _plain(report.usage.writes, 0),
            "egress_gb": _plain(report.usage.media_gb, 0),
        },
        "designs": [_design(report, a) for a in report.answers],
        "reference": report.reference.design.name,
        "levers": [{"topic": x.topic, "change": x.change, "delta": cents(x.delta)} for x in report.levers],
        "break_even": {
            "region": edge.region,
            "cheaper_on_fargate_from_calls_per_s": None if edge.cheaper_from is None else _plain(edge.cheaper_from, 2),
            "this_workload_calls_per_s": _plain(edge.here, 1),
            "cpu_ms": _plain(edge.cpu_ms, 3),
            "billed_ms": _plain(edge.billed_ms, 3),
            "points": [[_plain(r, 3), cents(x), cents(y)] for r, x, y in edge.points],
        },
        "assumptions": [
            {
                "name": name,
                "low": _plain(a.value.low),
                "typical": _plain(a.value.typical),
                "high": _plain(a.value.high),
                "unit": a.unit,
                "origin": a.origin,
            }
            for name, a in report.workload.assumptions.items()
        ],
        "stale_prices": [{"region": p.region, "id": p.id, "date": p.date.isoformat()} for p in report.stale],
        "not_modelled": list(NOT_MODELLED),
    }


def _design(report: Report, a: Answer) -> dict[str, Any]:
    total, hours, plays = a.bill.total, report.usage.viewer_hours, report.usage.plays
    return {
        "name": a.design.name,
        "shape": a.design.shape,
        "compute": a.design.compute,
        "front_door": a.design.front_door,
        "regions": list(a.design.regions),
        "cells": a.design.cells,
        "total": cents(total),
        "likely": [cents(x) for x in a.likely],
        "extreme": [cents(x) for x in a.extreme],
        "without_egress_and_media": [cents(x) for x in a.control],
        "groups": {name: cents(a.bill.group(name)) for name in GROUPS},
        "per_viewer_hour": _plain(per(total, hours)),
        "per_million_plays": cents(per(total, plays) * 10**6),
        "control_per_viewer_hour": _plain(per(a.control[1], hours), 8),
        "control_per_million_plays": cents(per(a.control[1], plays) * 10**6),
        "drivers": [{"item": item, "amount": cents(x)} for item, x in drivers(a)],
        "drivers_without_egress_and_media": [
            {"item": item, "amount": cents(x)} for item, x in drivers(a, "egress", "media")
        ],
        "sensitivity": [_swing(s) for s in a.swings[:_SHOWN]],
        "sensitivity_without_egress_and_media": [_swing(s) for s in a.control_swings[:_SHOWN]],
        "bad_days": [
            {"kind": d.kind, "cost": None if d.cost is None else cents(d.cost), "how": d.how}
            for d in report.days
            if d.design == a.design.name
        ],
        "lines": [_line(line) for line in a.bill.lines],
        "unpriced": [_line(line) for line in a.bill.unpriced],
    }


def _swing(swing: Swing) -> dict[str, str]:
    return {
        "name": swing.name,
        "low": _plain(swing.low),
        "high": _plain(swing.high),
        "unit": swing.unit,
        "at_low": cents(swing.total_at_low),
        "at_high": cents(swing.total_at_high),
        "origin": swing.origin,
    }


def _line(line: Line) -> dict[str, Any]:
    price = line.price
    return {
        "group": line.group,
        "item": line.item,
        "region": price.region,
        "quantity": _plain(line.quantity, 3),
        "unit": price.unit,
        "formula": line.formula,
        "price_id": price.id,
        "usage_type": price.usage_type,
        "per": price.per,
        "tiers": [[_plain(t.start), _plain(t.price * price.per, 10)] for t in price.tiers] or None,
        "amount": None if line.amount is None else cents(line.amount),
        "source": price.source,
        "date": price.date.isoformat(),
        "confidence": price.confidence,
    }


def as_csv(report: Report) -> str:
    """Every line of every design; an unpriced amount is empty. Texts that a spreadsheet would run are quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    columns = ("group", "item", "region", "quantity", "unit", "amount", "price_id", "usage_type", "formula", "source",
               "date", "confidence")  # fmt: skip
    writer.writerow(("design", *columns))
    for a in report.answers:
        for line in a.bill.lines:
            row = _line(line)
            writer.writerow((_inert(a.design.name), *(_inert("" if row[c] is None else str(row[c])) for c in columns)))
    return out.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
