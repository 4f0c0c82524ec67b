"""Ten lines of the example's bill worked out again by hand, and sums that a price list makes of several lines.

Each figure on the right is arithmetic over numbers of examples/cost/broadcaster.toml, of the defaults and of AWS's rules as
written on its pages; nothing of the model is used, so that an error in it does not agree with itself.
"""

import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from eisbach.plan.cost.bill import Bill, Meter
from eisbach.plan.cost.model import bill_of
from eisbach.plan.cost.prices import load_prices
from eisbach.plan.cost.whatif import bad_days
from eisbach.plan.cost.workload import load_workload

BOOK = load_prices()
WORKLOAD = load_workload(Path(__file__).parents[3] / "examples/cost/broadcaster.toml")
DESIGNS = {design.name: design for design in WORKLOAD.designs}
D = Decimal


def bill(name: str) -> Bill:
    return bill_of(WORKLOAD.point(), DESIGNS[name], BOOK, WORKLOAD.architecture)


def amount(found: Bill, item: str, region: str) -> float:
    (line,) = [line for line in found.lines if line.item == item and line.price.region == region]
    assert line.amount is not None
    return float(line.amount)


HOURS, PLAYS = 30e6, 30e6 * 60 / 32
GIB = 2**30
ORIGIN = PLAYS * (0.01 + 0.70 + 0.03 + 0.75 + 0.03 + 0.60 * 0.03 + 1.15 + 0.69 + 1.15) + HOURS * 3600 * (
    1 / 30 + 1 / 30 + 1 / 300 + 1 / 900
)
"""Calls that no cache answers: of the join, and heartbeat, telemetry, steering, token."""
PAGES = PLAYS * (2_000 + 20_000 + 10_000 + 0.60 * 10_000) / GIB
VIDEO = HOURS * 3600 * 5e6 / 8 / GIB
CDN = (
    10_240 * 0.085 + 40_960 * 0.080 + 102_400 * 0.060 + 358_400 * 0.040 + 536_576 * 0.030 + 4_194_304 * 0.025
    + (VIDEO + PAGES - 5_242_880) * 0.020
)  # fmt: skip
REQUESTS = HOURS * 3600 * 0.67 + PLAYS * (1 + 1 + 1 + 0.60)
PROGRESS = PLAYS * 2 + HOURS * 3600 / 120
WRITES = PROGRESS + PLAYS * (1 + 0.05 + 0.02)
OP = (250 + 300) * 0.55
SMALL = OP * 2.2 <= 1024  # the progress ops of a commit fit one unit
COPIES = 2 / 6  # six of them, as a twin logs them, are two units


@pytest.mark.parametrize(
    ("design", "item", "region", "by_hand"),
    [
        ("One region, Lambda", "video and pages to viewers", "eu-central-1", CDN),
        ("One region, Lambda", "requests to the CDN", "eu-central-1", REQUESTS / 10_000 * 0.012),
        ("One region, Lambda", "Lambda calls", "eu-central-1", ORIGIN / 1e6 * 0.20),
        (
            "One region, Lambda", "calls (http-api)", "eu-central-1",
            (300e6 * 1.20 + (ORIGIN - 300e6) * 1.08) / 1e6,
        ),
        ("One region, Lambda", "write progress", "eu-central-1", PROGRESS * 0.3 / 1e6 * 0.7625),
        ("One region, Lambda", "log progress", "eu-central-1", PROGRESS / 2.2 / 1e6 * 0.7625),
        ("One region, Lambda", "forget progress", "eu-central-1", PROGRESS / 2.2 / 1e6 * 0.7625),
        (
            "One region, Lambda", "envelopes in the hub's table", "eu-central-1",
            WRITES * 0.8 / 15 * (4 + 1) / 1e6 * 0.7625,  # 15 x 700 bytes x 0.3: 3,150 bytes, and the cursor
        ),
        ("One region, Lambda", "logs written", "eu-central-1", ORIGIN * 500 / GIB * 0.63),
        ("One region, Lambda", "logs kept", "eu-central-1", ORIGIN * 500 / GIB * 0.15 * 0.0324),
        (
            "One region, Lambda", "library stored", "eu-central-1",
            51_200 * 0.0245 + (120e12 / GIB - 51_200) * 0.0235,
        ),
        ("Two active regions, Lambda", "replicate progress", "eu-west-1", PROGRESS / 2 / 2.2 / 1e6 * 0.705),
        ("Two active regions, Lambda", "apply progress", "eu-west-1", PROGRESS / 2 * 2 * COPIES / 1e6 * 0.705),
        (
            "Two active regions, Lambda", "replicate copies of progress from eu-west-1", "eu-central-1",
            PROGRESS / 2 * 2 * COPIES / 1e6 * 0.7625,
        ),
        ("Two active regions, Lambda", "media to eu-west-1", "eu-central-1", 4e12 / GIB * 0.02),
        ("One region, Fargate", "NAT gateways", "eu-central-1", 2 * 730 * 0.052),
        ("One region, Fargate", "through NAT", "eu-central-1", 50 * 0.052),
        (
            "One region, Lambda", "SNS publications", "eu-central-1",
            WRITES * 0.8 / 15 * 0.50 / 1e6,
        ),
    ],
)  # fmt: skip
def test_a_line_of_the_example_is_what_the_pages_say_by_hand(
    design: str, item: str, region: str, by_hand: float
) -> None:
    assert SMALL
    assert amount(bill(design), item, region) == pytest.approx(by_hand, rel=1e-6)


def test_capacity_that_is_provisioned_is_paid_by_the_hour_for_log_and_hub_and_not_for_the_state() -> None:
    design = dataclasses.replace(DESIGNS["One region, Lambda"], capacity="provisioned")
    found = bill_of(WORKLOAD.point(), design, BOOK, WORKLOAD.architecture)

    hours = PROGRESS / 2.2 / 3600 / 0.63
    assert amount(found, "log progress", "eu-central-1") == pytest.approx(hours * 0.000793, rel=1e-6)
    assert amount(found, "write progress", "eu-central-1") == pytest.approx(PROGRESS * 0.3 / 1e6 * 0.7625, rel=1e-6)
    assert found.total < bill("One region, Lambda").total


def test_lines_of_one_price_in_one_region_share_its_tiers() -> None:
    whole, parts = Meter(BOOK), Meter(BOOK)
    whole.add(("front door", "calls"), "us-east-1", "http_api.request", D(500_000_000), "all")
    for name in ("viewers", "partners"):
        parts.add(("front door", name), "us-east-1", "http_api.request", D(250_000_000), name)
    parts.add(("front door", "elsewhere"), "eu-west-1", "http_api.request", D(1), "another region has its own tiers")

    assert sum((x.amount or D(0) for x in parts.lines[:2]), D(0)) == whole.bill().total


def test_calls_of_a_bad_day_cost_what_the_month_has_come_to_and_read_what_they_read() -> None:
    design = DESIGNS["One region, Lambda"]
    month, point = bill(design.name), WORKLOAD.point()
    storm = next(day for day in bad_days(WORKLOAD, design, BOOK) if day.kind == "retry storm")
    reads = next(line for line in month.lines if line.item == "reads of calls")
    joins, steady = 1e6 * 0.05 / 60, 1e6
    calls = 2 * 3600 * (
        joins * (ORIGIN - HOURS * 3600 * (1 / 30 + 1 / 30 + 1 / 300 + 1 / 900)) / PLAYS
        + steady * (1 / 30 + 1 / 30 + 1 / 300 + 1 / 900)
    )  # fmt: skip
    door = calls / 1e6 * 1.08  # the month is past the first tier long before

    assert point["failure.retries"] == 2
    assert storm.cost is not None
    share = calls / ORIGIN
    compute = sum(amount(month, item, "eu-central-1") for item in ("Lambda time", "Lambda calls")) * share
    log = calls * 500 / GIB * 0.63
    assert float(storm.cost) == pytest.approx(
        door + compute + log + float(reads.quantity) * share * 0.1525 / 1e6, rel=1e-3
    )
