"""Wrong input of every kind gets a clear error with file and place, and no input crashes a reader."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.compare import read_bill
from eisbach.plan.cost.prices import SCHEMA, document, load_prices, parse_prices
from eisbach.plan.cost.source import parse_source
from eisbach.plan.cost.units import SCHEMA as UNITS
from eisbach.plan.cost.units import parse_run
from eisbach.plan.cost.workload import Workload, parse_workload

LEAST = """[audience]
viewer_hours = 1000
peak_viewers = 100
[media]
bitrate_mbit_s = 5
[[design]]
name = "one"
shape = "single"
compute = "lambda"
regions = ["eu-central-1"]
"""
HEAD = "lineItem/LineItemType,lineItem/ProductCode,lineItem/UsageType,lineItem/Operation,lineItem/UsageAmount,lineItem/UnblendedCost"


def workload(text: str) -> Workload:
    return parse_workload(parse_source(text.encode(), "w.toml"))


def refusal(read: Callable[[], Any]) -> tuple[str, Any]:
    """What a reader said, or what it read; any other exception than Invalid is the test's failure."""
    try:
        return "", read()
    except Invalid as error:
        return str(error), None


def test_three_keys_and_a_design_are_enough_and_the_rest_says_that_it_is_a_default() -> None:
    found = workload(LEAST)

    assert found.assumptions["audience.viewer_hours"].origin == "w.toml:2"
    assert found.assumptions["cadence.heartbeat_seconds"].origin == "default: design section 3"
    assert len(found.names("calls")) == 9


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("viewer_hours", "viewer_hour", "w.toml:2: audience.viewer_hour: unknown key; did you mean 'viewer_hours'?"),
        ("[audience]", "[audiense]", "w.toml:1: audiense: unknown key; did you mean 'audience'?"),
        ("bitrate_mbit_s = 5", "", "w.toml:4: media: 'bitrate_mbit_s' is missing (Mbit/s, average)"),
        ("= 1000", '= "1000"', "w.toml:2: audience.viewer_hours: '1000' is not a number (hours a month)"),
        ("= 1000", "= true", "w.toml:2: audience.viewer_hours: True is not a number"),
        ("= 1000", "= nan", "w.toml:2: audience.viewer_hours: nan is not from 1 to"),
        ("= 1000", "= -1", "w.toml:2: audience.viewer_hours: -1 is not from 1 to 100000000000"),
        ("= 1000", "= [1, 2]", "w.toml:2: audience.viewer_hours: must be a number or [low, typical, high]"),
        ("= 1000", "= [3, 2, 1]", "does not rise"),
        ("= 1000", "= 1000000", "w.toml:2: audience.viewer_hours: 1000000 viewer-hours a month are more than the peak"),
        ("= 1000", "= ", "w.toml:2: not TOML"),
        ('"single"', '"singel"', "w.toml:8: design.1.shape: unknown shape 'singel'; did you mean 'single'?"),
        ('"single"', '"active-2"', "w.toml:10: design.1.regions: shape active-2 needs a list of 2 regions"),
        ('"lambda"', "3", "w.toml:9: design.1.compute: unknown compute 3"),
        ('"eu-central-1"', '"eu-central-2"', "unknown regions 'eu-central-2'; did you mean 'eu-central-1'?"),
        ('name = "one"', "", "w.toml:6: design.1: 'name' is missing"),
        ('name = "one"', 'name = "one"\nchells = 2', "w.toml:8: design.1.chells: unknown key; did you mean 'cells'?"),
        ('name = "one"', 'name = "one"\ncells = 0', "w.toml:8: design.1.cells: 0 is not a whole number from 1 to 1000"),
        ("[[design]]", "[design]", "design: there must be 1 to 20 tables [[design]]"),
        ("[media]", "[calls.home]\nper_play = 1\nwriets = 1\n[media]", "w.toml:6: calls.home.wriets: unknown key; did you mean"),
        ("[media]", "[calls.Home]\nper_play = 1\n[media]", "w.toml:4: calls.Home: a name has 1 to 31"),
        ("[media]", "[media]\nx = " + "[" * 5000, "not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_workload_is_refused_with_file_line_and_what_to_do(before: str, after: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        workload(LEAST.replace(before, after, 1))

    assert said in str(refused.value)


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    with pytest.raises(Invalid, match=r"w.toml:2: not UTF-8 text \(byte 3\)"):
        parse_source(b"#a\n\xff", "w.toml")


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_workload_reader(raw: bytes) -> None:
    with pytest.raises(Invalid, match=r"^w:"):
        parse_workload(parse_source(raw, "w"))


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_ROW = {"id": "a", "unit": "u", "tiers": [["0", "1"]], "service": "s", "usage_type": "t", "source": "x", "date": "2026-01-01",
        "confidence": "high"}  # fmt: skip


@given(st.sampled_from(sorted(_ROW)), _VALUE)
def test_no_value_crashes_the_price_reader(key: str, value: object) -> None:
    whole = {"schema": SCHEMA, "region": "eu-central-1", "currency": "USD", "prices": [{**_ROW, key: value}]}
    said, found = refusal(lambda: parse_prices(json.dumps(whole).encode(), "p.json"))

    assert said.startswith("p.json: ") or all(tier.price >= 0 for tier in found[0].tiers)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_readers_of_prices_and_runs(raw: bytes) -> None:
    for parse in (parse_prices, parse_run):
        with pytest.raises(Invalid, match="x: "):
            parse(raw, "x")


@given(st.sampled_from(["cell", "region", "units", "seconds", "plays", "write_units"]), _VALUE)
def test_no_value_crashes_the_reader_of_runs(key: str, value: object) -> None:
    cell: dict[str, object] = {"cell": "c1", "region": "eu-central", "units": {"write_units": 1}}
    whole: dict[str, object] = {"schema": UNITS, "seconds": 1, "plays": 1, "cells": [cell]}
    if key in whole:
        whole[key] = value
    elif key in cell:
        cell[key] = value
    else:
        cell["units"] = {key: value}
    said, found = refusal(lambda: parse_run(json.dumps(whole).encode(), "r.json"))

    assert said.startswith("r.json: ") or found.seconds > 0


@given(st.lists(st.lists(st.text(max_size=6), max_size=7), max_size=4))
def test_no_rows_crash_the_reader_of_bills(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("bill") / "b.csv"
    path.write_text(HEAD + "\n" + "\n".join(",".join(row) for row in rows), encoding="utf-8", errors="replace")
    said, found = refusal(lambda: read_bill(path))

    assert said.startswith(f"{path}:") or all(row.cost >= 0 for row in found[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"confidence": "sure"}, "row 1 (a): confidence 'sure' is not one of high, medium, low"),
        ({"tiers": [["1", "1"]]}, "row 1 (a): the first tier must begin at 0, not 1"),
        ({"tiers": [["0", "1"], ["0", "2"]]}, "tiers must rise"),
        ({"tiers": [["0", 0.1]]}, "0.1 is not a number from 0 written as text"),
        ({"tiers": [["0", "-1"]]}, "'-1' is not a number from 0"),
        ({"date": "yesterday"}, "date 'yesterday' is not a day like"),
        ({"pirce": 1}, "unknown key 'pirce'"),
        ({"per": 0}, "per 0 is not a whole number from 1"),
    ],
)
def test_a_wrong_price_file_names_the_row(change: dict[str, object], said: str) -> None:
    whole = {"schema": SCHEMA, "region": "eu-central-1", "currency": "USD", "prices": [{**_ROW, **change}]}
    with pytest.raises(Invalid) as refused:
        parse_prices(json.dumps(whole).encode(), "p.json")

    assert said in str(refused.value)


@pytest.mark.parametrize("region", ["eu-central-1", "eu-west-1", "us-east-1"])
def test_written_prices_read_back_as_they_were(region: str) -> None:
    prices = [price for (place, _), price in load_prices().prices.items() if place == region]

    assert parse_prices(document(region, prices).encode(), "x") == prices


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n", "b.csv:1: no column 'lineItem/LineItemType' or 'line_item_line_item_type'"),
        ("a,b\n1,2\n", "this is no Cost and Usage export"),
        (HEAD + "\nUsage,a,b,c,1\n", "b.csv:2: 5 columns, the header has 6"),
        (HEAD + "\nUsage,a,b,c,1,1\nUsage,a,b,c,x,1\n", "b.csv:3: lineItem/UsageAmount: 'x' is not a number"),
        (HEAD + "\nUsage,a,b,c,1,-1\n", "b.csv:2: lineItem/UnblendedCost: '-1' is not a number from 0"),
        (HEAD + '\nUsage,a,"b\n', "not CSV"),
        (HEAD + ",lineItem/CurrencyCode\nUsage,a,b,c,1,1,USD\nUsage,a,b,c,1,1,EUR\n", "b.csv:3: billed in 'EUR'"),
        ("", "b.csv:1: empty"),
    ],
)
def test_a_wrong_bill_names_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "b.csv"
    path.write_text(text)
    with pytest.raises(Invalid) as refused:
        read_bill(path)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cells": []}, "'cells' must be a list of 1 to"),
        ({"seconds": 0}, "seconds is 0; a run lasts"),
        ({"plays": -1}, "plays: -1 is not from 0"),
        ({"plays": True}, "plays: 'True' is not a number"),
        ({"cells": [{"cell": "c", "region": "eu-centrl", "units": {}}]}, "did you mean 'eu-central'?"),
        ({"cells": [{"cell": "c", "region": "eu-west", "units": {"write_unit": 1}}]}, "did you mean 'write_units'?"),
    ],
)
def test_a_wrong_run_names_the_place(change: dict[str, object], said: str) -> None:
    cell = {"cell": "c1", "region": "eu-central", "units": {}}
    whole = {"schema": UNITS, "seconds": 1, "plays": 1, "cells": [cell], **change}
    with pytest.raises(Invalid) as refused:
        parse_run(json.dumps(whole).encode(), "r.json")

    assert said in str(refused.value)
