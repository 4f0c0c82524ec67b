"""Prices from AWS's public price list (the bulk API), row by row, where there is a network.

Promises: bounded (bytes, seconds, redirects none); strict: a row is replaced only when exactly one product of the offer
has its usage type and operation and its unit price is in USD; everything else stays as it was and is reported with why.
The host must be the one that was asked for. Nothing is sent but the path.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.tariff import Price, Tier

__all__ = ["PRICE_LIST", "Refreshed", "fetch", "refresh", "refreshed"]

PRICE_LIST: Final = "https://pricing.us-east-1.amazonaws.com"
_BYTES_MAX: Final = 96 << 20
_SECONDS: Final = 60.0
_GLOBAL: Final = {"AmazonCloudFront", "AmazonRoute53"}
"""Offers without regions; their usage types name the place."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of one row."""

    price: Price
    """The new row, or the old one."""
    why: str
    """Empty when it was read; else why it was not."""
    before: Price


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch(url: str, *, bytes_max: int = _BYTES_MAX, seconds: float = _SECONDS) -> bytes:
    """A GET of one file.

    Raises:
        Invalid: not http or https, an answer other than 200, too large, too slow, or nobody there.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Invalid(f"{url}: not an http or https address")
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(url, timeout=seconds) as answer:
            raw: bytes = answer.read(bytes_max + 1)
    except urllib.error.HTTPError as error:
        raise Invalid(f"{url}: answered {error.code}") from error
    except (OSError, ValueError) as error:
        raise Invalid(f"{url}: {error}") from error
    if len(raw) > bytes_max:
        raise Invalid(f"{url}: larger than {bytes_max} bytes")
    return raw


def refresh(
    book: PriceBook, *, today: date, base: str = PRICE_LIST, get: Callable[[str], bytes] = fetch
) -> list[Refreshed]:
    """Read every offer once a region and try to replace every row of the book."""
    rows = sorted(book.prices.values(), key=lambda p: (p.service, p.region, p.id))
    offers: dict[str, dict[str, Any] | str] = {}
    found: list[Refreshed] = []
    for price in rows:
        if not price.usage_type:
            found.append(Refreshed(price, "has no usage type; free by its page", price))
            continue
        place = "" if price.service in _GLOBAL else f"/{price.region}"
        url = f"{base.rstrip('/')}/offers/v1.0/aws/{price.service}/current{place}/index.json"
        if url not in offers:
            try:
                offers[url] = _offer(get(url), url)
            except Invalid as error:
                offers[url] = str(error)
        offer = offers[url]
        if isinstance(offer, str):
            found.append(Refreshed(price, offer, price))
            continue
        try:
            found.append(Refreshed(refreshed(price, offer, url=url, today=today), "", price))
        except Invalid as error:
            found.append(Refreshed(price, str(error), price))
    return found


def _offer(raw: bytes, url: str) -> dict[str, Any]:
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{url}: not JSON: {error}") from error
    shaped = (
        isinstance(whole, dict) and isinstance(whole.get("products"), dict) and isinstance(whole.get("terms"), dict)
    )
    if not shaped or not str(whole.get("formatVersion", "")).startswith("v1."):
        raise Invalid(f"{url}: not a price list of format v1")
    return dict(whole)


def refreshed(price: Price, offer: dict[str, Any], *, url: str, today: date) -> Price:
    """``price`` with the tiers of its one product in ``offer``.

    Raises:
        Invalid: none or several products, terms or currencies, or numbers that are none.
    """
    skus = [sku for sku, product in offer["products"].items() if _is(price, product)]
    if len(skus) != 1:
        raise Invalid(f"{len(skus)} products have usage type {price.usage_type!r} {price.operation}".rstrip())
    try:
        terms = offer["terms"]["OnDemand"][skus[0]]
        (term,) = terms.values()
        rows = list(term["priceDimensions"].values())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Invalid(f"{skus[0]}: has not exactly one on-demand term") from error
    tiers = _tiers(rows, skus[0])
    return replace(price, tiers=tiers, source=url, date=today, confidence="high")


def _is(price: Price, product: Any) -> bool:
    attributes = product.get("attributes") if isinstance(product, dict) else None
    if not isinstance(attributes, dict):
        return False
    return attributes.get("usagetype") == price.usage_type and (
        not price.operation or attributes.get("operation") == price.operation
    )


def _tiers(rows: Sequence[Any], sku: str) -> tuple[Tier, ...]:
    tiers: list[Tier] = []
    for row in rows:
        try:
            (currency,) = row["pricePerUnit"]
            start, value = Decimal(row["beginRange"]), Decimal(row["pricePerUnit"][currency])
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise Invalid(f"{sku}: a price dimension is not of the known shape") from error
        if currency != "USD" or not (start.is_finite() and value.is_finite()) or start < 0 or value < 0:
            raise Invalid(f"{sku}: {currency} {value} from {start} is not a price in USD")
        tiers.append(Tier(start, value))
    tiers.sort(key=lambda tier: tier.start)
    starts = [tier.start for tier in tiers]
    if not tiers or starts[0] != 0 or len(set(starts)) != len(starts):
        raise Invalid(f"{sku}: tiers begin at {starts[:5]}, not once at 0")
    return tuple(tiers)
