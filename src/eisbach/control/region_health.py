"""Which regions are well, from journeys that were tried: bad after three failures in a row, well after five successes.

Promises: one lost packet moves nobody, and a region that flaps stays out until it has been well for a while; with no
news of a region nothing changes. Pure: whoever watches passes in what it saw. What follows from it is ``route``'s
affair, which moves nothing when every region looks bad (design section 5). May not know: clocks, I/O, weights.
"""

from collections.abc import Collection, Mapping
from typing import Final

__all__ = ["BAD_AFTER", "GOOD_AFTER", "RegionHealth"]

BAD_AFTER: Final = 3
GOOD_AFTER: Final = 5


class RegionHealth:
    """One watcher's opinion."""

    def __init__(self, regions: Collection[str]) -> None:
        """Every region is taken for well until three journeys in a row say otherwise."""
        self._well = dict.fromkeys(regions, True)
        self._against = dict.fromkeys(regions, 0)

    def see(self, region: str, *, succeeded: bool) -> bool:
        """Take the outcome of a journey; whether the opinion of the region changed by it."""
        if succeeded == self._well[region]:
            self._against[region] = 0
            return False
        self._against[region] += 1
        if self._against[region] < (BAD_AFTER if self._well[region] else GOOD_AFTER):
            return False
        self._well[region], self._against[region] = succeeded, 0
        return True

    def well(self) -> Mapping[str, bool]:
        """Region -> whether it is well."""
        return dict(self._well)
