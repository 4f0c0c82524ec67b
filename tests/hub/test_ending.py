"""A host that is told to end does so, whatever goes wrong in that moment."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.authoring import spoke
from eisbach.hub.host import SpokeHost
from eisbach.hub.runner import Surroundings
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.events import Event
from eisbach.ports.spoke import Effects
from eisbach.testing.event_log_promises import an_event
from eisbach.testing.manual_clock import settle


class FailingDisk:
    """Works until ``failing``; then what waits for it, and what comes, is refused once ``let`` is set."""

    def __init__(self) -> None:
        self.failing, self.asked, self.let = False, asyncio.Event(), asyncio.Event()

    async def __call__(self, work: Callable[[], Any]) -> Any:
        if self.failing:
            self.asked.set()
            await self.let.wait()
            raise Unavailable("the disk refused")
        return work()


@pytest.mark.parametrize("turns", range(24))
async def test_a_host_ends_at_whatever_turn_after_a_disks_failure_it_is_told(hub, turns: int) -> None:
    """A runner that failed in the same moment began anew instead, and the process stood half shut for ever."""

    @spoke("one", on="tv.test.thing.happened.v1")
    async def handler(event: Event, effects: Effects) -> None:
        effects.put("k", b"1")

    disk = FailingDisk()
    store = await SqliteSpokeStore(hub.folder / "own.db", disk=disk).open()
    around = Surroundings(region="eu-central", log=hub.log, store=store, clock=hub.clock, rng=random.Random(7))
    running = asyncio.create_task(SpokeHost([handler], around, transport=hub.studio).run())
    await settle(50)
    disk.failing = True
    await hub.publish(an_event(1))
    await disk.asked.wait()

    disk.let.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await settle(200)

    assert running.done()
    disk.failing = False
    await store.aclose()
