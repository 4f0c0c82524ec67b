"""How long a thing has been as it is, by the monotonic clock: a jump of the wall clock shortens and lengthens nothing.

A monotonic clock means nothing to another life of the process, so each life counts anew from when it first looked: what
is limited takes at most its limit from the last start.
"""

from collections.abc import Hashable

from eisbach.ports.clock import Clock

__all__ = ["Durations"]


class Durations:
    """One a reconciler; an entry a thing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[Hashable, int]] = {}

    def lasted_ms(self, thing: str, state: Hashable) -> int:
        """Since when ``thing`` was first seen here in ``state``, without another one between."""
        now = self._clock.monotonic_ms()
        seen = self._seen.get(thing)
        if seen is None or seen[0] != state:
            seen = self._seen[thing] = (state, now)
        return now - seen[1]
