"""A spokes' host whose disk refuses while it runs says so, and again when it takes writes: by itself."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from eisbach.bootstrap.spokes import trial_of_spokes
from eisbach.cell.write_trial import WriteTrial
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.kernel.errors import Unavailable
from eisbach.ports.spoke_store import Settlement
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.world.disks import VFS_NAME, Volume, Volumes


class Host(NamedTuple):
    store: SqliteSpokeStore
    trial: WriteTrial
    clock: ManualClock
    volume: Volume

    async def look(self, after: float = 1.0) -> None:
        await self.clock.advance(after)
        await self.trial.look()

    async def settle(self) -> None:
        await self.store.settle(Settlement(spoke="audit", event_id="e1", subject="t-1", state={"k": b"1" * 9000}))


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """A spoke store on a simulated disk."""
    volumes, clock = Volumes(), ManualClock()
    volume = volumes.make({})
    store = await SqliteSpokeStore(Path(volume.folder) / "spokes.db", disk=inline, vfs=VFS_NAME).open()
    yield Host(store, trial_of_spokes(store, clock=clock), clock, volume)
    volume.full = False
    await store.aclose()
    volumes.close()


async def test_a_settlement_that_the_disk_refused_is_told_until_there_is_room(host: Host) -> None:
    """It stood in the log alone, while ``status`` said that nobody is hurt and the backlog grew."""
    await host.settle()
    await host.look()
    assert host.trial.refusal is None
    host.volume.full = True
    with pytest.raises(Unavailable):
        await host.settle()
    await host.look()
    since = host.clock.wall_ms()
    await host.look()

    assert host.trial.refusal is not None
    assert host.trial.refusal.since_ms == since
    assert "FullError" in host.trial.refusal.why
    assert "spokes.db" in host.trial.refusal.why
    assert "free space there" in host.trial.refusal.why
    host.volume.full = False
    await host.look()
    assert host.trial.refusal is None


async def test_while_events_are_handled_a_host_tries_nothing_of_its_own(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    async def tried() -> None:
        tries.append(host.clock.monotonic_ms())

    monkeypatch.setattr(host.store, "try_a_write", tried)
    trial = trial_of_spokes(host.store, clock=host.clock)
    for _ in range(10):
        await host.settle()
        await host.clock.advance(9)
        await trial.look()
    assert tries == []
    await host.clock.advance(10)
    await trial.look()
    assert len(tries) == 1


async def test_a_host_that_handles_nothing_finds_out_by_itself_that_its_disk_is_full(host: Host) -> None:
    host.volume.full = True
    await host.look(11)

    assert host.trial.refusal is not None
