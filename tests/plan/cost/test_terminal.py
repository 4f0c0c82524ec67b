"""The answer in a terminal of 80 columns: a row stays a row."""

import io
from datetime import date
from pathlib import Path

from rich.console import Console

from eisbach.plan.cost.prices import load_prices
from eisbach.plan.cost.report import report_of
from eisbach.plan.cost.terminal import show
from eisbach.plan.cost.workload import load_workload

EXAMPLE = Path(__file__).parents[3] / "examples/cost/broadcaster.toml"


def test_at_80_columns_no_row_of_a_table_is_broken() -> None:
    report = report_of(load_workload(EXAMPLE), load_prices(), today=date(2026, 11, 26))
    out = io.StringIO()

    show(report, Console(file=out, width=80, color_system=None))

    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for answer in report.answers:  # once in the totals, once among the bad days, each with its figures beside it
        rows = [line for line in lines if line.startswith(answer.design.name + " ")]
        assert len([row for row in rows if row.count("$") >= 2]) == 2, answer.design.name
    for swing in (*report.reference.swings[:5], *report.reference.control_swings[:5]):
        assert any(line.startswith(swing.name + " ") and line.count("$") == 2 for line in lines), swing.name
