"""What engines counted in a run, priced: ``--measured RUN``, and the making of a RUN from two readings of ``/status``.

The document (schema ``eisbach.cost.units/1``) has a row a cell with counters over a span. Promises: an unknown unit, a
negative or falling counter is refused with its place; units without a price are listed. Counters of the SQLite engine
are translated to what DynamoDB would bill for the same writes; those that an AWS engine gives are priced as they are.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.bill import Bill, Meter
from eisbach.plan.cost.nearest import nearest
from eisbach.plan.cost.prices import REGIONS, PriceBook
from eisbach.plan.cost.tariff import read_units, write_units

__all__ = ["SCHEMA", "Counted", "Run", "difference", "load_run", "parse_run", "price_run"]

SCHEMA: Final = "eisbach.cost.units/1"
_BYTES_MAX, _CELLS_MAX = 4 << 20, 10_000
_STORE: Final = ("transactions", "items_written", "items_read", "bytes_written")
"""Of ``StoreStatistics``; translated."""
_BILLED: Final = {
    "write_units": "dynamodb.write",
    "replicated_write_units": "dynamodb.replicated_write",
    "read_units": "dynamodb.read",
    "messages": "sns.publish",
    "sns_publishes": "sns.publish",
    "sqs_requests": "sqs.request",
    "s3_puts": "s3.put",
    "s3_gets": "s3.get",
    "lambda_requests": "lambda.request",
    "lambda_gb_seconds_arm": "lambda.gb_second.arm",
    "lambda_gb_seconds_x86": "lambda.gb_second.x86",
    "http_api_requests": "http_api.request",
    "egress_gb": "cloudfront.out.gb",
    "interregion_gb": "interregion.out.gb",
    "log_gb": "logs.ingest.gb",
}
"""Counted by an AWS engine in the bill's own units; ``messages`` are SNS and SQS together, at the dearer of both."""
_FROM_ENGINES: Final = ("write_units", "replicated_write_units", "read_units", "messages")
"""Of the ``units`` in the statistics of an AWS store."""
_OTHER: Final = ("requests",)
"""HTTP calls that the cell answered: the front door's units."""
UNITS: Final = (*_STORE, *_BILLED, *_OTHER)
_PLACES: Final = {"eu-central": "eu-central-1", "eu-west": "eu-west-1", "us-east": "us-east-1"}
"""The laptop's regions and the AWS regions that they stand for."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of one cell over the span."""

    cell: str
    region: str
    """An AWS region of the price list, or the laptop's name of one."""
    units: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Run:
    """A measured span."""

    seconds: Decimal
    plays: Decimal
    """Playback sessions begun in it; 0 when unknown."""
    cells: Sequence[Counted]


def load_run(path: Path) -> Run:
    """Read a RUN document.

    Raises:
        Invalid: it cannot be read or breaks the schema.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    if len(raw) > _BYTES_MAX:
        raise Invalid(f"{path}: larger than {_BYTES_MAX} bytes; this is no run")
    return parse_run(raw, str(path))


def parse_run(raw: bytes, name: str) -> Run:
    """See ``load_run``."""
    try:
        whole = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{name}: not JSON: {error}") from error
    if not isinstance(whole, dict) or whole.get("schema") != SCHEMA:
        raise Invalid(f"{name}: not a run: 'schema' must be {SCHEMA!r}; eisbach cost capture writes one")
    known = {"schema", "seconds", "plays", "cells"}
    _known(whole, known, name)
    if missing := sorted(known - set(whole)):
        raise Invalid(f"{name}: {missing[0]!r} is missing")
    rows = whole["cells"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= _CELLS_MAX:
        raise Invalid(f"{name}: 'cells' must be a list of 1 to {_CELLS_MAX}")
    cells = [_counted(row, f"{name}: cell {number}") for number, row in enumerate(rows, 1)]
    seconds = _count(whole["seconds"], f"{name}: seconds")
    if seconds == 0:
        raise Invalid(f"{name}: seconds is 0; a run lasts")
    return Run(seconds, _count(whole["plays"], f"{name}: plays"), cells)


def _counted(row: Any, where: str) -> Counted:
    if not isinstance(row, dict):
        raise Invalid(f"{where}: not a table")
    _known(row, {"cell", "region", "units"}, where)
    cell, region, units = row.get("cell"), row.get("region"), row.get("units")
    if not isinstance(cell, str) or not 1 <= len(cell) <= 200 or not cell.isprintable():
        raise Invalid(f"{where}: 'cell' must be a printable text")
    if not isinstance(region, str) or region not in (*_PLACES, *REGIONS):
        hint = nearest(str(region), (*_PLACES, *REGIONS))
        raise Invalid(f"{where} ({cell}): unknown region {str(region)[:60]!r}{hint}")
    if not isinstance(units, dict):
        raise Invalid(f"{where} ({cell}): 'units' must be a table of counters")
    _known(units, set(UNITS), f"{where} ({cell}): units")
    return Counted(cell, region, {unit: _count(n, f"{where} ({cell}): {unit}") for unit, n in units.items()})


def _known(row: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in row:
        if key not in known:
            raise Invalid(f"{where}: unknown {key[:60]!r}{nearest(key, known)}")


def _count(value: Any, where: str) -> Decimal:
    if type(value) not in (int, Decimal) or len(str(value)) > 40:
        raise Invalid(f"{where}: {str(value)[:60]!r} is not a number")
    number = Decimal(value)
    if not number.is_finite() or not 0 <= number <= Decimal(10) ** 18:
        raise Invalid(f"{where}: {number} is not from 0 to 1e18")
    return number


def price_run(run: Run, book: PriceBook, *, front_door: str = "http_api.request") -> Bill:
    """The bill of exactly what was counted, at the first tier a month, nothing scaled."""
    meter = Meter(book)
    for cell in run.cells:
        region, units = _PLACES.get(cell.region, cell.region), cell.units
        for unit, id_ in _BILLED.items():
            group = {"dynamodb": "data", "sns": "events", "sqs": "events", "s3": "media", "lambda": "compute"}
            words = group.get(id_.split(".")[0], {"logs.ingest.gb": "logs", "cloudfront.out.gb": "egress"}.get(id_))
            how = f"counted by {cell.cell}"
            meter.add((words or "network", unit), region, id_, units.get(unit, Decimal(0)), how)
        _translate(meter, cell, region)
        if calls := units.get("requests"):
            how = f"answered by {cell.cell}"
            meter.add(("front door", "calls"), region, front_door, calls, how)
    return meter.bill()


def _translate(meter: Meter, cell: Counted, region: str) -> None:
    """SQLite's counters as DynamoDB's units: a transaction is a row of the log alone, an item is flushed each time."""
    zero = Decimal(0)
    items, transactions = cell.units.get("items_written", zero), cell.units.get("transactions", zero)
    if "write_units" not in cell.units and items:
        average = cell.units.get("bytes_written", zero) / items
        each, row = write_units(average), write_units(average * items / max(Decimal(1), transactions))
        total = items * each + transactions * row
        how = (
            f"{cell.cell}: {items} items of {average:.0f} bytes x {each}, flushed each time"
            f" + {transactions} rows of the log x {row}"
        )
        meter.add(("data", "writes, translated"), region, "dynamodb.write", total, how)
    reads = cell.units.get("items_read", zero)
    if "read_units" not in cell.units and reads:
        how = f"{cell.cell}: {reads} items read, at most 4 KB each, strongly consistent"
        meter.add(("data", "reads, translated"), region, "dynamodb.read", reads * read_units(Decimal(1)), how)


def difference(
    before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """A RUN document from two readings of the cells' ``/status``; a cell that restarted in between is left out.

    Raises:
        Invalid: no cell was there both times.
    """
    first = {(s["region"], s["cell"]): s for s in before}
    cells: list[dict[str, Any]] = []
    plays = 0
    for status in after:
        old = first.get((status["region"], status["cell"]))
        if old is None:
            continue
        units = {unit: status["store"][unit] - old["store"][unit] for unit in _STORE}
        units["requests"] = status["requests"] - old["requests"]
        own, its = status["store"].get("units") or {}, old["store"].get("units") or {}
        units |= {unit: own[unit] - its[unit] for unit in _FROM_ENGINES if unit in own and unit in its}
        if min(units.values()) < 0:
            continue
        plays += _plays(status) - _plays(old)
        cells.append({"cell": f"{status['region']}/{status['cell']}", "region": status["region"], "units": units})
    if not cells:
        raise Invalid("no cell answered both times; eisbach status says which are up")
    return {"schema": SCHEMA, "seconds": round(seconds, 3), "plays": max(0, plays), "cells": cells}


def _plays(status: Mapping[str, Any]) -> int:
    answers = status["calls"].get("POST /v1/playback/sessions", {})
    return sum(count for code, count in answers.items() if 200 <= int(code) < 300)
