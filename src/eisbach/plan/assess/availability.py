"""How available each journey is, as a range, with common causes, and which assumption moves it most.

Exact by enumeration where at most 14 things can fail, else Monte Carlo with one bit a sample in ``evaluate``: 65,536
samples, 8,192 of more than 1,000 components; the range then is three standard errors. Copies of a component share a
common cause: a share ``BETA`` of its unavailability takes all copies at once (the beta-factor model: Fleming, 1974; 0.1
is its customary value). So do components that stand on one disk, host or zone: that share of the unavailability of the
least available of them is the place's, which takes all of them at once; what is left is their own, so that each alone
is as available as before.
Availabilities that no file or overlay says are assumed by kind and listed as assumed. Seeded: equal inputs, equal
answers.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from eisbach.plan.assess.evaluate import Structure
from eisbach.plan.assess.model import Component, Graph, Journey

__all__ = ["ASSUMED", "BETA", "Estimate", "availability", "of_component", "percent", "places"]

BETA: Final = 0.1
ASSUMED: Final[Mapping[str, float]] = {
    "service": 0.999, "function": 0.9995, "job": 0.99, "proxy": 0.999, "gateway": 0.9995, "database": 0.9990,
    "cache": 0.999, "index": 0.999, "queue": 0.9995, "topic": 0.9999, "bucket": 0.9999, "identity": 0.999,
    "network": 0.9999, "dns": 0.9999, "cdn": 0.9999, "external": 0.995, "telemetry": 0.99, "control": 0.999,
}  # fmt: skip
"""Of one copy a year, or of the whole where the provider keeps the copies (their SLAs are 99.9 to 99.99 %)."""
_EXACT_MAX: Final = 14
_SAMPLES: Final = 1 << 16
_SAMPLES_OF_MANY: Final = 1 << 13
_MANY: Final = 1_000
_TRIED_MAX: Final = 100
"""Assumptions tried one by one for the one that moves a journey most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Of one journey."""

    journey: str
    low: float
    value: float
    high: float
    exact: bool
    assumed: int
    """Components on its way whose availability nobody said."""
    moves_most: str
    """The component whose assumption moves it most."""
    moved_to: float
    """What the journey would be, were that component perfect."""


def of_component(component: Component) -> tuple[float, bool]:
    """(availability, whether it is assumed), all its copies and their common cause together."""
    one = component.availability if component.availability is not None else ASSUMED.get(component.kind, 0.999)
    assumed = component.availability is None
    copies = component.replicas if component.replicas is not None and not component.managed else 1
    if copies <= 1:
        return one, assumed
    out = (1 - one) * (1 - BETA)
    needed = min(max(component.needs, 1), copies)
    alone = sum(
        math.comb(copies, k) * (1 - out) ** k * out ** (copies - k) for k in range(needed, min(copies, 200) + 1)
    )
    return alone * (1 - (1 - one) * BETA), assumed


def availability(graph: Graph, structure: Structure, *, explain: bool = True) -> list[Estimate]:
    """One estimate a journey; ``explain`` also looks for the assumption that moves it most."""
    return [_estimate(graph, structure, journey, explain=explain) for journey in graph.journeys]


def _way(structure: Structure, journey: Journey) -> list[str]:
    seen: dict[str, None] = {}
    waiting = list(journey.entry)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name] = None
            waiting.extend(structure.needs(name))
    return list(seen)


def places(graph: Graph, names: Sequence[str]) -> dict[str, list[str]]:
    """``level place`` -> components of ``names`` that stand only there, two or more; each in its narrowest place."""
    found: dict[str, list[str]] = {}
    left = list(names)
    for level in ("disk", "host", "zone"):
        here: dict[str, list[str]] = {}
        for name in left:
            standing = graph.components[name].domains.get(level, ())
            if len(standing) == 1:
                here.setdefault(f"{level} {standing[0]}", []).append(name)
        shared = {place: members for place, members in here.items() if len(members) > 1}
        found |= shared
        taken = {name for members in shared.values() for name in members}
        left = [name for name in left if name not in taken]
    return found


class _Odds:
    """Chances of everything that can fail on a way: components, and the places that some of them share."""

    def __init__(self, graph: Graph, way: Sequence[str]) -> None:
        of = {name: of_component(graph.components[name]) for name in way}
        self.assumed = {name for name in way if of[name][1]}
        self.chance = {name: of[name][0] for name in way if of[name][0] < 1}
        self.shared = places(graph, list(self.chance))
        for place, members in self.shared.items():
            common = BETA * min(1 - self.chance[m] for m in members)
            for member in members:
                self.chance[member] = 1 - (1 - self.chance[member] - common) / (1 - common)
            self.chance[place] = 1 - common

    def without(self, perfect: str) -> dict[str, float]:
        """The chances, with one component perfect, but for the place it shares."""
        return {name: 1.0 if name == perfect else chance for name, chance in self.chance.items()}


def _estimate(graph: Graph, structure: Structure, journey: Journey, *, explain: bool) -> Estimate:
    way = _way(structure, journey)
    odds = _Odds(graph, way)
    failing = list(odds.chance)
    exact = len(failing) <= _EXACT_MAX
    samples = 1 << len(failing) if exact else _SAMPLES if len(failing) <= _MANY else _SAMPLES_OF_MANY
    worlds = _every_world(failing) if exact else _sampled(failing, odds.chance, samples)

    def value_if(perfect: str = "") -> float:
        """The journey's availability, with one component perfect."""
        up = dict.fromkeys(graph.components, (1 << samples) - 1)
        up |= {n: w for n, w in worlds.items() if n in up and (exact or n != perfect)}
        for place, members in odds.shared.items():
            for member in members:
                up[member] &= worlds[place]
        alive = structure.journey(journey, structure.works(up))
        return _weighed(alive, failing, odds.without(perfect)) if exact else alive.bit_count() / samples

    value = value_if()
    error = 0.0 if exact else 3 * math.sqrt(max(value * (1 - value), 1 / samples) / samples)
    most_tried = (_TRIED_MAX if len(failing) <= _MANY else 5) if explain else 0
    tried = {name: value_if(name) for name in [n for n in failing if n in odds.assumed][:most_tried]}
    most = max(tried, key=lambda n: tried[n]) if tried else ""
    return Estimate(
        journey=journey.name, low=max(0.0, value - error), value=value, high=min(1.0, value + error), exact=exact,
        assumed=len(odds.assumed), moves_most=most, moved_to=tried[most] if most else value,
    )  # fmt: skip


def _every_world(names: Sequence[str]) -> dict[str, int]:
    """Bit ``w`` of component ``i`` is bit ``i`` of ``w``: all 2^n states at once."""
    count = 1 << len(names)
    found: dict[str, int] = {}
    for i, name in enumerate(names):
        block = ((1 << (1 << i)) - 1) << (1 << i)
        period, pattern = 1 << (i + 1), 0
        for start in range(0, count, period):
            pattern |= block << start
        found[name] = pattern
    return found


def _weighed(alive: int, names: Sequence[str], odds: Mapping[str, float]) -> float:
    """The sum of the odds of the worlds in which the journey succeeds."""
    weights = [1.0]
    for name in names:
        weights = [w * (1 - odds[name]) for w in weights] + [w * odds[name] for w in weights]
    return math.fsum(weight for w, weight in enumerate(weights) if alive >> w & 1)


def _sampled(names: Sequence[str], odds: Mapping[str, float], samples: int) -> dict[str, int]:
    """Per component the worlds in which it is up; failures are drawn by their number, so that rare ones are cheap.

    Each component has draws of its own, by its name: two graphs that differ in one place are compared in equal worlds,
    so that a step which only takes away needs is never shown to lose availability by chance.
    """
    found: dict[str, int] = {}
    for name in names:
        rng = random.Random(f"20261126 {name}")  # noqa: S311 - a simulation, no secret
        up = bytearray(b"\xff" * (samples // 8))
        expected = (1 - odds[name]) * samples
        count = int(expected) + (rng.random() < expected - int(expected))
        for world in rng.sample(range(samples), min(samples, count)):
            up[world >> 3] &= ~(1 << (world & 7)) & 0xFF
        found[name] = int.from_bytes(up, "little")
    return found


def percent(share: float, digits: int = 3) -> str:
    """A share as text; what is not certain is never rounded up to 100 %."""
    while share < 1 and digits < 8 and f"{share:.{digits}%}".startswith("100"):
        digits += 1
    return "above 99.99999999%" if share < 1 and f"{share:.{digits}%}".startswith("100") else f"{share:.{digits}%}"
