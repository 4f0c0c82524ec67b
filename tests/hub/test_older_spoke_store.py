"""A spokes' store that somebody put back, whose write-ahead log was removed, or that is gone."""

import asyncio
import shutil

import pytest

from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.authoring import spoke
from eisbach.hub.store_lost import StoreLost
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.events import Event
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.testing.event_log_promises import an_event
from eisbach.testing.manual_clock import ManualClock

TYPE = "tv.test.thing.happened.v1"
DAY_S = 24 * 3600


def counter() -> tuple[SpokeSpec, list[int]]:
    """Keeps in its state which events it has counted."""
    handled: list[int] = []

    @spoke("counter", on=TYPE)
    async def handler(event: Event, effects: Effects) -> None:
        handled.append(event.seq)
        counted = await effects.get("counted") or b""
        effects.put("counted", counted + b" %d" % event.seq)

    return handler, handled


async def reopen(hub) -> None:
    hub.store = await SqliteSpokeStore(hub.folder / "spokes.db").open()


async def stopped(hub) -> None:
    await hub.idle()
    await hub.stop()
    await hub.store.aclose()


@pytest.fixture
async def put_back(hub) -> tuple[SpokeSpec, list[int]]:
    """Six events were handled; the file is that of after the third."""
    spec, handled = counter()
    for first in (1, 4):
        await hub.start(spec)
        await hub.publish(*[an_event(n) for n in range(first, first + 3)])
        await stopped(hub)
        if first == 1:
            shutil.copy2(hub.folder / "spokes.db", hub.folder / "copy")
            await reopen(hub)
    (hub.folder / "copy").replace(hub.folder / "spokes.db")
    await reopen(hub)
    handled.clear()
    return spec, handled


async def test_of_an_older_copy_what_is_missing_is_handled_again_and_nothing_else(hub, put_back) -> None:
    spec, handled = put_back

    await hub.start(spec)
    await hub.publish(an_event(7))
    await hub.idle()

    assert handled == [4, 5, 6, 7]
    assert await hub.store.get("counter", "counted") == b" 1 2 3 4 5 6 7"


async def test_the_hub_is_asked_anew_once_and_by_each_spoke_when_it_runs(hub, put_back) -> None:
    spec, handled = put_back
    await stopped(hub)
    await reopen(hub)
    await hub.start(spec)
    await stopped(hub)
    assert handled == [4, 5, 6], "the first opening after the loss asked nobody"

    await reopen(hub)
    host = await hub.start(spec)
    await hub.publish(an_event(7))
    await hub.idle()

    assert handled == [4, 5, 6, 7]
    assert host.statistics()["spokes"]["counter"]["repeats"] == 0


async def test_a_restart_in_good_order_is_no_loss(hub) -> None:
    spec, handled = counter()
    for n in (1, 2):
        await hub.start(spec)
        await hub.publish(an_event(n))
        await stopped(hub)
        await reopen(hub)

    assert (handled, hub.store.lost, hub.store.was_empty) == ([1, 2], "", False)


async def told(hub, clock: ManualClock) -> dict[str, object]:
    lost = StoreLost(hub.store, hub.log, clock=clock)
    await lost.look(["counter", "other"], was_empty=hub.store.was_empty, older=hub.store.lost)
    return lost.told()


async def test_a_store_that_is_empty_though_the_hub_knows_its_spokes_is_told_for_a_day(hub) -> None:
    spec, _ = counter()
    assert await told(hub, hub.clock) == {}, "the first start is no loss"
    await hub.start(spec)
    await hub.publish(an_event(1))
    await stopped(hub)
    for file in hub.folder.glob("spokes.db*"):
        file.unlink()
    await reopen(hub)

    found = await told(hub, hub.clock)
    await stopped(hub)
    await reopen(hub)
    later = await told(hub, hub.clock)
    await hub.clock.advance(DAY_S + 1)

    assert found["empty"] is True
    assert "the hub knows 1 of its spokes" in str(found["why"])
    assert later == found, "a restart still tells it"
    assert await told(hub, hub.clock) == {}


async def test_an_empty_store_whose_host_ends_before_the_hub_has_answered_is_told_by_the_next_one(hub) -> None:
    """Its tables were there by then, so nothing said any more that it had begun empty."""
    spec, _ = counter()
    await hub.start(spec)
    await hub.publish(an_event(1))
    await stopped(hub)
    for file in hub.folder.glob("spokes.db*"):
        file.unlink()
    await reopen(hub)
    state, asked = hub.log.state, asyncio.Event()

    async def silent() -> None:
        asked.set()
        raise Unavailable("the hub is away")

    hub.log.state = silent
    looking = asyncio.create_task(told(hub, hub.clock))
    await asked.wait()
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await hub.store.aclose()
    hub.log.state = state
    await reopen(hub)

    assert "the hub knows 1 of its spokes" in str((await told(hub, hub.clock))["why"])


async def test_an_older_copy_is_told_with_how_it_was_seen(hub, put_back) -> None:
    found = await told(hub, hub.clock)

    assert found["empty"] is False
    assert "spokes.db is not known to be the file that was opened here last" in str(found["why"])
