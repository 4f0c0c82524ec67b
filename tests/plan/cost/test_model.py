"""Money is never negative, grows with what is used, is continuous over tiers; unknown is never zero; every line adds up."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eisbach.plan.cost.bill import Bill
from eisbach.plan.cost.breakeven import break_even
from eisbach.plan.cost.fields import FIELDS
from eisbach.plan.cost.html import as_html
from eisbach.plan.cost.model import bill_of
from eisbach.plan.cost.prices import STALE, load_prices
from eisbach.plan.cost.ranges import answer
from eisbach.plan.cost.report import as_csv, as_json, report_of
from eisbach.plan.cost.source import parse_source
from eisbach.plan.cost.tariff import fargate_seconds, lambda_duration_ms, lambda_gb_seconds
from eisbach.plan.cost.whatif import bad_days, levers
from eisbach.plan.cost.workload import COMPUTES, SHAPES, load_workload, parse_workload

BOOK = load_prices()
WORKLOAD = load_workload(Path(__file__).parents[3] / "examples/cost/broadcaster.toml")
DESIGNS = {design.name: design for design in WORKLOAD.designs}
TODAY = date(2026, 11, 26)
D = Decimal
PRICES = sorted(BOOK.prices)
QUANTITY = st.decimals(min_value=0, max_value=10**13, places=3, allow_nan=False)
RISING = ("audience.viewer_hours", "audience.peak_viewers", "media.bitrate_mbit_s", "media.library_tb", "logs.bytes_per_call",
          "events.per_write", "store.data_gb")  # fmt: skip
FALLING = ("cadence.heartbeat_seconds", "cadence.progress_seconds", "cadence.telemetry_batch", "media.cdn_hit_ratio",
           "contract.egress_discount")  # fmt: skip


def close(one: Decimal, two: Decimal) -> bool:
    """Equal but for the 28th digit of sums in another order."""
    return abs(one - two) < D("1e-12")


def total(changed: dict[str, Decimal], design: str = "Two active regions, Lambda") -> Decimal:
    return bill_of(WORKLOAD.point() | changed, DESIGNS[design], BOOK, "arm").total


@given(st.sampled_from(PRICES), QUANTITY, QUANTITY)
def test_a_charge_is_never_negative_and_grows_with_the_quantity(
    key: tuple[str, str], one: Decimal, two: Decimal
) -> None:
    price = BOOK.prices[key]
    less, more = price.charge(min(one, two)), price.charge(max(one, two))

    assert (
        (less is None and more is None)
        if not price.known
        else (less is not None and more is not None and 0 <= less <= more)
    )


@given(st.sampled_from([k for k in PRICES if len(BOOK.prices[k].tiers) > 1]), st.data())
def test_a_tier_begins_exactly_at_its_boundary(key: tuple[str, str], data: st.DataObject) -> None:
    price = BOOK.prices[key]
    index = data.draw(st.integers(1, len(price.tiers) - 1))
    edge = price.tiers[index].start
    at, above, below = (price.charge(edge + step) for step in (D(0), D(1), D(-1)))

    assert at is not None
    assert above is not None
    assert below is not None
    assert above - at == price.tiers[index].price
    assert at - below == price.tiers[index - 1].price


def test_less_than_nothing_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="less than nothing"):
        BOOK.get("eu-central-1", "sqs.request").charge(D(-1))


@settings(max_examples=30)
@given(st.sampled_from(sorted(DESIGNS)), st.sampled_from(RISING), st.integers(1, 400))
def test_more_use_never_costs_less(design: str, name: str, percent: int) -> None:
    typical = WORKLOAD.point()[name]

    assert total({name: typical * (100 + percent) / 100}, design) >= total({}, design)


@pytest.mark.parametrize("name", FALLING)
def test_what_saves_saves(name: str) -> None:
    found = WORKLOAD.point()[name]
    better = min(D(1), found + D("0.01")) if found <= 1 and name != "cadence.telemetry_batch" else found * 2

    assert total({name: better}) < total({})


@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_the_groups_are_the_total_and_every_line_is_its_quantity_at_its_price(design: str) -> None:
    bill = bill_of(WORKLOAD.point(), DESIGNS[design], BOOK, "arm")

    assert close(sum((bill.group(name) for name in {line.group for line in bill.lines}), D(0)), bill.total)
    shared = Counter((line.price.region, line.price.id) for line in bill.lines)
    alone = [line for line in bill.lines if shared[line.price.region, line.price.id] == 1]
    assert alone
    assert all(line.amount == line.price.charge(line.quantity) for line in alone)
    for (region, id_), count in shared.items():  # lines of one price share its tiers
        if count > 1:
            amounts = [x.amount for x in bill.lines if (x.price.region, x.price.id) == (region, id_)]
            whole = BOOK.get(region, id_).charge(bill.quantity(region, id_))
            assert whole is None or close(sum((a for a in amounts if a is not None), D(0)), whole)
    assert all(line.formula and line.price.source for line in bill.lines)


def test_an_unknown_price_is_listed_and_never_counted_as_zero() -> None:
    point = WORKLOAD.point() | {"media.convert_minutes": D(1000)}
    bill = bill_of(point, WORKLOAD.designs[0], BOOK, "arm")
    known = Bill([line for line in bill.lines if line.amount is not None])

    assert {line.item for line in bill.unpriced} == {"MediaConvert"}
    assert known.total == bill.total


def test_prices_older_than_180_days_are_named() -> None:
    oldest = min(BOOK.prices.values(), key=lambda price: price.date)
    key = (oldest.region, oldest.id)

    assert BOOK.stale([key], today=oldest.date + STALE) == []
    assert BOOK.stale([key], today=oldest.date + STALE + timedelta(days=1)) == [oldest]


@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_the_ranges_hold_the_typical_total_and_the_likely_one_lies_in_the_extreme_one(design: str) -> None:
    found = answer(WORKLOAD, DESIGNS[design], BOOK)

    assert found.extreme[0] <= found.likely[0] <= found.bill.total <= found.likely[1] <= found.extreme[1]
    assert found.control[0] <= found.control[1] <= found.control[2]
    assert [s.width for s in found.swings] == sorted((s.width for s in found.swings), reverse=True)


def test_a_discount_lowers_the_egress_only_and_by_its_share() -> None:
    design = WORKLOAD.designs[0]
    before, after = (
        bill_of(WORKLOAD.point() | {"contract.egress_discount": D(x)}, design, BOOK, "arm") for x in ("0", "0.4")
    )
    video = [next(x.amount for x in b.lines if x.price.id == "cloudfront.out.gb") for b in (before, after)]

    assert video[0] is not None
    assert video[1] is not None
    assert close(video[1], video[0] * D("0.6"))
    assert close(before.but("egress"), after.but("egress"))


def test_an_override_changes_its_design_only() -> None:
    design = replace(WORKLOAD.designs[0], overrides={"cadence.heartbeat_seconds": D(10)})

    assert (
        bill_of(WORKLOAD.point(), design, BOOK, "arm").total
        > bill_of(WORKLOAD.point(), WORKLOAD.designs[0], BOOK, "arm").total
    )


def test_a_single_region_has_no_failover_and_an_active_pair_has_its_capacity_running() -> None:
    single, cold, pair = (
        {day.kind: day for day in bad_days(WORKLOAD, DESIGNS[name], BOOK)}
        for name in ("One region, Fargate", "Cold standby, Fargate", "Two active regions, Fargate")
    )

    assert single["failover day"].cost is None
    assert cold["failover day"].cost > pair["failover day"].cost > 0  # type: ignore[operator]
    assert close(pair["retry storm"].cost, pair["retry storm, budget"].cost * 20)  # type: ignore[arg-type,operator]


def test_levers_name_caching_batching_every_kind_of_item_and_the_regions() -> None:
    found = {
        (lever.topic, lever.change): lever.delta
        for lever in levers(WORKLOAD, DESIGNS["Two active regions, Lambda"], BOOK)
    }

    assert {topic for topic, _ in found} == {"caching", "batching", "replication", "regions"}
    assert all(found["replication", f"{kind} not replicated"] < 0 for kind in WORKLOAD.names("items"))
    assert found["regions", "single instead of active-2"] < 0 < found["regions", "active-3 instead of active-2"]


def test_lambda_is_cheaper_below_the_break_even_and_fargate_above_it() -> None:
    found = break_even(WORKLOAD, BOOK, "eu-central-1")

    assert found.cheaper_from is not None
    assert all((far < lam) == (rate >= found.cheaper_from) for rate, lam, far in found.points)


def test_equal_inputs_give_equal_answers_and_the_csv_has_every_line() -> None:
    one, two = (report_of(WORKLOAD, BOOK, today=TODAY) for _ in range(2))

    assert as_json(one) == as_json(two)
    assert as_csv(one).count("\r\n") == 1 + sum(len(a.bill.lines) for a in one.answers)


def test_a_cell_of_the_csv_that_a_spreadsheet_would_run_is_quoted() -> None:
    hostile = replace(WORKLOAD, designs=[replace(WORKLOAD.designs[0], name="=1+1")])

    assert "\r\n'=1+1," in as_csv(report_of(hostile, BOOK, today=TODAY))


def test_rounding_of_time() -> None:
    assert lambda_gb_seconds(D(1000), D("1.2"), D(1024)) == 2
    assert lambda_duration_ms(D(1), D(5), D("884.5")) == 7
    assert (fargate_seconds(D(1)), fargate_seconds(D("60.2"))) == (60, 61)


@st.composite
def workloads(draw: st.DrawFn) -> str:
    """A valid file with a few values anywhere in their bounds, ends included."""
    tables: dict[str, list[str]] = {"audience": [], "media": []}
    required = {"audience.viewer_hours": "1000", "audience.peak_viewers": "1e9", "media.bitrate_mbit_s": "5"}
    chosen = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=8))
    for name in sorted({*chosen, *required} - {"audience.peak_viewers"}):
        bounds = FIELDS[name]
        ends = st.sampled_from([bounds.least, bounds.most])
        value = (
            draw(ends | st.floats(float(bounds.least), float(bounds.most)).map(str))
            if name in chosen
            else required[name]
        )
        group, _, key = name.partition(".")
        tables.setdefault(group, []).append(f"{key} = {float(value)!r}")
    tables["audience"].append("peak_viewers = 1e9")
    text = "\n".join(f"[{group}]\n" + "\n".join(rows) for group, rows in tables.items())
    shape = draw(st.sampled_from(sorted(SHAPES)))
    compute = draw(st.sampled_from(COMPUTES))
    regions = ["eu-central-1", "eu-west-1", "us-east-1"][: SHAPES[shape]]
    return f'{text}\n[[design]]\nname = "x"\nshape = "{shape}"\ncompute = "{compute}"\nregions = {regions}\n'


@settings(max_examples=60, deadline=None)
@given(workloads())
def test_every_workload_within_the_bounds_is_priced_and_nothing_is_negative(text: str) -> None:
    report = report_of(parse_workload(parse_source(text.encode(), "w")), BOOK, today=TODAY)

    (found,) = report.answers
    assert found.bill.total > 0
    assert all(line.amount is None or line.amount >= 0 for line in found.bill.lines)
    assert found.likely[0] <= found.bill.total <= found.likely[1]
    assert all(day.cost is None or day.cost >= 0 for day in report.days)
    assert as_html(report)
