"""Traces of load: calls a second, second by second, as viewers make them (``shared/workload.md``).

Promises: equal arguments give equal traces; noise comes from the seed. Rates are those that reach the origin for one
cell of ``viewers`` viewers unless a file says otherwise.
"""

import csv
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from eisbach.control.burst import Expected
from eisbach.kernel.errors import Invalid

__all__ = ["BOOKED", "SECONDS_MAX", "TRACES", "read_trace"]

SECONDS_MAX: Final = 7 * 86_400
_STEADY: Final = 0.071
"""Calls a second of a watching viewer: heartbeat and telemetry every 30 s, steering, token (workload, sanity check)."""
_CALLS_PER_JOIN: Final = 4.53
"""Of the 8.04 calls of a join, what reaches the origin; the edge's cache has the rest."""


def _noisy(rates: list[float], seed: int) -> list[float]:
    """Poisson-like noise: a normal with the variance of the mean, never negative."""
    rng = random.Random(seed)  # noqa: S311  # noise, no secret
    return [max(0.0, rng.gauss(rate, math.sqrt(max(rate, 0.0)))) for rate in rates]


def kick_off(viewers: int, seed: int = 1) -> list[float]:
    """Half an hour of calm, then 75 % of the viewers in 15 minutes (S1), 30 % in one minute (S2), and an hour on."""
    base = 0.05 * viewers
    rates: list[float] = []
    watching = base
    for second in range(2 * 3600):
        joins = 0.0
        if 1800 <= second < 2700:
            joins = 0.05 * viewers / 60
        elif 2880 <= second < 2940:
            joins = 2 * 0.3 * viewers / 60 * (1 - abs(second - 2910) / 30)
        watching = min(watching + joins, 1.1 * viewers)
        rates.append(watching * _STEADY + joins * _CALLS_PER_JOIN)
    return _noisy(rates, seed)


def exit_wave(viewers: int, seed: int = 2) -> list[float]:
    """An hour of everybody watching, then S3: 95 % leave in three minutes, 60 % of them by way of home."""
    rates: list[float] = []
    watching = float(viewers)
    for second in range(2 * 3600):
        leaves = 0.95 * viewers / 180 if 3600 <= second < 3780 else 0.0
        watching -= leaves
        rates.append(watching * _STEADY + leaves * (1 + 2 * 0.6))
    return _noisy(rates, seed)


def ordinary_day(viewers: int, seed: int = 3) -> list[float]:
    """A day without football: 4 % of the viewers at five in the morning, prime time at half past eight."""
    rates: list[float] = []
    for second in range(86_400):
        hour = second / 3600
        evening = math.exp(-(((hour - 20.5) / 2.2) ** 2))
        noon = 0.35 * math.exp(-(((hour - 13) / 3.0) ** 2))
        share = 0.04 + 0.6 * min(1.0, evening + noon)
        zapping = share * viewers / 1080  # a median of 18 minutes before the next start
        rates.append(share * viewers * _STEADY + zapping * _CALLS_PER_JOIN)
    return _noisy(rates, seed)


TRACES: Final[Mapping[str, Callable[[int], list[float]]]] = {
    "kick-off": kick_off,
    "exit-wave": exit_wave,
    "ordinary-day": ordinary_day,
}

BOOKED: Final[Mapping[str, Callable[[int], tuple[Expected, ...]]]] = {
    "kick-off": lambda viewers: (Expected(from_s=1_800, until_s=5_400, rate=viewers * _STEADY),),
}
"""What the schedule knows of a trace beforehand: that the match begins, and about how many will watch it."""


def read_trace(path: Path) -> list[float]:
    """A CSV file of ``second,calls_per_s`` with a header; seconds dense from 0.

    Raises:
        Invalid: with file and line.
    """
    rates: list[float] = []
    with path.open(newline="") as lines:
        rows = csv.reader(lines)
        if next(rows, None) != ["second", "calls_per_s"]:
            raise Invalid(f"{path}:1: the header must be second,calls_per_s")
        for number, row in enumerate(rows, 2):
            try:
                second, rate = int(row[0]), float(row[1])
            except (ValueError, IndexError) as error:
                raise Invalid(f"{path}:{number}: {','.join(row)[:60]!r} is not second,calls_per_s") from error
            if second != len(rates) or not (math.isfinite(rate) and 0 <= rate <= 1e8):
                raise Invalid(f"{path}:{number}: expected second {len(rates)} and a rate of 0 to 1e8, found {row[:2]}")
            if len(rates) >= SECONDS_MAX:
                raise Invalid(f"{path}:{number}: more than {SECONDS_MAX} seconds")
            rates.append(rate)
    if len(rates) < 60:
        raise Invalid(f"{path}: {len(rates)} seconds; a trace has at least 60")
    return rates
