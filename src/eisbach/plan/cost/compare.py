"""The model against a real bill: a Cost and Usage export (CSV, legacy CUR or CUR 2.0 column names), line by line.

Promises: rows are summed by usage type and region; every usage type is matched by the price list's own usage type, or
listed as unmatched; credits, tax and refunds are left out and counted. A wrong file is refused with file and line.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.bill import Bill
from eisbach.plan.cost.nearest import nearest
from eisbach.plan.cost.prices import PriceBook

__all__ = ["Compared", "Comparison", "compare", "read_bill"]

_CURRENCY: Final = ("lineItem/CurrencyCode", "line_item_currency_code")
_COLUMNS: Final = {
    "type": ("lineItem/LineItemType", "line_item_line_item_type"),
    "usage": ("lineItem/UsageType", "line_item_usage_type"),
    "operation": ("lineItem/Operation", "line_item_operation"),
    "amount": ("lineItem/UsageAmount", "line_item_usage_amount"),
    "cost": ("lineItem/UnblendedCost", "line_item_unblended_cost"),
    "service": ("lineItem/ProductCode", "line_item_product_code"),
}
_KINDS: Final = {"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"}
_ROWS_MAX: Final = 5_000_000
_FIELD_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """One usage type of a bill, summed."""

    service: str
    usage_type: str
    operation: str
    amount: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Compared:
    """One usage type on both sides."""

    usage_type: str
    price_id: str
    billed_units: Decimal
    billed: Decimal
    priced: Decimal | None
    """What the price list says for the billed units: an error here is a wrong price."""
    modelled: Decimal | None
    """What the model's design has: an error here is a wrong assumption. None: not asked, or not in the design."""

    @property
    def price_error(self) -> Decimal | None:
        """(priced - billed) / billed."""
        return None if self.priced is None or not self.billed else (self.priced - self.billed) / self.billed

    @property
    def model_error(self) -> Decimal | None:
        """(modelled - billed) / billed."""
        return None if self.modelled is None or not self.billed else (self.modelled - self.billed) / self.billed


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole bill."""

    lines: Sequence[Compared]
    unmatched: Sequence[Row]
    """Usage types that the price list does not have, dearest first."""
    missing: Sequence[tuple[str, Decimal]]
    """(line of the model, USD) that the bill does not have."""
    left_out: int
    """Rows that are no usage: tax, credit, refund, fee."""

    @property
    def billed(self) -> Decimal:
        """USD of all matched lines."""
        return sum((line.billed for line in self.lines), Decimal(0))

    @property
    def priced(self) -> Decimal:
        """USD by the price list for the same units."""
        return sum((line.priced or Decimal(0) for line in self.lines), Decimal(0))


def read_bill(path: Path) -> tuple[list[Row], int]:
    """The usage of an export, summed; and how many rows were no usage.

    Raises:
        Invalid: with file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _summed(_rows(file, str(path)))
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: not UTF-8 text (byte {error.start}); unpack a .gz first") from error


def _rows(file: Iterable[str], name: str) -> Iterator[Row | None]:
    csv.field_size_limit(_FIELD_MAX)
    reader = csv.reader(file, strict=True)
    try:
        head = next(reader, [])
        if not head:
            raise Invalid(f"{name}:1: empty; this is no Cost and Usage export")
        at = _places(head, name)
        currency = next((head.index(column) for column in _CURRENCY if column in head), None)
        for number, row in enumerate(reader):
            if number >= _ROWS_MAX:
                raise Invalid(f"{name}:{reader.line_num}: more than {_ROWS_MAX} rows")
            if not row:
                continue
            if len(row) != len(head):
                raise Invalid(f"{name}:{reader.line_num}: {len(row)} columns, the header has {len(head)}")
            if row[at["type"]] not in _KINDS:
                yield None
                continue
            if currency is not None and row[currency] not in ("", "USD"):
                raise Invalid(
                    f"{name}:{reader.line_num}: billed in {row[currency][:20]!r}; prices are known in USD only"
                )
            numbers = [
                _number(row[at[key]], f"{name}:{reader.line_num}: {head[at[key]]}") for key in ("amount", "cost")
            ]
            yield Row(row[at["service"]], row[at["usage"]], row[at["operation"]], numbers[0], numbers[1])
    except csv.Error as error:
        raise Invalid(f"{name}:{reader.line_num}: not CSV: {error}") from error


def _places(head: Sequence[str], name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, names in _COLUMNS.items():
        place = next((head.index(column) for column in names if column in head), None)
        if place is None:
            hint = nearest(names[0], head[:300])
            raise Invalid(f"{name}:1: no column {names[0]!r} or {names[1]!r}{hint}; this is no Cost and Usage export")
        found[key] = place
    return found


def _number(text: str, where: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= Decimal(10) ** 15 or "_" in text:
        raise Invalid(f"{where}: {text[:60]!r} is not a number from 0")
    return number


def _summed(rows: Iterable[Row | None]) -> tuple[list[Row], int]:
    sums: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
    out = 0
    for row in rows:
        if row is None:
            out += 1
            continue
        key = (row.service, row.usage_type, row.operation)
        amount, cost = sums.get(key, (Decimal(0), Decimal(0)))
        sums[key] = (amount + row.amount, cost + row.cost)
    return [Row(*key, *values) for key, values in sums.items()], out


def compare(rows: Sequence[Row], left_out: int, book: PriceBook, bill: Bill | None = None) -> Comparison:
    """Hold the price list, and ``bill`` of the model if given, against the export."""
    known = {(p.service, p.usage_type): p for p in reversed(list(book.prices.values())) if p.usage_type}
    merged: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    unmatched: list[Row] = []
    for row in rows:
        price = known.get((row.service, row.usage_type))
        if price is None or (price.operation and row.operation and price.operation not in row.operation):
            unmatched.append(row)
            continue
        amount, cost = merged.get((row.service, row.usage_type), (Decimal(0), Decimal(0)))
        merged[row.service, row.usage_type] = (amount + row.amount, cost + row.cost)
    modelled = _modelled(bill) if bill else {}
    lines = [
        Compared(
            usage_type=key[1],
            price_id=known[key].id,
            billed_units=amount,
            billed=cost,
            priced=known[key].charge(amount),
            modelled=modelled.get(key),
        )
        for key, (amount, cost) in merged.items()
    ]
    lines.sort(key=lambda line: (-line.billed, line.usage_type))
    missing = sorted(((f"{k[0]} {k[1]}", v) for k, v in modelled.items() if k not in merged), key=lambda x: -x[1])
    return Comparison(lines, sorted(unmatched, key=lambda r: (-r.cost, r.usage_type)), missing, left_out)


def _modelled(bill: Bill) -> Mapping[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = {}
    for line in bill.lines:
        if line.amount is not None:
            key = (line.price.service, line.price.usage_type)
            found[key] = found.get(key, Decimal(0)) + line.amount
    return found
