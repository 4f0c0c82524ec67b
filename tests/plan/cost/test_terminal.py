"""The answer in a terminal of 80 columns: a row stays a row."""

import io
import json
import re
from datetime import date
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from eisbach.cli.app import application
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


def test_at_80_columns_a_comparison_and_a_measured_run_keep_their_rows(tmp_path: Path) -> None:
    bill, counted = tmp_path / "bill.csv", tmp_path / "run.json"
    bill.write_text(
        "lineItem/LineItemType,lineItem/ProductCode,lineItem/UsageType,lineItem/Operation,lineItem/UsageAmount,"
        "lineItem/UnblendedCost\nUsage,AmazonCloudFront,EU-DataTransfer-Out-Bytes,,1000,85\n"
    )
    cell = {"cell": "eu-central/c1", "region": "eu-central", "units": {"transactions": 40, "items_written": 80}}
    counted.write_text(
        json.dumps({"schema": "eisbach.cost.units/1", "seconds": 60, "plays": 12, "cells": [cell]}), encoding="utf-8"
    )

    said = [
        CliRunner().invoke(application(), ["cost", *words], env={"COLUMNS": "80"}).output
        for words in (["compare", str(bill), str(EXAMPLE)], [str(EXAMPLE), "--measured", str(counted)])
    ]

    assert re.search(r"^EU-DataTransfer-Out-Bytes +\$85\.00 +\+0\.0 % +\$1,298,050 +x 15,271", said[0], re.MULTILINE)
    assert re.search(r"^writes, translated +eu-central-1 +\d+ WRU +0\.\d+ *$", said[1], re.MULTILINE)
