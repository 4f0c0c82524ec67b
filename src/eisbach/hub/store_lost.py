"""That what the spokes of a region remember was lost, or may be an older copy of itself; for people, for a day.

Promises: kept with the store, so that a restart still tells it. May not know: engines, which spokes there are.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog

from eisbach.kernel.errors import Retryable
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.ports.spoke_store import Settlement, SpokeStore

__all__ = ["StoreLost"]

_ASK_AGAIN: Final = timedelta(seconds=1)
_TOLD_FOR: Final = timedelta(days=1)
_NOBODY, _KEY = "", "eisbach:store-lost"
_EMPTY: Final = "eisbach:began-empty"
"""Kept until the hub has said whether that was a loss: a process that ends before leaves a store that is not empty."""
_logger = structlog.get_logger(__name__)


class _Lost(msgspec.Struct, frozen=True, kw_only=True):
    at_ms: int
    why: str
    empty: bool


class StoreLost:
    """One a spoke host."""

    def __init__(self, store: SpokeStore, log: EventLog, *, clock: Clock) -> None:
        self._store, self._log, self._clock = store, log, clock
        self._lost: _Lost | None = None

    async def look(self, spokes: Collection[str], *, was_empty: bool, older: str) -> None:
        """Before any of ``spokes`` subscribes: a hub that knows one of them is not at its first start.

        Returns once the hub has answered; until then no spoke has anything to do.
        """
        if older:
            await self._note(older, empty=False)
        if was_empty:
            await self._keep({_EMPTY: b"1"})
        if await self._store.get(_NOBODY, _EMPTY):
            if known := await self._known(spokes):
                await self._note(f"it was empty, and the hub knows {len(known)} of its spokes", empty=True)
            await self._keep({_EMPTY: None})
        kept = await self._store.get(_NOBODY, _KEY)
        self._lost = msgspec.json.decode(kept, type=_Lost) if kept else None

    def told(self) -> dict[str, Any]:
        """For ``/status``; empty: it was not lost, or longer than a day ago."""
        if self._lost is None or self._clock.wall_ms() - self._lost.at_ms > _TOLD_FOR / timedelta(milliseconds=1):
            return {}
        return msgspec.structs.asdict(self._lost)

    async def _known(self, spokes: Collection[str]) -> set[str]:
        while True:
            try:
                return set(spokes) & set(await self._log.state())
            except Retryable:
                await self._clock.sleep(_ASK_AGAIN.total_seconds())

    async def _note(self, why: str, *, empty: bool) -> None:
        _logger.warning("spoke_store_lost" if empty else "spoke_store_older", why=why)
        lost = msgspec.json.encode(_Lost(at_ms=self._clock.wall_ms(), why=why, empty=empty))
        await self._keep({_KEY: lost})

    async def _keep(self, state: Mapping[str, bytes | None]) -> None:
        await self._store.settle(Settlement(spoke=_NOBODY, event_id="", subject="", state=state))
