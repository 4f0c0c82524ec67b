"""How sure the answer is: the range of a total, and which assumptions move it most.

Each assumption is moved alone from its low to its high end, prices within the band of their confidence. The likely
range adds the swings as independent ones do (root of the sum of squares); the extreme one sets every assumption to the
end that is cheaper, or dearer, by its own swing. Both are only as good as the ranges that were given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from eisbach.plan.cost.bill import Bill
from eisbach.plan.cost.model import bill_of
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.tariff import CONFIDENCE
from eisbach.plan.cost.workload import Design, Workload

__all__ = ["Answer", "Swing", "answer"]

_APART: Final = ("egress", "media")
"""What no design changes much; the rest is what the choice is about."""
_RANK: Final = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class Swing:
    """What one assumption does to the total, everything else typical."""

    name: str
    low: Decimal
    """Its low value; for a price the factor on the list price."""
    high: Decimal
    unit: str
    total_at_low: Decimal
    total_at_high: Decimal
    base: Decimal
    origin: str

    @property
    def width(self) -> Decimal:
        """USD between both ends."""
        return abs(self.total_at_high - self.total_at_low)

    @property
    def down(self) -> Decimal:
        """USD that the cheaper end saves."""
        return max(Decimal(0), self.base - min(self.total_at_low, self.total_at_high))

    @property
    def up(self) -> Decimal:
        """USD that the dearer end costs."""
        return max(Decimal(0), max(self.total_at_low, self.total_at_high) - self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A design's month: the typical bill, its ranges and what moves it."""

    design: Design
    bill: Bill
    likely: tuple[Decimal, Decimal]
    extreme: tuple[Decimal, Decimal]
    control: tuple[Decimal, Decimal, Decimal]
    """Low, typical, high (likely) without egress and media: what the design itself decides."""
    swings: Sequence[Swing]
    """On the total, widest first."""
    control_swings: Sequence[Swing]
    """On the bill without egress and media, widest first."""


def answer(workload: Workload, design: Design, book: PriceBook) -> Answer:
    """Price a design with its doubts."""
    point = workload.point()
    bill = bill_of(point, design, book, workload.architecture)
    totals: list[Swing] = []
    controls: list[Swing] = []
    cheap: dict[str, Decimal] = {}
    dear: dict[str, Decimal] = {}
    for name, found in workload.assumptions.items():
        if found.value.certain or name in design.overrides:
            continue
        ends = (found.value.low, found.value.high)
        bills = [bill_of(point | {name: end}, design, book, workload.architecture) for end in ends]
        words = (name, *ends, found.unit)
        totals.append(Swing(*words, bills[0].total, bills[1].total, bill.total, found.origin))
        rest = [one.but(*_APART) for one in bills]
        controls.append(Swing(*words, rest[0], rest[1], bill.but(*_APART), found.origin))
        rises = bills[1].total >= bills[0].total
        cheap[name], dear[name] = ends if rises else ends[::-1]
    totals += _price_swings(bill, ())
    controls += _price_swings(bill, _APART)
    low, high = (
        bill_of(point | chosen, design, book, workload.architecture, _factors(bill, sign)).total
        for chosen, sign in ((cheap, -1), (dear, 1))
    )
    control = _likely(bill.but(*_APART), controls)
    return Answer(
        design=design,
        bill=bill,
        likely=_likely(bill.total, totals),
        extreme=(min(bill.total, low), max(bill.total, high)),
        control=(control[0], bill.but(*_APART), control[1]),
        swings=_widest(totals),
        control_swings=_widest(controls),
    )


def _likely(base: Decimal, swings: Sequence[Swing]) -> tuple[Decimal, Decimal]:
    down = sum((s.down**2 for s in swings), Decimal(0)).sqrt()
    up = sum((s.up**2 for s in swings), Decimal(0)).sqrt()
    return max(Decimal(0), base - down), base + up


def _widest(swings: Sequence[Swing]) -> list[Swing]:
    return sorted((s for s in swings if s.width), key=lambda s: (-s.width, s.name))


def _factors(bill: Bill, sign: int) -> dict[str, Decimal]:
    """Every price at the end of its band; the least confident region decides."""
    return {id_: 1 + sign * CONFIDENCE[confidence] for id_, confidence in _confidence(bill).items()}


def _confidence(bill: Bill) -> dict[str, str]:
    worst: dict[str, str] = {}
    for line in bill.lines:
        known = worst.get(line.price.id, line.price.confidence)
        worst[line.price.id] = max(known, line.price.confidence, key=_RANK.__getitem__)
    return worst


def _price_swings(bill: Bill, without: Sequence[str]) -> list[Swing]:
    """One swing a price: what its band is worth in the groups that count."""
    base, confidence = bill.but(*without), _confidence(bill)
    off: dict[str, Decimal] = {}
    for line in bill.lines:
        if line.amount is not None and line.group not in without:
            band = line.amount * CONFIDENCE[line.price.confidence]
            off[line.price.id] = off.get(line.price.id, Decimal(0)) + band
    return [
        Swing(
            f"price of {id_}",
            1 - CONFIDENCE[confidence[id_]],
            1 + CONFIDENCE[confidence[id_]],
            "x list price",
            base - usd,
            base + usd,
            base,
            f"confidence {confidence[id_]}",
        )
        for id_, usd in off.items()
    ]
