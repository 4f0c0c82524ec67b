"""The embedded event log keeps the promises of its port."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.kernel.errors import Unavailable
from eisbach.testing.event_log_promises import EventLogPromises, PipelinedLogPromises, an_envelope, fill, lsns, take
from eisbach.testing.manual_clock import ManualClock


class Host:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self._path = folder / "hub.db"
        self._logs: list[SqliteEventLog] = []

    async def open(self) -> SqliteEventLog:
        log = await SqliteEventLog(self._path, clock=self.clock).open()
        self._logs.append(log)
        return log

    async def restart(self) -> None:
        for log in self._logs:
            await log.aclose()
        self._logs.clear()

    async def wipe(self) -> None:
        await self.restart()
        for path in self._path.parent.glob("hub.db*"):
            path.unlink()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path)
    yield host
    await host.restart()


class TestSqliteEventLog(PipelinedLogPromises, EventLogPromises):
    """All of them."""


async def test_a_refused_delivery_waits_for_its_delay(host: Host) -> None:
    log = await host.open()
    subscription = await log.subscribe("reader")
    await fill(log, 2)
    (first,) = await take(subscription, 1, ack=False)

    await first.nak(60)
    (second,) = await take(subscription, 1)
    await host.clock.advance(60)

    assert [second.envelope.first_lsn, *lsns(await take(subscription, 1))] == [2, 1]


async def test_pruning_keeps_what_is_young_unread_or_a_relays_cursor(host: Host) -> None:
    log = await host.open()
    behind = await log.subscribe("behind")
    await fill(log, 3)
    await host.clock.advance(8 * 86400)
    await take(behind, 2)

    await log._prune()

    assert lsns(await take(behind, 1)) == [3]
    assert (await log.last("eu-central/c1")).last_lsn == 3
    assert lsns(await take(await log.subscribe("later"), 1)) == [3]


async def test_a_closed_log_says_so(host: Host) -> None:
    log = await host.open()
    await log.aclose()

    with pytest.raises(Unavailable, match="closed"):
        await log.append(an_envelope(1), expected=0)
