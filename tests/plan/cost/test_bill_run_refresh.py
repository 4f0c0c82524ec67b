"""A real bill against the model, a run priced by its counters, and the price list of a loopback server."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.compare import compare, read_bill
from eisbach.plan.cost.model import bill_of
from eisbach.plan.cost.prices import PriceBook, load_prices
from eisbach.plan.cost.refresh import fetch, refresh
from eisbach.plan.cost.tariff import Tier
from eisbach.plan.cost.units import difference, parse_run, price_run
from eisbach.plan.cost.workload import load_workload

BOOK = load_prices()
TODAY = date(2026, 11, 26)
D = Decimal
WORKLOAD = load_workload(Path(__file__).parents[3] / "examples/cost/broadcaster.toml")
OLD = "lineItem/LineItemType,lineItem/ProductCode,lineItem/UsageType,lineItem/Operation,lineItem/UsageAmount,lineItem/UnblendedCost"
NEW = "line_item_line_item_type,line_item_product_code,line_item_usage_type,line_item_operation,line_item_usage_amount,line_item_unblended_cost"


@pytest.mark.parametrize("head", [OLD, NEW])
def test_a_bill_is_summed_matched_and_its_error_shown_by_line(tmp_path: Path, head: str) -> None:
    path = tmp_path / "b.csv"
    path.write_text(
        head + "\n"
        "Usage,AWSQueueService,EUC1-Requests-RBP,Receive,1000000,0.40\n"
        "Usage,AWSQueueService,EUC1-Requests-RBP,SendMessage,1000000,0.60\n"
        "Usage,AmazonEC2,EUC1-BoxUsage:m7g.large,RunInstances,730,70\n"
        "Tax,AWSQueueService,EUC1-Requests-RBP,,0,0.19\n"
    )
    rows, left_out = read_bill(path)
    found = compare(rows, left_out, BOOK)

    (line,) = found.lines
    assert (line.price_id, line.billed_units, line.billed, line.priced) == ("sqs.request", 2_000_000, 1, D("0.8"))
    assert line.price_error == D("-0.2")
    assert [(r.usage_type, r.cost) for r in found.unmatched] == [("EUC1-BoxUsage:m7g.large", 70)]
    assert found.left_out == 1


def test_a_bill_written_from_the_model_comes_back_without_error(tmp_path: Path) -> None:
    bill = bill_of(WORKLOAD.point(), WORKLOAD.designs[0], BOOK, "arm")
    path = tmp_path / "b.csv"
    rows = [
        f"Usage,{x.price.service},{x.price.usage_type},{x.price.operation},{x.quantity:f},{x.amount:f}"
        for x in bill.lines
        if x.amount is not None and x.price.usage_type
    ]
    path.write_text("\n".join([OLD, *rows]))
    found = compare(*read_bill(path), BOOK, bill)

    assert found.unmatched == []
    assert found.missing == []
    assert all(abs(line.model_error or 0) < D("1e-9") for line in found.lines)
    assert abs(found.priced - found.billed) / found.billed < D("0.001")


def test_the_usage_type_of_another_service_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text(
        f"{OLD}\nUsage,AmazonS3,EUC1-TimedStorage-ByteHrs,,1,1\nUsage,AmazonDynamoDB,EUC1-TimedStorage-ByteHrs,,1,1\n"
    )
    found = compare(*read_bill(path), BOOK)

    assert {line.price_id for line in found.lines} == {"s3.storage.gb_month", "dynamodb.storage.gb_month"}


def status(cell: str, *, written: int, requests: int, plays: int) -> dict[str, Any]:
    store = {
        "transactions": written // 2,
        "items_written": written,
        "items_read": 10 * written,
        "bytes_written": 300 * written,
    }
    calls = {"POST /v1/playback/sessions": {"201": plays, "403": 99}}
    return {"cell": cell, "region": "eu-central", "store": store, "requests": requests, "calls": calls}


def test_two_readings_make_a_run_and_a_cell_that_restarted_is_left_out() -> None:
    before = [status("c1", written=100, requests=1000, plays=5), status("c2", written=900, requests=9, plays=1)]
    after = [status("c1", written=300, requests=4000, plays=15), status("c2", written=2, requests=1, plays=0),
             status("c3", written=2, requests=1, plays=0)]  # fmt: skip
    run = parse_run(json.dumps(difference(before, after, 60.0)).encode(), "r.json")

    assert (run.seconds, run.plays) == (60, 10)
    assert [(cell.cell, cell.units["items_written"], cell.units["requests"]) for cell in run.cells] == [
        ("eu-central/c1", 200, 3000)
    ]


def test_no_cell_that_answered_twice_is_no_run() -> None:
    with pytest.raises(Invalid, match="no cell answered both times"):
        difference([], [status("c1", written=1, requests=1, plays=1)], 1.0)


def test_counters_of_sqlite_are_priced_as_the_units_dynamodb_would_bill() -> None:
    before, after = [status("c1", written=0, requests=0, plays=0)], [status("c1", written=200, requests=3000, plays=10)]
    bill = price_run(parse_run(json.dumps(difference(before, after, 60.0)).encode(), "r"), BOOK)
    units = {line.item: line.quantity for line in bill.lines}

    assert units == {"writes, translated": 200 + 100, "reads, translated": 2000, "calls": 3000}


def test_counters_of_an_aws_engine_are_priced_as_they_are() -> None:
    cell = {
        "cell": "c1",
        "region": "eu-west",
        "units": {"write_units": 7, "read_units": 3, "items_written": 99, "items_read": 99},
    }
    whole = {"schema": "eisbach.cost.units/1", "seconds": 1, "plays": 0, "cells": [cell]}
    bill = price_run(parse_run(json.dumps(whole).encode(), "r"), BOOK)

    assert {(line.price.id, line.price.region, line.quantity) for line in bill.lines} == {
        ("dynamodb.write", "eu-west-1", 7),
        ("dynamodb.read", "eu-west-1", 3),
    }


def test_the_units_that_an_aws_store_counts_go_before_the_translation() -> None:
    before, after = (status("c1", written=n, requests=n, plays=0) for n in (0, 100))
    before["store"]["units"] = {
        "requests": 1,
        "retries": 0,
        "write_units": 10,
        "replicated_write_units": 4,
        "read_units": 1.5,
        "messages": 0,
    }
    after["store"]["units"] = {
        "requests": 9,
        "retries": 0,
        "write_units": 610,
        "replicated_write_units": 204,
        "read_units": 4.0,
        "messages": 7,
    }
    bill = price_run(parse_run(json.dumps(difference([before], [after], 1.0)).encode(), "r"), BOOK)

    assert {line.item: line.quantity for line in bill.lines} == {
        "write_units": 600, "replicated_write_units": 200, "read_units": D("2.5"), "messages": 7, "calls": 100,
    }  # fmt: skip


def product(usage: str, operation: str = "", **dimension: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    rows = dimension.get("rows", [{"beginRange": "0", "endRange": "Inf", "unit": "x", "pricePerUnit": {"USD": "0.5"}}])
    terms = {"S.T": {"priceDimensions": {f"S.T.{n}": row for n, row in enumerate(rows)}}}
    return {"sku": "S", "attributes": {"usagetype": usage, "operation": operation}}, terms


def offer(*pairs: tuple[dict[str, Any], dict[str, Any]]) -> bytes:
    products = {f"SKU{n}": pair[0] for n, pair in enumerate(pairs)}
    terms = {"OnDemand": {f"SKU{n}": pair[1] for n, pair in enumerate(pairs)}}
    return json.dumps(
        {"formatVersion": "v1.0", "publicationDate": "2026-11-01T00:00:00Z", "products": products, "terms": terms}
    ).encode()


@contextmanager
def served(files: dict[str, bytes], *, code: int = 200) -> Iterator[str]:
    """The recorded shape of the bulk API on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            moved = code == 302 and self.path == "/a"
            self.send_response(404 if body is None else 302 if moved else 200)
            if moved:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SQS = "/offers/v1.0/aws/AWSQueueService/current/eu-central-1/index.json"
ONE = PriceBook({("eu-central-1", "sqs.request"): BOOK.get("eu-central-1", "sqs.request")})


def test_a_refreshed_price_has_its_tiers_its_address_and_todays_date() -> None:
    rows = [
        {"beginRange": "100000000000", "endRange": "Inf", "unit": "Requests", "pricePerUnit": {"USD": "0.0000003"}},
        {"beginRange": "0", "endRange": "100000000000", "unit": "Requests", "pricePerUnit": {"USD": "0.0000005"}},
    ]
    with served({SQS: offer(product("EUC1-Requests-RBP", rows=rows), product("EUC1-Other"))}) as base:
        (found,) = refresh(ONE, today=TODAY, base=base)

    assert found.why == ""
    assert list(found.price.tiers) == [Tier(D(0), D("0.0000005")), Tier(D(10) ** 11, D("0.0000003"))]
    assert (found.price.source, found.price.date, found.price.confidence) == (base + SQS, TODAY, "high")


NEGATIVE = [{"beginRange": "0", "pricePerUnit": {"USD": "-1"}}]
YUAN = [{"beginRange": "0", "pricePerUnit": {"CNY": "1"}}]
NOT_FROM_ZERO = [{"beginRange": "5", "pricePerUnit": {"USD": "1"}}]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (offer(product("EUC1-Other")), "0 products have usage type 'EUC1-Requests-RBP'"),
        (offer(product("EUC1-Requests-RBP"), product("EUC1-Requests-RBP")), "2 products have usage type"),
        (offer(product("EUC1-Requests-RBP", rows=NEGATIVE)), "not a price in USD"),
        (offer(product("EUC1-Requests-RBP", rows=YUAN)), "not a price in USD"),
        (offer(product("EUC1-Requests-RBP", rows=NOT_FROM_ZERO)), "not once at 0"),
        (offer(product("EUC1-Requests-RBP", rows=[{}])), "not of the known shape"),
        (b"<html>", "not JSON"),
        (b'{"formatVersion": "v2.0", "products": {}, "terms": {}}', "not a price list of format v1"),
        (None, "answered 404"),
    ],
)
def test_a_row_that_cannot_be_read_stays_as_it_was_and_says_why(body: bytes | None, why: str) -> None:
    with served({} if body is None else {SQS: body}) as base:
        (found,) = refresh(ONE, today=TODAY, base=base)

    assert found.price == found.before
    assert why in found.why


def test_an_answer_is_bounded_and_redirects_are_not_followed() -> None:
    with served({"/a": b"x" * 100}) as base, pytest.raises(Invalid, match="larger than 99 bytes"):
        fetch(base + "/a", bytes_max=99)
    with served({"/a": b"", "/elsewhere": b"no"}, code=302) as base, pytest.raises(Invalid, match="answered 302"):
        fetch(base + "/a")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "nowhere"])
def test_only_http_is_read(url: str) -> None:
    with pytest.raises(Invalid, match="not an http or https address"):
        fetch(url)


def test_an_offer_is_read_once_however_many_rows_it_has() -> None:
    asked: list[str] = []

    def get(url: str) -> bytes:
        asked.append(url)
        return offer()

    refresh(BOOK, today=TODAY, base="http://x", get=get)

    assert len(asked) == len(set(asked))


def listed(sku: str, usage: str, operation: str, *dimensions: tuple[str, str, str, str, str]) -> tuple[Any, Any]:
    """A product and its term as the bulk price list writes them (formatVersion v1.0, "service price list file").

    ``dimensions``: (begin, end, unit, USD, description) as recorded on 2026-10-04 from AWS's offers for Ireland.
    """
    product = {
        "sku": sku, "productFamily": "x",
        "attributes": {
            "servicecode": "AmazonDynamoDB", "location": "EU (Ireland)", "locationType": "AWS Region",
            "usagetype": usage, "operation": operation, "regionCode": "eu-west-1", "servicename": "Amazon DynamoDB",
        },
    }  # fmt: skip
    rate = f"{sku}.JRTCKXETXF"
    term = {
        "offerTermCode": "JRTCKXETXF", "sku": sku, "effectiveDate": "2026-09-01T00:00:00Z", "termAttributes": {},
        "priceDimensions": {
            f"{rate}.{n}": {
                "rateCode": f"{rate}.{n}", "description": text, "beginRange": begin, "endRange": end, "unit": unit,
                "pricePerUnit": {"USD": usd}, "appliesTo": [],
            }
            for n, (begin, end, unit, usd, text) in enumerate(dimensions)
        },
    }  # fmt: skip
    return product, {rate: term}


def test_offers_in_the_format_of_the_bulk_price_list_are_read_with_free_tiers_and_look_alikes() -> None:
    region, code = "eu-west-1", "AmazonDynamoDB"
    rows = [
        listed("W73KZTNZ7UBXFD8S", "EU-TimedPITRStorage-ByteHrs", "", ("0", "Inf", "GB-Mo", "0.2200000000",
               "$0.22 per GB-Month of storage used for DynamoDB PITR backup")),
        listed("F4EZE5SAMS3D49NJ", "EU-WriteRequestUnits", "PayPerRequestThroughput", ("0", "Inf",
               "WriteRequestUnits", "0.0000007050", "")),
        listed("E6MS5SS3AMMHBJC6", "EU-TimedStorage-ByteHrs", "", ("25", "Inf", "GB-Mo", "0.2830000000",
               "$0.283 per GB-Month of storage used beyond first 25 free GB-Months"),
               ("0", "25", "GB-Mo", "0.0000000000", "$0.00 per GB-Month for the first 25 GB")),
        listed("LOOKSALIKE", "EU-IA-TimedStorage-ByteHrs", "", ("0", "Inf", "GB-Mo", "0.1130000000", "")),
    ]  # fmt: skip
    body = json.dumps({
        "formatVersion": "v1.0", "disclaimer": "...", "offerCode": code, "version": "20260911124422",
        "publicationDate": "2026-09-11T12:44:22Z", "products": {p["sku"]: p for p, _ in rows},
        "terms": {"OnDemand": {p["sku"]: term for p, term in rows}, "Reserved": {}}, "attributesList": {},
    }).encode()  # fmt: skip
    wanted = ("dynamodb.pitr.gb_month", "dynamodb.write", "dynamodb.storage.gb_month", "dynamodb.read")
    book = PriceBook({(region, id_): BOOK.get(region, id_) for id_ in wanted})

    with served({f"/offers/v1.0/aws/{code}/current/{region}/index.json": body}) as base:
        found = {r.price.id: r for r in refresh(book, today=TODAY, base=base)}

    assert found["dynamodb.pitr.gb_month"].price.charge(D(100)) == 22
    assert found["dynamodb.write"].price.charge(D(10) ** 6) == D("0.705")
    assert found["dynamodb.storage.gb_month"].price.charge(D(125)) == D("28.3")
    assert "0 products" in found["dynamodb.read"].why
    for id_ in wanted[:2]:
        assert found[id_].price.charge(D(10) ** 6) == BOOK.get(region, id_).charge(D(10) ** 6)
