"""The price list: JSON files beside this module, or a folder of the user's that ``refresh`` wrote.

Promises: a file is read whole or refused, naming file and row; an unknown price stays unknown; a price last seen more
than 180 days ago is named. A folder given by the user lies over the shipped list, price by price.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.nearest import nearest
from eisbach.plan.cost.tariff import CONFIDENCE, Price, Tier

__all__ = ["REGIONS", "SCHEMA", "STALE", "PriceBook", "document", "load_prices", "parse_prices"]

SCHEMA: Final = "eisbach.cost.prices/1"
REGIONS: Final = ("eu-central-1", "eu-west-1", "us-east-1")
STALE: Final = timedelta(days=180)
_SHIPPED: Final = Path(__file__).parent / "prices"
_BYTES_MAX: Final = 1 << 20
_ROWS_MAX, _TIERS_MAX, _TEXT_MAX = 500, 20, 500
_REQUIRED: Final = {"id", "unit", "tiers", "service", "usage_type", "source", "date", "confidence"}
_OPTIONAL: Final = {"per", "operation", "note"}


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices by region and id."""

    prices: Mapping[tuple[str, str], Price]

    def get(self, region: str, id_: str) -> Price:
        """The price, known or not.

        Raises:
            Invalid: no file has that region, or the region's file has no such id.
        """
        found = self.prices.get((region, id_))
        if found is None:
            regions = sorted({place for place, _ in self.prices})
            if region not in regions:
                raise Invalid(f"no prices for region {region!r}; there are {', '.join(regions)}")
            raise Invalid(f"the prices of {region} have no {id_!r}")
        return found

    def stale(self, used: Iterable[tuple[str, str]], *, today: date) -> list[Price]:
        """Of the used prices, those last seen more than 180 days before ``today``, oldest first."""
        old = {key: self.prices[key] for key in used if today - self.prices[key].date > STALE}
        return sorted(old.values(), key=lambda price: (price.date, price.region, price.id))

    def replaced(self, prices: Iterable[Price]) -> "PriceBook":
        """A book with these prices in place of those of the same region and id."""
        return PriceBook({**self.prices, **{(price.region, price.id): price for price in prices}})


def load_prices(folder: Path | None = None) -> PriceBook:
    """The shipped list, and over it the files of ``folder``.

    Raises:
        Invalid: a file cannot be read or breaks the schema, or the folder has none.
    """
    book = PriceBook({})
    for region in REGIONS:
        book = book.replaced(_read(_SHIPPED / f"{region}.json"))
    if folder is None:
        return book
    files = sorted(folder.glob("*.json"))[:50] if folder.is_dir() else []
    if not files:
        raise Invalid(f"{folder} has no price files (*.json); eisbach cost refresh --prices {folder} writes them")
    for file in files:
        book = book.replaced(_read(file))
    return book


def _read(path: Path) -> list[Price]:
    try:
        with path.open("rb") as file:
            raw = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    if len(raw) > _BYTES_MAX:
        raise Invalid(f"{path}: larger than {_BYTES_MAX} bytes; this is no price file")
    return parse_prices(raw, str(path))


def parse_prices(raw: bytes, name: str) -> list[Price]:
    """The prices of one file.

    Raises:
        Invalid: not JSON, not this schema, an unknown or missing key, a wrong value; the message names row and value.
    """
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{name}: not JSON: {error}") from error
    if not isinstance(whole, dict) or whole.get("schema") != SCHEMA:
        raise Invalid(f"{name}: not a price file: 'schema' must be {SCHEMA!r}")
    _keys(whole, {"schema", "region", "currency", "prices"}, set(), name)
    if whole["currency"] != "USD":
        raise Invalid(f"{name}: currency {whole['currency']!r}; only USD is known")
    rows, region = whole["prices"], _text(whole["region"], f"{name}: region")
    if not isinstance(rows, list) or not 1 <= len(rows) <= _ROWS_MAX:
        raise Invalid(f"{name}: 'prices' must be a list of 1 to {_ROWS_MAX} rows")
    prices = [_price(row, region, f"{name}: row {number}") for number, row in enumerate(rows, 1)]
    ids = [price.id for price in prices]
    if twice := sorted({id_ for id_ in ids if ids.count(id_) > 1}):
        raise Invalid(f"{name}: {twice[0]!r} is there twice")
    return prices


def _price(row: Any, region: str, where: str) -> Price:
    if not isinstance(row, dict):
        raise Invalid(f"{where}: {row!r} is not a table")
    where = f"{where} ({row.get('id', '?')})"
    _keys(row, _REQUIRED, _OPTIONAL, where)
    confidence = row["confidence"]
    if not isinstance(confidence, str) or confidence not in CONFIDENCE:
        raise Invalid(f"{where}: confidence {confidence!r} is not one of {', '.join(CONFIDENCE)}")
    per = row.get("per", 1)
    if type(per) is not int or not 1 <= per <= 10**9:
        raise Invalid(f"{where}: per {per!r} is not a whole number from 1 to 1,000,000,000")
    try:
        seen = date.fromisoformat(_text(row["date"], f"{where}: date"))
    except ValueError as error:
        raise Invalid(f"{where}: date {row['date']!r} is not a day like 2026-11-23") from error
    words = {
        key: _text(row.get(key, ""), f"{where}: {key}", empty=key in _OPTIONAL | {"usage_type"})
        for key in ("id", "unit", "service", "usage_type", "source", "operation", "note")
    }
    tiers = _tiers(row["tiers"], per, where)
    return Price(region=region, tiers=tiers, date=seen, confidence=confidence, per=per, **words)


def _tiers(rows: Any, per: int, where: str) -> tuple[Tier, ...]:
    if rows is None:
        return ()
    if not isinstance(rows, list) or not 1 <= len(rows) <= _TIERS_MAX:
        raise Invalid(f"{where}: 'tiers' must be null (unknown) or 1 to {_TIERS_MAX} rows [from, price]")
    tiers: list[Tier] = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 2:
            raise Invalid(f"{where}: tier {row!r} is not [from, price]")
        start, price = (_decimal(value, where) for value in row)
        if not tiers and start != 0:
            raise Invalid(f"{where}: the first tier must begin at 0, not {start}")
        if tiers and start <= tiers[-1].start:
            raise Invalid(f"{where}: tiers must rise; {start} follows {tiers[-1].start}")
        tiers.append(Tier(start, price / per))
    return tuple(tiers)


def _decimal(value: Any, where: str) -> Decimal:
    """Written as text, so that no float comes between."""
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or not 0 <= number < Decimal(10) ** 18 or "_" in str(value):
        raise Invalid(f'{where}: {value!r} is not a number from 0 written as text, like "0.0125"')
    return number


def _text(value: Any, where: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX or not (value or empty) or not (value.isprintable()):
        raise Invalid(f"{where}: {value!r} is not a printable text of 1 to {_TEXT_MAX} characters")
    return value


def _keys(row: Mapping[str, Any], required: set[str], optional: set[str], where: str) -> None:
    for key in row:
        if key not in required | optional:
            raise Invalid(f"{where}: unknown key {key!r}{nearest(key, required | optional)}")
    if missing := sorted(required - set(row)):
        raise Invalid(f"{where}: {missing[0]!r} is missing")


def document(region: str, prices: Sequence[Price]) -> str:
    """One region's prices as the JSON that ``parse_prices`` reads."""
    rows = [
        {
            "id": price.id,
            "unit": price.unit,
            "per": price.per,
            "tiers": [[format(t.start, "f"), format((t.price * price.per).normalize(), "f")] for t in price.tiers]
            or None,
            "service": price.service,
            "usage_type": price.usage_type,
            "operation": price.operation,
            "source": price.source,
            "date": price.date.isoformat(),
            "confidence": price.confidence,
            "note": price.note,
        }
        for price in prices
    ]
    whole = {"schema": SCHEMA, "region": region, "currency": "USD", "prices": rows}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
