"""What the network knows of its own: what is under way although nobody waits for it any more."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
import structlog

from eisbach.testing.world import network
from eisbach.testing.world.clients import Viewer
from eisbach.testing.world.links import PeerLink
from eisbach.testing.world.loop import SimLoop
from eisbach.testing.world.many import close_volumes, volumes
from eisbach.testing.world.network import Network, Silent, Weather
from eisbach.testing.world.run import simulate

RATE = 1_000


class Machine:
    """See ``network.Endpoint``; one that is doomed is dead before anything that it spawns has begun."""

    up, doomed = True, False

    def __init__(self, region: str) -> None:
        self.name = self.region = region
        self.kept: list[asyncio.Task[Any]] = []

    async def awake(self) -> None:
        """Never stopped."""

    def spawn(self, work: Awaitable[Any]) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self.kept.append(task)  # so that what is over is known by that, and not by its having been collected
        if self.doomed:
            task.cancel()
        return task

    def enter(self, phase: str) -> None:
        """No phases."""

    def leave(self, phase: str) -> None:
        """No phases."""


class Links:
    """Two machines, and what the second one has done."""

    def __init__(self) -> None:
        self.network = Network(random.Random("links"), lambda _phase, _fault: None)
        self.here, self.there = Machine("here"), Machine("there")
        self.done = 0
        self.takes_s = 0.0

    async def ask(self, *, seconds: float = 9.0) -> None:
        await self.network.call(self.here, self.there, "door", self._work, seconds=seconds)

    async def _work(self) -> None:
        await asyncio.sleep(self.takes_s)
        self.done += 1


async def _late(links: Links) -> None:
    links.network.weather.lateness = 1.0
    with pytest.raises(Silent):
        await links.ask(seconds=0.05)


async def _slow(links: Links) -> None:
    links.takes_s = 2.0
    with pytest.raises(Silent):
        await links.ask(seconds=1.0)


async def _doubled(links: Links) -> None:
    links.network.weather.doubling = 1.0
    await links.ask()


@pytest.mark.parametrize(("how", "done"), [(_late, 1), (_slow, 1), (_doubled, 2)])
def test_what_nobody_waits_for_is_under_way_until_it_is_done(
    how: Callable[[Links], Coroutine[Any, Any, None]], done: int
) -> None:
    async def play() -> None:
        links = Links()
        await how(links)
        assert (links.done, links.network.under_way("door")) == (done - 1, 1)
        assert links.network.under_way("edge") == 0
        await asyncio.sleep(5)
        assert (links.done, links.network.under_way("door")) == (done, 0)

    _run(play())


async def _lost(links: Links) -> None:
    links.network.weather.loss = 1.0


async def _cut(links: Links) -> None:
    links.network.weather.cut.add(("here", "there"))


async def _down(links: Links) -> None:
    links.there.up = False


async def _dies(links: Links) -> None:
    links.network.weather.doubling = 1.0
    links.there.doomed = True


@pytest.mark.parametrize("how", [_lost, _cut, _down, _dies])
def test_what_will_never_be_done_is_not_under_way(how: Callable[[Links], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        links = Links()
        await how(links)
        await asyncio.gather(links.ask(seconds=1.0), return_exceptions=True)
        assert (links.done, links.network.under_way("door")) == (0, 0)

    _run(play())


def test_no_world_has_converged_while_a_viewers_call_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 320366: such a call was written by one region between the last look and the judge's evidence of it."""
    written: list[float] = []

    async def watch(viewer: Viewer, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(until_s - loop.time())

        async def work() -> None:
            await asyncio.sleep(8.0)
            written.append(loop.time())

        edge = viewer._world.edges["eu-west"]
        with pytest.raises(Silent):
            await viewer._world.network.call(viewer, edge, "edge", work, seconds=0.1)

    monkeypatch.setattr(Viewer, "watch", watch)
    try:
        result = simulate(0, volumes())
    finally:
        close_volumes()

    assert not result.breaches
    assert len(written) > 0
    assert result.seconds > max(written)
    assert result.converged_s > 4.0


def test_regions_end_equal_although_the_links_between_them_carry_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every fault of the seeds besides; P4 within 30 s, as everywhere."""
    sizes: list[int] = []
    trickle = PeerLink._trickle

    async def noted(link: PeerLink, size: int) -> None:
        sizes.append(size)
        await trickle(link, size)

    monkeypatch.setattr(network, "Weather", partial(Weather, bytes_per_s=RATE))
    monkeypatch.setattr(PeerLink, "_trickle", noted)
    try:
        results = [simulate(seed, volumes()) for seed in (14, 213, 1018)]
    finally:
        close_volumes()

    assert [result.breaches for result in results if result.breaches] == []
    assert max(sizes) / RATE > 8, "an answer took longer than silence may"


def _run(play: Coroutine[Any, Any, None]) -> None:
    loop = SimLoop("network")
    try:
        loop.run_until_complete(play)
    finally:
        loop.close()


def test_logs_are_silent_only_as_long_as_the_worlds_disks_are_there() -> None:
    """A test that came after the world in the same process heard nothing of what it waited for."""
    with structlog.testing.capture_logs() as said:
        volumes()
        structlog.get_logger().error("unheard")
        close_volumes()
        structlog.get_logger().error("heard")

    assert [line["event"] for line in said] == ["heard"]
