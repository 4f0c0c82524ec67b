"""Sees erasures through: op bodies first, then the bytes that SQLite leaves, then the note that there is work to do.

Promises: begins again after a crash, a full disk or a reader in the way, because the notes are rows; other writes go on
between its steps. May not know: what an erasure deletes (``group``, ``erasing``).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import apsw
import structlog

from eisbach.engines.embedded.disk import Disk
from eisbach.engines.embedded.erasing import ForgetScrubsWork, ScrubWork
from eisbach.engines.embedded.gaps import PageGaps
from eisbach.engines.embedded.works import Work
from eisbach.engines.embedded.writer import Writer
from eisbach.kernel.errors import EisbachError
from eisbach.ports.clock import Clock

__all__ = ["Eraser"]

_AGAIN_S: Final = 0.05
"""A reader that still needs the write-ahead log is gone within milliseconds."""
_REFUSED_S: Final = 1.0
"""After a disk that refused; a store that nobody writes to has no commit that would begin the work again."""
_TELL_EVERY: Final = 60
"""A line a minute: a disk may stay full over night."""

_logger = structlog.get_logger(__name__)


class Eraser:
    """One a store."""

    def __init__(self, writer: Writer, gaps: PageGaps | None, *, clock: Clock, disk: Disk) -> None:
        """``gaps``: None for a file on a disk that is not this machine's own."""
        self._writer, self._gaps, self._clock, self._disk = writer, gaps, clock, disk
        self._task: asyncio.Task[None] | None = None

    def start(self, submit: "Callable[[Work], asyncio.Future[Any]]") -> None:
        """Begin unless there is nothing to do or it is being done; ``submit`` hands a work to the store's writer."""
        if self._writer.erasing and self._task is None:
            self._task = asyncio.create_task(self._run(submit), name="store-eraser")

    def cancel(self) -> None:
        """Stop; the next opening goes on."""
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """After every connection of the file."""
        if self._gaps is not None:
            self._gaps.close()

    async def _run(self, submit: "Callable[[Work], asyncio.Future[Any]]") -> None:
        refused = 0
        try:
            while self._writer.erasing:
                try:
                    while await submit(ScrubWork()):
                        pass
                    await self._wipe()
                    await submit(ForgetScrubsWork())
                except (EisbachError, OSError, apsw.Error) as error:  # the notes are on disk, and say how far it came
                    if refused % _TELL_EVERY == 0:
                        _logger.warning("erasure_waits", cell=self._writer.cell, refused=refused + 1, error=str(error))
                    refused += 1
                    await self._clock.sleep(_REFUSED_S)
        finally:
            self._task = None

    async def _wipe(self) -> None:
        page = 0
        while True:
            following = await self._disk(lambda page=page: self._writer.wipe(self._gaps, page))  # type: ignore[misc]
            if following == 0:
                return
            if following is None:
                await self._clock.sleep(_AGAIN_S)
            else:
                page = following
