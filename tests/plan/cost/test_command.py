"""The command as a person meets it, and the page as a browser gets it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.plan.cost.html import as_html
from eisbach.plan.cost.prices import load_prices
from eisbach.plan.cost.report import report_of
from eisbach.plan.cost.workload import load_workload

EXAMPLE = Path(__file__).parents[3] / "examples/cost/broadcaster.toml"
HEAD = "lineItem/LineItemType,lineItem/ProductCode,lineItem/UsageType,lineItem/Operation,lineItem/UsageAmount,lineItem/UnblendedCost"
runner = CliRunner()


def run(*words: str | Path) -> tuple[int, str]:
    done = runner.invoke(application(), ["cost", *map(str, words)])
    return done.exit_code, done.output


def test_the_example_is_priced_with_a_headline_warnings_and_what_to_do_next() -> None:
    code, said = run(EXAMPLE)

    assert code == 0
    assert "Egress is 98 % of the bill" in said
    assert "unpriced" not in said
    assert "Next: eisbach cost" in said


def test_what_has_no_price_is_named_in_the_answer(tmp_path: Path) -> None:
    workload = tmp_path / "w.toml"
    workload.write_text(EXAMPLE.read_text().replace("[media]", "[media]\nconvert_minutes = 1000"))

    code, said = run(workload)

    assert code == 0
    assert "unpriced: MediaConvert" in said


def test_json_names_formula_price_and_source_of_every_line() -> None:
    code, said = run(EXAMPLE, "--json")
    found = json.loads(said)

    assert (code, found["schema"], len(found["designs"])) == (0, "eisbach.cost.report/1", 8)
    for design in found["designs"]:
        assert all(
            line["formula"] and line["source"] and line["date"] and line["confidence"] for line in design["lines"]
        )
        assert len(design["drivers"]) == 3
        assert len(design["sensitivity"]) == 5


def test_page_json_and_csv_are_written_by_the_ending_of_the_name(tmp_path: Path) -> None:
    page, document, table = (tmp_path / f"r.{kind}" for kind in ("html", "json", "csv"))
    code, _ = run(EXAMPLE, "--out", page, "--out", document, "--out", table)

    assert code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(document.read_text())["reference"] == "Two active regions, Lambda"
    assert table.read_text().startswith("design,group,item,")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("/no/such.toml",), "/no/such.toml: No such file"),
        ((EXAMPLE, "more"), "'more' is one too many"),
        ((EXAMPLE, "--out", "x.pdf"), "the name must end in .html, .json or .csv"),
        ((EXAMPLE, "--out", "/no/such/x.csv"), "/no/such/x.csv: No such file"),
        ((EXAMPLE, "--prices", "/no/such"), "has no price files"),
        ((EXAMPLE, "--measured", "/no/such.json"), "/no/such.json: No such file"),
        (("compare",), "takes BILL.csv and perhaps a workload"),
        (("compare", "/no/such.csv"), "/no/such.csv: No such file"),
        (("compare", EXAMPLE, EXAMPLE, "--design", "Two active regions, Lamda"), "did you mean 'Two active regions, Lambda'?"),
        (("capture",), "takes RUN.json and perhaps SECONDS"),
        (("capture", "r.json", "1.5"), "SECONDS '1.5' is not a whole number from 1 to 3600"),
        (("refresh",), "takes the FOLDER to write"),
        (("refresh", "/tmp/none", "ftp://x"), "not an http or https address"),
    ],
)  # fmt: skip
def test_wrong_words_get_a_clear_answer(words: tuple[str | Path, ...], wanted: str) -> None:
    code, said = run(*words)

    assert code == 2
    assert wanted in said


def test_compare_shows_the_error_by_line(tmp_path: Path) -> None:
    bill = tmp_path / "b.csv"
    bill.write_text(f"{HEAD}\nUsage,AWSQueueService,EUC1-Requests-RBP,Receive,2000000,1\nUsage,AmazonEC2,X,Y,1,5\n")

    code, said = run("compare", bill, EXAMPLE, "--design", "One region, Lambda")
    found = json.loads(run("compare", bill, EXAMPLE, "--json")[1])

    assert (code, "-20.0 %" in said, "unmatched: AmazonEC2 X $5.00" in said) == (0, True, True)
    assert found["lines"][0]["price_error"] == "-0.2000"
    assert found["lines"][0]["modelled"] is not None


def test_a_run_is_priced_and_held_against_the_model(tmp_path: Path) -> None:
    units = {"transactions": 10, "items_written": 20, "items_read": 5, "bytes_written": 4000, "requests": 100}
    cell = {"cell": "eu-central/c1", "region": "eu-central", "units": units}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"schema": "eisbach.cost.units/1", "seconds": 60, "plays": 10, "cells": [cell]}))

    found = json.loads(run(EXAMPLE, "--measured", path, "--json")[1])
    code, said = run(EXAMPLE, "--measured", path)

    # 20 items that are flushed each time + 10 rows of the log, 5 reads, 100 calls, at Frankfurt's prices
    assert float(found["total"]) == pytest.approx(30 * 0.7625e-6 + 5 * 0.1525e-6 + 100 * 1.2e-6, abs=1e-8)
    assert (code, "a million plays like these: $14.36" in said) == (0, True)


def test_nothing_of_the_platform_is_imported() -> None:
    names = ["html", "report", "terminal", "compare", "units", "refresh", "ranges", "workload", "whatif", "breakeven"]
    script = f"import {', '.join('eisbach.plan.cost.' + n for n in names)}, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("eisbach")}

    allowed = {"eisbach", "eisbach.kernel", "eisbach.kernel.errors", "eisbach.plan", "eisbach.plan.page"}
    assert {name for name in ours - allowed if not name.startswith("eisbach.plan.cost")} == set()
    assert {"asyncio", "apsw", "nats", "aiohttp", "msgspec", "uvicorn"} & set(done.stdout.split()) == set()


def page(name: str = "x") -> str:
    workload = load_workload(EXAMPLE)
    designs = [replace(workload.designs[0], name=name), *workload.designs[1:]]
    return as_html(report_of(replace(workload, name=name, designs=designs), load_prices(), today=date(2026, 11, 26)))


def test_the_page_fetches_nothing_and_runs_no_script_but_its_own() -> None:
    text = page()

    assert "default-src &#x27;none&#x27;" in text
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", text) == []
    assert len(re.findall("<script", text)) == 1


def test_no_word_of_a_workload_becomes_markup() -> None:
    text = page("<img src=x onerror=alert(1)>\"'&")

    assert "<img" not in text
    assert "&lt;img src=x" in text


def test_the_page_is_the_same_for_the_same_input() -> None:
    assert page() == page()
