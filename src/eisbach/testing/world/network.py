"""Links between simulated processes: calls that get lost, doubled, late, out of order, cut one way or both, or hang.

A call has two legs; each may fail on its own, so a caller can miss the answer to what was done. Promises: a call ends
with an answer, ``Refused`` (nothing was delivered) or ``Silent`` (nobody knows). May not know: what is called.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakSet

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
    bytes_per_s: int = 0
    """Of what each asker in another region is answered; 0: without bound. No seed draws it."""


class Network:
    """All links."""

    def __init__(self, chance: random.Random, note: Callable[[str, str], None]) -> None:
        """``note``: (phase, fault) of a message that was hurt."""
        self._chance, self.note = chance, note
        self._loop = asyncio.get_running_loop()
        self.weather = Weather()
        self.sent = 0
        self._legs: Counter[str] = Counter()
        self._servings: defaultdict[str, WeakSet[asyncio.Task[Any]]] = defaultdict(WeakSet)

    def under_way(self, phase: str) -> int:
        """Questions of a phase that are not there yet or are being worked on, also those that their askers gave up.

        As long as there is one, something may still be done that nobody waits for.
        """
        # Tasks are asked, not told by callbacks: one that dies before its first step would not say so, and one more
        # callback a call would change the order of all others, and so what every seed plays.
        return self._legs[f"{phase}.ask"] + sum(not task.done() for task in self._servings[phase])

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
        loop = self._loop
        told: asyncio.Future[T] = loop.create_future()
        told.add_done_callback(_seen)
        ask = f"{phase}.ask"

        def arrive() -> None:
            self._arrive(target, phase, work, answer)

        def answer(error: BaseException | None, result: T | None) -> None:
            if isinstance(error, Refused | Silent):
                _settle(told, error, result)  # a refusal needs no way back: the connection says it
            else:
                self._leg(target, source, f"{phase}.answer", lambda: _settle(told, error, result))

        source.enter(ask)
        silent = loop.call_later(seconds, _give_up, told, f"{target.name} did not answer {phase} in {seconds} s")
        try:
            self._leg(source, target, ask, arrive)
            return await told
        finally:
            silent.cancel()
            source.leave(ask)

    def _arrive(
        self,
        target: Endpoint,
        phase: str,
        work: Callable[[], Awaitable[T]],
        answer: Callable[[BaseException | None, T | None], None],
    ) -> None:
        """The question is there: it is done in the target's name, also when the asker has given up meanwhile."""
        if not target.up:
            answer(Refused(f"{target.name} is down"), None)
            return
        if self._chance.random() < self.weather.doubling:
            self.note(f"{phase}.ask", "doubling")
            self._servings[phase].add(target.spawn(self._serve(target, phase, work, late=True)))

        def done(task: "asyncio.Task[T]") -> None:
            if task.cancelled():
                answer(Silent(f"{target.name} died while it worked on {phase}"), None)
                return
            error = task.exception()
            answer(error, None if error is not None else task.result())

        serving = target.spawn(self._serve(target, phase, work))
        serving.add_done_callback(done)
        self._servings[phase].add(serving)

    async def _serve(self, target: Endpoint, phase: str, work: Callable[[], Awaitable[T]], *, late: bool = False) -> T:
        if late:
            await asyncio.sleep(self._chance.uniform(0, 0.3))
        await target.awake()
        target.enter(f"{phase}.serve")
        try:
            return await work()
        finally:
            target.leave(f"{phase}.serve")

    def _leg(self, source: Endpoint, target: Endpoint, phase: str, arrive: Callable[[], None]) -> None:
        """One way: ``arrive`` is called when it is there, or never; then the asker's time-out ends the call."""
        chance, weather = self._chance, self.weather
        shortest, longest = _LAN_S if source.region == target.region else _WAN_S
        delay = shortest + (longest - shortest) * chance.random()
        if chance.random() < weather.lateness:
            self.note(phase, "lateness")
            delay *= chance.uniform(5, 50)
        lost = chance.random() < weather.loss

        self._legs[phase] += 1

        def there() -> None:
            self._legs[phase] -= 1
            if lost:
                self.note(phase, "loss")
            elif self.is_cut(source, target):
                self.note(phase, "cut")
            else:
                arrive()

        self._loop.call_later(delay, there)


def _settle(told: "asyncio.Future[T]", error: BaseException | None, result: T | None) -> None:
    if told.done():
        return
    if error is not None:
        told.set_exception(error)
    else:
        told.set_result(result)  # type: ignore[arg-type]  # None only where T is


def _give_up(told: "asyncio.Future[T]", why: str) -> None:
    if not told.done():
        told.set_exception(Silent(why))


def _seen(future: "asyncio.Future[T]") -> None:
    if not future.cancelled():
        future.exception()
