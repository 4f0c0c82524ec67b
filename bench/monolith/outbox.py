"""From the outbox table to the hub: delete and publish in one transaction, so that a crash repeats and never loses.

Rows are taken in hundreds and published as messages of at most 64 events, as our relay's envelopes are. The delete does
not wait for the disk: losing it means publishing again.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import asyncpg
import nats

from eisbach.kernel.limits import ENVELOPE_EVENTS_MAX

__all__ = ["STREAM", "SUBJECT", "Outbox"]

STREAM, SUBJECT = "MONOLITH", "monolith.events"
_TAKE: Final = (
    "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT 512 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, event"
)
_COMPANY_S: Final = 0.01
"""Waited for more events before each turn: the hub is nobody's critical path, and a full message costs one fsync."""


class Outbox:
    """One a process."""

    def __init__(self, dsn: str, hub: str) -> None:
        self._dsn, self._hub = dsn, hub
        self.changed = asyncio.Event()
        self.published = 0

    async def run(self) -> None:
        """Publish for ever; a hub that is away is waited for."""
        database = await asyncpg.connect(self._dsn, server_settings={"synchronous_commit": "off"})
        client = await nats.connect(self._hub, max_reconnect_attempts=-1)
        try:
            js = client.jetstream()
            await js.add_stream(name=STREAM, subjects=[SUBJECT])
            self.changed.set()  # what an earlier run left
            while True:
                await self.changed.wait()
                await asyncio.sleep(_COMPANY_S)
                self.changed.clear()
                try:
                    while await self._some(database, js):
                        pass
                except (nats.errors.Error, TimeoutError):
                    self.changed.set()
                    await asyncio.sleep(0.5)
        finally:
            await client.close()
            await database.close()

    async def _some(self, database: asyncpg.Connection, js: "nats.js.JetStreamContext") -> int:
        async with database.transaction():
            rows = sorted(await database.fetch(_TAKE))
            for piece in _pieces([row["event"] for row in rows]):
                await js.publish(SUBJECT, b"[" + b",".join(piece) + b"]", timeout=5)
        self.published += len(rows)
        return len(rows)


def _pieces(events: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(events), ENVELOPE_EVENTS_MAX):
        yield events[start : start + ENVELOPE_EVENTS_MAX]
