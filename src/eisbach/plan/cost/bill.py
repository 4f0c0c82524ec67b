"""Lines of a bill: a quantity, a price, and in words how the one came about.

Promises: lines of one price in one region share its tiers, as in AWS's bill; a line whose price nobody knows has no
amount and is listed; a line of quantity 0 is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.tariff import Price

__all__ = ["GROUPS", "Bill", "Line", "Meter"]

GROUPS: Final = ("egress", "compute", "front door", "data", "events", "media", "logs", "network")
"""In the order in which they are shown: egress first, it is most of the bill."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line, for one month."""

    group: str
    item: str
    quantity: Decimal
    price: Price
    formula: str
    """How the quantity came about, with its numbers."""
    amount: Decimal | None
    """USD; None: unpriced."""


@dataclass(frozen=True, slots=True)
class Bill:
    """The lines of one design in one month."""

    lines: Sequence[Line]

    @property
    def total(self) -> Decimal:
        """USD of everything that has a price."""
        return sum((line.amount for line in self.lines if line.amount is not None), Decimal(0))

    @property
    def unpriced(self) -> list[Line]:
        """What is used but has no price; not in the total."""
        return [line for line in self.lines if line.amount is None]

    def quantity(self, region: str, id_: str) -> Decimal:
        """Units of one price that a region uses in the month."""
        return sum((x.quantity for x in self.lines if (x.price.region, x.price.id) == (region, id_)), Decimal(0))

    def group(self, name: str) -> Decimal:
        """USD of one group."""
        return sum((x.amount for x in self.lines if x.group == name and x.amount is not None), Decimal(0))

    def but(self, *groups: str) -> Decimal:
        """USD of all other groups."""
        return self.total - sum((self.group(name) for name in groups), Decimal(0))


@dataclass(slots=True)
class Meter:
    """Collects lines; the price bands swing here (``swing``: price id to the factor on its list price)."""

    book: PriceBook
    swing: dict[str, Decimal] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    used: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """(region, price id) -> what earlier lines took of its tiers."""

    def add(self, item: tuple[str, str], region: str, id_: str, quantity: Decimal, formula: str) -> None:
        """A line of ``item`` = (group, words); nothing when the quantity is 0."""
        if quantity == 0:
            return
        price = self.book.get(region, id_)
        before = self.used.get((region, id_), Decimal(0))
        self.used[region, id_] = before + quantity
        amount = price.margin(before, quantity)
        if amount is not None:
            amount *= self.swing.get(id_, Decimal(1))
        self.lines.append(Line(*item, quantity, price, formula, amount))

    def bill(self) -> Bill:
        """What was collected, egress first."""
        return Bill(sorted(self.lines, key=lambda line: GROUPS.index(line.group)))
