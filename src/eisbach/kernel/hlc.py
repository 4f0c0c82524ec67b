"""Hybrid logical clock: timestamps that follow the wall clock, never go back, and never run away.

Source: Kulkarni et al., "Logical Physical Clocks" (OPODIS 2014), with the bounds of design section 3: the clock
never runs more than 500 ms ahead of the monotonic clock anchored at start to max(wall, persisted); when the wall
clock jumps against the monotonic clock by more than 500 ms, the hybrid clock follows the monotonic one and says so.
Pure: the caller reads both clocks and passes them in.
"""

from eisbach.kernel.errors import Overloaded

__all__ = ["COUNTER_BITS", "SKEW_MAX_MS", "HybridClock", "hlc_ms"]

COUNTER_BITS = 16
SKEW_MAX_MS = 500
"""Beyond this a remote op is held back and a local jump is not followed (design section 3)."""


def hlc_ms(hlc: int) -> int:
    """The milliseconds since 1970 in a hybrid timestamp."""
    return hlc >> COUNTER_BITS


class HybridClock:
    """One per store; ``now`` and ``observe`` are called by its single writer only.

    Invariant (P10): every stamp is greater than all before it, those persisted before a restart included.
    """

    def __init__(self, *, wall_ms: int, monotonic_ms: int, persisted: int = 0) -> None:
        """``persisted``: the highest stamp ever written by this store; 0 for a new one."""
        self._last = persisted
        self._anchor_ms = max(wall_ms, hlc_ms(persisted)) - monotonic_ms
        self.jumped = False
        """Whether the wall clock is now more than 500 ms from the anchored monotonic clock; raise an alarm."""

    @property
    def last(self) -> int:
        """The highest stamp given or observed; persist it with what it stamped."""
        return self._last

    def physical_ms(self, *, wall_ms: int, monotonic_ms: int) -> int:
        """The time this clock believes: wall, or the anchored monotonic clock when the wall has jumped."""
        anchored = monotonic_ms + self._anchor_ms
        self.jumped = abs(wall_ms - anchored) > SKEW_MAX_MS
        return anchored if self.jumped else wall_ms

    def now(self, *, wall_ms: int, monotonic_ms: int) -> int:
        """A stamp greater than every one before.

        Raises:
            Overloaded: the clock would run more than 500 ms ahead of the anchored monotonic clock; nothing was written.
        """
        physical = self.physical_ms(wall_ms=wall_ms, monotonic_ms=monotonic_ms)
        stamp = max(self._last + 1, physical << COUNTER_BITS)
        ahead = hlc_ms(stamp) - (monotonic_ms + self._anchor_ms)
        if ahead > SKEW_MAX_MS:
            raise Overloaded(
                f"the hybrid clock is {ahead} ms ahead of time, at most {SKEW_MAX_MS} is allowed; try again later"
            )
        self._last = stamp
        return stamp

    def is_from_the_future(self, remote: int, *, wall_ms: int, monotonic_ms: int) -> bool:
        """Whether a remote stamp lies more than 500 ms ahead: keep its op, apply it later, do not adopt it."""
        return remote >= self.horizon(wall_ms=wall_ms, monotonic_ms=monotonic_ms)

    def horizon(self, *, wall_ms: int, monotonic_ms: int) -> int:
        """The least stamp that is from the future: for whoever asks of thousands at one time."""
        return (self.physical_ms(wall_ms=wall_ms, monotonic_ms=monotonic_ms) + SKEW_MAX_MS + 1) << COUNTER_BITS

    def observe(self, remote: int) -> None:
        """Adopt a remote stamp that ``is_from_the_future`` has cleared, so that what follows it sorts after it."""
        self._last = max(self._last, remote)
