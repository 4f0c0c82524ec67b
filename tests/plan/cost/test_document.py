"""docs/cost.md walks through the example: each figure that it names is the model's."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from eisbach.plan.cost.prices import load_prices
from eisbach.plan.cost.report import Report, report_of
from eisbach.plan.cost.workload import load_workload

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/cost.md").read_text()


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(load_workload(ROOT / "examples/cost/broadcaster.toml"), load_prices(), today=date(2026, 11, 26))


def said(words: str, amount: Decimal | None, value: str, within: str = "0.01") -> bool:
    """The document has ``words``, and ``amount`` is within 1 % of what they mean."""
    assert words in TEXT
    return amount is not None and abs(amount - Decimal(value)) <= Decimal(value) * Decimal(within)


def test_egress(report: Report) -> None:
    lines = {line.price.id: line for line in report.reference.bill.lines if line.group == "egress"}

    assert said("62.9 million GB", lines["cloudfront.out.gb"].quantity, "62.9e6")
    assert said("**1.30 million USD**", lines["cloudfront.out.gb"].amount, "1.30e6")
    assert said("72.6 billion HTTPS requests", lines["cloudfront.https.request"].quantity, "72.6e9")
    assert said("**87,000**", lines["cloudfront.https.request"].amount, "87000")
    bill = report.reference.bill
    assert said("**Egress is 98 % of the bill.**", bill.group("egress") / bill.total, "0.98")


def test_the_second_region(report: Report) -> None:
    single = report.answers[0]
    more = report.reference.bill.total - single.bill.total

    assert said("adds about 4,900 USD a month", more, "4900")
    assert said("0.4 % of the whole", more / single.bill.total, "0.0035", "0.05")
    assert said("34 % of the rest", more / single.control[1], "0.34", "0.02")


def test_cadence_break_even_and_bad_days(report: Report) -> None:
    change = {lever.change: lever.delta for lever in report.levers}
    days = {day.kind: day.cost for day in report.days if day.design == report.reference.design.name}

    assert said("adds 10,900 USD a month", change["durable progress every 30 s"], "10900")
    assert said("needs 0.55 ms of CPU", report.break_even.cpu_ms, "0.55")
    assert said("at 23 calls a second", report.break_even.cheaper_from, "23", "0.02")
    assert said("this workload has 3,000", report.break_even.here, "3019")
    assert said("costs 67,000", days["surge day"], "67000")
    assert said("costs 860 on Lambda", days["retry storm"], "860")
    assert said("and 43 with it", days["retry storm, budget"], "43")
