"""What DynamoDB's provisioned capacity makes of a day when it scales: how much of it is used, what is throttled.

A model of AWS's rules as its developer guide tells them ("Managing throughput capacity automatically with DynamoDB auto
scaling", "Burst capacity", "Service quotas"): use is looked at by the minute; two minutes above the target raise the
capacity, fifteen below lower it; four decreases a day and one more for each hour without; what was not used in the
last 300 s may be used at once. How long a change takes is our assumption. May not know: prices, tables.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["CHANGE_S", "Booked", "Scaled", "Scaling", "scaled"]

CHANGE_S: Final = 120
"""From the minute that rings to the capacity that is there: CloudWatch's figure is a minute late, the table changes in
less than another. Assumed, not measured."""
_UP_MINUTES, _DOWN_MINUTES = 2, 15
_DOWN_BELOW: Final = 0.8
"""Of the target: lower by a fifth than what raises, so that the two do not take turns (remembered, not read)."""
_BURST_S: Final = 300
_FREE_DECREASES: Final = 4
_HOUR: Final = 3600
_MINUTE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Of one table and direction."""

    least: float
    """Units a second."""
    most: float
    target: float = 0.7


@dataclass(frozen=True, slots=True)
class Booked:
    """What a schedule knows: from and until so many seconds at least ``least`` units."""

    from_s: int
    until_s: int
    least: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """Sums over the trace."""

    asked: float
    """Units that were wanted."""
    throttled: float
    """Units that were refused; callers come again, which is not in the model."""
    provisioned: float
    """Units times seconds that are billed."""
    worst_s: int
    """Seconds in which anything was refused."""

    @property
    def utilisation(self) -> float:
        """Of what is billed, the part that was used."""
        return (self.asked - self.throttled) / self.provisioned if self.provisioned else 0.0


class _Capacity:
    """What is there, and what has been asked for."""

    def __init__(self, scaling: Scaling, first: float) -> None:
        self.scaling, self.now = scaling, min(scaling.most, max(scaling.least, first))
        self._coming: tuple[int, float] | None = None
        self._minutes: deque[float] = deque(maxlen=_DOWN_MINUTES)
        self._decreases: list[int] = []

    def at(self, second: int, least: float) -> float:
        """What is there now; ``least``: by the schedule."""
        if self._coming is not None and second >= self._coming[0]:
            self.now, self._coming = self._coming[1], None
        self.now = min(self.scaling.most, max(self.now, least))
        return self.now

    def minute(self, second: int, used: float) -> None:
        """A minute is over: ``used`` units a second in the mean."""
        self._minutes.append(used)
        if self._coming is not None:
            return
        wanted = min(self.scaling.most, max(self.scaling.least, used / self.scaling.target))
        line = self.scaling.target * self.now
        last = list(self._minutes)
        if len(last) >= _UP_MINUTES and min(last[-_UP_MINUTES:]) > line and wanted > self.now:
            self._coming = (second + CHANGE_S, wanted)
        elif len(last) == _DOWN_MINUTES and max(last) < _DOWN_BELOW * line and wanted < self.now and self._may(second):
            self._decreases.append(second)
            self._coming = (second + CHANGE_S, max(wanted, max(last) / self.scaling.target))

    def _may(self, second: int) -> bool:
        day = [at for at in self._decreases if at // 86_400 == second // 86_400]
        return len(day) < _FREE_DECREASES or second - day[-1] >= _HOUR


def scaled(rates: Sequence[float], scaling: Scaling, *, booked: Sequence[Booked] = ()) -> Scaled:
    """Play a trace (units wanted each second) against a table that scales; it begins sized for its first minute."""
    first = sum(rates[:_MINUTE]) / max(1, len(rates[:_MINUTE])) / scaling.target
    capacity, burst = _Capacity(scaling, first), 0.0
    asked = throttled = provisioned = used_in_minute = 0.0
    worst_s = 0
    for second, rate in enumerate(rates):
        least = max([scaling.least, *(one.least for one in booked if one.from_s <= second < one.until_s)])
        there = capacity.at(second, least)
        used = min(rate, there + burst)
        burst = min(_BURST_S * there, burst + there - used)
        asked, provisioned = asked + rate, provisioned + there
        throttled += rate - used
        worst_s += rate > used
        used_in_minute += used
        if second % _MINUTE == _MINUTE - 1:
            capacity.minute(second, used_in_minute / _MINUTE)
            used_in_minute = 0.0
    return Scaled(asked, throttled, provisioned, worst_s)
