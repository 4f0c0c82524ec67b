"""What calls of operators want of the archive of their cell: made by this process, or by another one.

On AWS several tasks and functions have the same store, and the books of keys may have one writer only: a function of
its own archives, once at a time, and the cell looks how far it has come. May not know: engines, schedules.
"""

from typing import Final, Protocol

import structlog

from eisbach.cell.backup_format import SegmentName, days_between
from eisbach.kernel.errors import EisbachError, Unavailable
from eisbach.kernel.limits import BACKUPS_KEPT
from eisbach.ports.blobs import Blobs
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = ["Archive", "ArchivedElsewhere"]

LOOK_EVERY_S: Final = 30.0
_SLACK_MS: Final = 2_000
"""Between the stamp of an op and its commit."""
_logger = structlog.get_logger(__name__)


class Archive(Protocol):
    """Of one store's log."""

    def archived_lsn(self) -> int:
        """Up to where the log lies in backups; 0: not known yet."""
        ...

    async def cover(self, at_ms: int) -> None:
        """Make sure that backups hold everything that was committed until ``at_ms``.

        Raises:
            Unavailable: they do not yet; again later.
        """
        ...


class ArchivedElsewhere:
    """Another process writes the archive of this cell."""

    def __init__(self, store: Store, blobs: Blobs, *, cell: str, clock: Clock) -> None:
        self._store, self._blobs, self._cell, self._clock = store, blobs, cell, clock
        self._reached = SegmentName(0, 0, 0)

    async def run(self) -> None:
        """Look for ever how far the archive is."""
        while True:
            try:
                await self.look()
            except EisbachError as error:
                _logger.warning("backups_not_seen", cell=self._cell, error=str(error))
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> SegmentName:
        """The newest segment; zeros for none."""
        now = self._clock.wall_ms()
        for day in reversed(days_between(now - int(BACKUPS_KEPT.total_seconds() * 1000), now)):
            if found := await self._blobs.keys(f"log/{self._cell}/{day}/"):
                self._reached = SegmentName.parse(found[-1])
                break
        return self._reached

    def archived_lsn(self) -> int:
        """See ``Archive``: as it was seen last."""
        return self._reached.lsn

    def told(self) -> dict[str, int]:
        """For ``/status``."""
        return {"archived_lsn": self._reached.lsn, "archived_ms": self._reached.ms}

    async def cover(self, at_ms: int) -> None:
        """See ``Archive``."""
        end = self._store.statistics().last_lsn
        reached = await self.look()
        if reached.lsn < end and reached.ms <= at_ms + _SLACK_MS:
            raise Unavailable(
                f"backups of cell {self._cell} reach to {reached.ms} ms since 1970 and not to {at_ms} yet; they are "
                "brought up once a minute, so ask again then"
            )
