"""Links between simulated processes: calls that get lost, doubled, late, out of order, cut one way or both, or hang.

A call has two legs; each may fail on its own, so a caller can miss the answer to what was done. Promises: a call ends
with an answer, ``Refused`` (nothing was delivered) or ``Silent`` (nobody knows). May not know: what is called.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

__all__ = ["Endpoint", "Network", "Refused", "Silent", "Weather"]

T = TypeVar("T")
_LAN_S: Final = (0.0002, 0.002)
_WAN_S: Final = (0.015, 0.04)


class Refused(Exception):
    """Nobody listens there: nothing was delivered."""


class Silent(Exception):
    """No answer in time: it may have been done."""


class Endpoint(Protocol):
    """A process as the network sees it."""

    name: str
    region: str

    @property
    def up(self) -> bool:
        """Whether somebody listens."""
        ...

    async def awake(self) -> None:
        """Return when the process is not stopped (SIGSTOP)."""
        ...

    def spawn(self, work: Awaitable[T]) -> "asyncio.Task[T]":
        """Run in this process's name; ends with its life."""
        ...

    def enter(self, phase: str) -> None:
        """It is now in a phase of the protocol."""
        ...

    def leave(self, phase: str) -> None:
        """And now no more."""
        ...


@dataclass(slots=True)
class Weather:
    """What links do to messages."""

    loss: float = 0.0
    doubling: float = 0.0
    lateness: float = 0.0
    """Share of messages that take up to fifty times as long; that is what puts them out of order."""
    cut: set[tuple[str, str]] = field(default_factory=set)
    """(from region or process, to region or process)."""


class Network:
    """All links."""

    def __init__(self, chance: random.Random, note: Callable[[str, str], None]) -> None:
        """``note``: (phase, fault) of a message that was hurt."""
        self._chance, self._note = chance, note
        self.weather = Weather()
        self.sent = 0

    def is_cut(self, source: Endpoint, target: Endpoint) -> bool:
        """Whether nothing gets from one to the other now."""
        cut = self.weather.cut
        return bool(cut) and any(
            pair in cut
            for pair in (
                (source.region, target.region),
                (source.name, target.name),
                (source.region, target.name),
                (source.name, target.region),
            )
        )

    async def call(
        self, source: Endpoint, target: Endpoint, phase: str, work: Callable[[], Awaitable[T]], *, seconds: float
    ) -> T:
        """Have ``work`` done by ``target`` and get its result.

        Raises:
            Refused, Silent: see there. Exceptions of ``work`` come through.
        """
        self.sent += 1
        source.enter(f"{phase}.ask")
        try:
            async with asyncio.timeout(seconds):
                return await self._call(source, target, phase, work)
        except TimeoutError:
            raise Silent(f"{target.name} did not answer {phase} in {seconds} s") from None
        finally:
            source.leave(f"{phase}.ask")

    async def _call(self, source: Endpoint, target: Endpoint, phase: str, work: Callable[[], Awaitable[T]]) -> T:
        await self._leg(source, target, f"{phase}.ask")
        if not target.up:
            raise Refused(f"{target.name} is down")
        if self._chance.random() < self.weather.doubling:
            self._note(f"{phase}.ask", "doubling")
            target.spawn(self._serve(target, phase, work, late=True))
        done = target.spawn(self._serve(target, phase, work))
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            done.add_done_callback(_seen)  # the caller gave up; the work goes on
            raise
        if done.cancelled():
            raise Silent(f"{target.name} died while it worked on {phase}")
        error = done.exception()
        await self._leg(target, source, f"{phase}.answer")
        if error is not None:
            raise error
        return done.result()

    async def _serve(self, target: Endpoint, phase: str, work: Callable[[], Awaitable[T]], *, late: bool = False) -> T:
        if late:
            await asyncio.sleep(self._chance.uniform(0, 0.3))
        await target.awake()
        target.enter(f"{phase}.serve")
        try:
            return await work()
        finally:
            target.leave(f"{phase}.serve")

    async def _leg(self, source: Endpoint, target: Endpoint, phase: str) -> None:
        chance, weather = self._chance, self.weather
        delay = chance.uniform(*(_LAN_S if source.region == target.region else _WAN_S))
        if chance.random() < weather.lateness:
            self._note(phase, "lateness")
            delay *= chance.uniform(5, 50)
        lost = chance.random() < weather.loss
        await asyncio.sleep(delay)
        if lost:
            self._note(phase, "loss")
        elif self.is_cut(source, target):
            self._note(phase, "cut")
            lost = True
        if lost:
            await asyncio.get_running_loop().create_future()  # for ever: the caller's time-out ends it


def _seen(task: "asyncio.Task[object]") -> None:
    if not task.cancelled():
        task.exception()
