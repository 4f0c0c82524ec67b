"""A hub by hand: embedded engines, a manual clock, a studio that writes down what it is told."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.claim_check import ClaimChecks
from eisbach.hub.host import SpokeHost
from eisbach.hub.runner import Surroundings
from eisbach.kernel.events import Event
from eisbach.ports.event_log import Envelope
from eisbach.ports.spoke import SpokeSpec
from eisbach.testing.manual_clock import ManualClock, settle


class Studio:
    """The other end of the transport: not a port of ours, so it may be a stand-in."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, str]] = []
        self.answer: Callable[[str], Exception | None] = lambda _: None

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        error = self.answer(path)
        if error is not None:
            raise error
        self.calls.append((path, body, key))

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.calls]


class Hub:
    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.studio = folder, ManualClock(), Studio()
        self.log = SqliteEventLog(folder / "hub.db", clock=self.clock)
        self.store = SqliteSpokeStore(folder / "spokes.db")
        self.claims: ClaimChecks | None = None
        self._host: SpokeHost | None = None
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.log.open()
        await self.store.open()

    async def publish(self, *events: Event, source: str = "eu-central/c1") -> None:
        last = await self.log.last(source)
        first = last.last_lsn + 1
        await self.log.append(
            Envelope(source=source, first_lsn=first, last_lsn=first + len(events) - 1, events=list(events)),
            expected=last.sequence,
        )
        await settle()

    async def start(self, *specs: SpokeSpec) -> SpokeHost:
        around = Surroundings(
            region="eu-central",
            log=self.log,
            store=self.store,
            clock=self.clock,
            rng=random.Random(7),
            claims=self.claims,
        )
        host = SpokeHost(specs, around, transport=self.studio)
        self._host, self._running = host, asyncio.create_task(host.run())
        await settle()
        return host

    async def stop(self) -> None:
        """As a crash: whatever is in work is dropped where it stands."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
            crashed = {n: s["trouble"] for n, s in self._host.statistics()["spokes"].items() if s["restarts"]}
            assert crashed == {}, "a runner crashed, and the test passed only because it was started again"

    async def idle(self, seconds: float = 0) -> None:
        await self.clock.advance(seconds)
        await settle(200)

    async def until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(2000):
            if await reached():
                return
            await settle()
        raise AssertionError("not reached")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    hub = Hub(tmp_path)
    await hub.open()
    yield hub
    await hub.stop()
    await hub.store.aclose()
    await hub.log.aclose()
