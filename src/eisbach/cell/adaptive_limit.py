"""What a cell takes on: as much as it can without making calls wait, learned while it runs, by importance.

The signal is the queueing delay of the event loop, not the time a call takes: a write that waits for a move, for a
twin's disk or for a caller's position costs nothing, while a loop that is late is what too much work does to everyone.
Only delay that the process's own work caused counts: on a core shared with others, refusing calls would not help.
Queueing time as the signal, 20 ms of it on average as the threshold, and admission by class: Zhou et al., "Overload
Control for Scaling WeChat Microservices" (DAGOR, SoCC 2018). The answer to it is additive increase, multiplicative
decrease (Chiu and Jain, 1989), with no growth of a limit that is less than half used (Netflix ``concurrency-limits``,
``Gradient2Limit``).
Promises: a critical call is refused only when as many calls as the limit are in work. Pure: the caller measures and
passes times in. May not know: HTTP.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from eisbach.cell.routes import Importance
from eisbach.kernel.limits import CELL_CONNECTIONS_MAX

__all__ = ["AdaptiveLimit", "LimitStatistics"]

SHARE: Final[Mapping[Importance, float]] = {"critical": 1.0, "degraded": 0.9, "best_effort": 0.75, "bulk": 0.75}
"""Of the limit at which a class is refused (design section 5); the edge refuses first, by the same shares."""
_RANK: Final[Mapping[Importance, int]] = {"bulk": 0, "best_effort": 1, "degraded": 2, "critical": 3}
PRESSURE_MAX: Final = 3.0
"""Everything but critical calls is refused."""
LEAST: Final = 64
TARGET_S: Final = 0.020
WINDOW_S: Final = 0.1
PROBE_EVERY_S: Final = 0.01
_DECREASE: Final = 0.8
"""From 400 to 64 in nine windows."""
_INCREASE: Final = 0.02
"""Of the limit a window, at least 1."""
_PRESS: Final = 0.25
"""A window that was late: all of a class is out after four."""
_RELEASE: Final = 0.03
"""A window that was not: all of a class is in again after 3.3 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatistics:
    """Now, and since start."""

    limit: int
    """Calls that may be in work."""
    pressure: float
    """0 to 3: how much of bulk, best effort and degraded calls is refused, one class after the other."""
    delay_ms: float
    """Of the event loop, the average of the last window that was measured."""
    late_windows: int
    shed: Mapping[Importance, int]
    """Class -> calls refused."""


class AdaptiveLimit:
    """One a process; invariants: 64 <= ``value`` <= 400, 0 <= ``pressure`` <= 3."""

    __slots__ = (
        "_ask_at", "_asked", "_asked_cpu", "_count", "_cpu_s", "_credit", "_delay_s", "_late", "_most_in_work",
        "_sum_s", "_window_ends", "pressure", "shed", "value",
    )  # fmt: skip

    def __init__(self, cpu_s: Callable[[], float]) -> None:
        """``cpu_s``: CPU time of the loop's thread, in seconds."""
        self._cpu_s, self._asked_cpu = cpu_s, 0.0
        self.value: float = CELL_CONNECTIONS_MAX
        """Calls that may be in work; begins at the cell's tested maximum."""
        self.pressure = 0.0
        self.shed: dict[Importance, int] = dict.fromkeys(SHARE, 0)
        self._credit: dict[Importance, float] = dict.fromkeys(SHARE, 0.0)
        self._asked: float | None = None
        """When the loop was last asked for a turn that has not come."""
        self._ask_at = self._window_ends = 0.0
        self._sum_s = self._delay_s = 0.0
        self._count = self._most_in_work = self._late = 0

    def statistics(self) -> LimitStatistics:
        """For ``/status``."""
        return LimitStatistics(
            limit=int(self.value),
            pressure=round(self.pressure, 2),
            delay_ms=round(self._delay_s * 1000, 2),
            late_windows=self._late,
            shed=dict(self.shed),
        )

    def admits(self, importance: Importance, *, in_work: int) -> bool:
        """Whether to take a call on; ``in_work`` counts it already."""
        self._most_in_work = max(self._most_in_work, in_work)
        refused = in_work > self.value * SHARE[importance]
        if not refused and self.pressure and (share := min(1.0, self.pressure - _RANK[importance])) > 0:
            # The refused share in even steps, without dice: 0.25 refuses every fourth.
            credit = self._credit[importance] + share
            refused = credit >= 1.0
            self._credit[importance] = credit - refused
        self.shed[importance] += refused
        return not refused

    def begin(self, now: float) -> bool:
        """A call came: whether to ask the loop for a turn, at the end of which ``end`` is called.

        While such a turn is late, every further window that passes is judged at once: else a loop that has a second of
        work before it would take on three more meanwhile.
        """
        if self._asked is None:
            if now < self._ask_at:
                return False
            self._asked, self._asked_cpu = now, self._cpu_s()
            return True
        if now - self._asked >= WINDOW_S:
            self._judge(now)
            self._asked, self._asked_cpu = now, self._cpu_s()
        return False

    def end(self, now: float) -> None:
        """The turn has come."""
        self._judge(now)
        self._asked, self._ask_at = None, now + PROBE_EVERY_S

    def _judge(self, now: float) -> None:
        """Waiting that this process did not cause is no reason to refuse calls: then its CPU time stands still."""
        assert self._asked is not None, "begin comes first"
        self.observe(min(now - self._asked, self._cpu_s() - self._asked_cpu), now=now)

    def observe(self, delay_s: float, *, now: float) -> None:
        """A measurement: what was ready had its turn ``delay_s`` later."""
        self._sum_s += delay_s
        self._count += 1
        if now < self._window_ends:
            return
        self._delay_s = self._sum_s / self._count
        if self._delay_s > TARGET_S:
            self._late += 1
            self.pressure = min(PRESSURE_MAX, self.pressure + _PRESS)
            self.value = max(LEAST, self.value * _DECREASE)
        else:
            self.pressure = max(0.0, self.pressure - _RELEASE)
            if self._most_in_work * 2 >= self.value:
                self.value = min(CELL_CONNECTIONS_MAX, self.value + max(1.0, self.value * _INCREASE))
        self._window_ends = now + WINDOW_S
        self._sum_s, self._count, self._most_in_work = 0.0, 0, 0
