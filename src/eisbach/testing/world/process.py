"""A simulated process: it lives, dies and lives again on the same disk, and may be stopped and go on.

Promises: when it dies, nothing of it happens any more: its disk is off, its calls are cut, its tasks end. The next
life finds what the disk kept. May not know: what the process does (``nodes``).
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from eisbach.testing.world.clocks import MachineClock
from eisbach.testing.world.disks import VFS_NAME, Files, Volume, Volumes

__all__ = ["Executor", "Life", "Process", "ProcessClock"]

T = TypeVar("T")
_WORK_MIN_S, _WORK_MORE_S = 0.0003, 0.0037


class Life:
    """From a start to a death."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.alive = True
        self.tasks: set[asyncio.Task[Any]] = set()
        self.main: asyncio.Task[None] | None = None


class ProcessClock(MachineClock):
    """A machine's clock whose sleepers do not wake while the process is stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, awake: Callable[[], Awaitable[None]]) -> None:
        super().__init__(loop)
        self._awake = awake

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        await super().sleep(seconds)
        await self._awake()


class Executor:
    """``engines.embedded.disk.Disk`` in virtual time: one piece of work at a time, in order, each takes a while."""

    def __init__(self, process: "Process", name: str) -> None:
        self._process, self._life, self._phase = process, process.life, f"disk.{name}"
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._busy = False

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run it; cancelling the wait does not cancel the work."""
        if not self._life.alive:
            return work()  # closing connections of a life that is over; its disk is off
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((work, done))
        if not self._busy:
            self._next()
        return await done

    def close(self) -> None:
        """Nothing to end."""

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if not self._busy:
            return
        if self._life.alive:
            self._process.enter(self._phase)
        self._loop.call_later(_WORK_MIN_S + _WORK_MORE_S * self._process.chance.random(), self._run)

    def _run(self) -> None:
        process, life = self._process, self._life
        if life.alive and process.stopped:
            self._loop.call_later(0.05, self._run)
            return
        work, done = self._waiting.popleft()
        try:
            result, error = work(), None
        except Exception as found:  # noqa: BLE001 - whoever waits is told, whatever it is
            result, error = None, found
        # What was done is known a little later: between the two, a process may die.
        self._loop.call_later(_WORK_MIN_S + _WORK_MORE_S * process.chance.random(), self._tell, done, result, error)

    def _tell(self, done: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
        if self._life.alive:
            self._process.leave(self._phase)
        if not done.done():
            if error is not None:
                done.set_exception(error)
                done.exception()  # whoever waited may be gone, as with a thread's future
            else:
                done.set_result(result)
        self._next()


class Process:
    """See ``network.Endpoint``."""

    def __init__(self, name: str, region: str, volumes: Volumes, *, seed: str, files: Mapping[str, bytes]) -> None:
        self.name, self.region = name, region
        self._volumes, self._seed, self.files = volumes, seed, dict(files)
        self.lives = 0
        self.boots = 0
        """Times that its machine was started anew."""
        self.barred = False
        """Whether it cannot be started: its region is gone, or it is."""
        self.gone = False
        """Whether it was taken away for good."""
        self.life = Life.__new__(Life)
        self.life.alive = False
        self.listening = False
        self.opened = asyncio.Event()
        """Set since it first listened."""
        self._failures = 0
        self._going = asyncio.Event()
        self._going.set()
        self.clock = ProcessClock(asyncio.get_running_loop(), self.awake)
        self.chance = random.Random(f"{seed}:{name}")  # noqa: S311 - must be repeatable
        self.phases: Counter[str] = Counter()
        self.on_phase: Callable[[Process, str], None] = lambda _process, _phase: None
        self.on_death: Callable[[Process, str], None] = lambda _process, _why: None
        self.vfs = VFS_NAME

    @property
    def up(self) -> bool:
        """Whether somebody listens."""
        return self.life.alive and self.listening

    async def live(self) -> None:
        """What the process does; overridden. It calls ``ready`` when it listens."""
        raise NotImplementedError

    def ready(self) -> None:
        """It listens now."""
        self.listening, self._failures = True, 0
        self.opened.set()
        self.leave("opening")

    def start(self) -> None:
        """Begin a life on the disk as it is."""
        if self.life.alive or self.barred:
            return
        self.lives += 1
        self.chance = random.Random(f"{self._seed}:{self.name}:{self.lives}")  # noqa: S311 - must be repeatable
        self.phases.clear()
        volume = self._volumes.make({n: c for n, c in self.files.items() if not n.endswith("-shm")})
        life = self.life = Life(volume)
        loop = asyncio.get_running_loop()

        def cut() -> None:
            loop.call_soon(self._power_went, life)

        volume.on_power_cut = cut
        self.enter("opening")
        life.main = asyncio.create_task(self._main(life), name=self.name)

    async def _main(self, life: Life) -> None:
        try:
            await self.live()
        except Exception as error:  # noqa: BLE001 - whatever ends a process, its supervisor starts it anew
            if life is self.life and life.alive:
                self._failures += 1
                self.on_death(self, f"ends by itself: {type(error).__name__}: {error}"[:300])
                asyncio.get_running_loop().call_soon(self._exited, life)
        else:
            raise AssertionError(f"{self.name} ended without a reason")

    def _exited(self, life: Life) -> None:
        if life is self.life and life.alive:
            self.die(power=False, why="exit")
            asyncio.get_running_loop().call_later(min(2.0, 0.1 * 2**self._failures), self.start)

    def _power_went(self, life: Life) -> None:
        if life is self.life and life.alive:
            self.die(power=True, why="power cut in a durable step")

    def die(self, *, power: bool, why: str) -> None:
        """End this life at once: ``power`` loses what was not synced, else it was a mere kill -9."""
        life = self.life
        if not life.alive:
            return
        self.on_death(self, why)
        self.boots += power
        life.alive = self.listening = False
        life.volume.dead = True
        self.files = life.volume.survivors(self.chance, power=power)
        self.phases.clear()
        self._going.set()
        for task in [life.main, *life.tasks]:
            if task is not None:
                task.cancel()
        asyncio.create_task(self._bury(life), name=f"bury-{self.name}")  # noqa: RUF006 - ends by itself

    def files_now(self) -> Files:
        """What a copy of the disk would have."""
        return self.life.volume.survivors(self.chance, power=False) if self.life.alive else self.files

    async def stop(self) -> Files:
        """End in good order; what is on the disk then."""
        life = self.life
        if not life.alive:
            return self.files
        assert life.main is not None
        self.listening = False
        life.main.cancel()
        await asyncio.gather(life.main, return_exceptions=True)
        self.files = life.volume.survivors(self.chance, power=False)
        life.alive, life.volume.dead = False, True
        self._volumes.drop(life.volume)
        return self.files

    async def _bury(self, life: Life) -> None:
        await asyncio.gather(*[t for t in (life.main, *life.tasks) if t is not None], return_exceptions=True)
        self._volumes.drop(life.volume)

    def pause(self) -> None:
        """SIGSTOP."""
        self._going.clear()

    @property
    def stopped(self) -> bool:
        """Between SIGSTOP and SIGCONT."""
        return not self._going.is_set()

    def go_on(self) -> None:
        """SIGCONT."""
        self._going.set()

    async def awake(self) -> None:
        """Return when the process is not stopped."""
        if not self._going.is_set():
            await self._going.wait()

    def spawn(self, work: Awaitable[T]) -> "asyncio.Task[T]":
        """Run in this process's name; ends with its life."""
        life = self.life
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        life.tasks.add(task)

        def done(task: "asyncio.Task[T]") -> None:
            life.tasks.discard(task)
            if not task.cancelled():
                task.exception()

        task.add_done_callback(done)
        return task

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """In ``phase`` for as long as this life lasts and the block runs."""
        life = self.life
        self.enter(phase)
        try:
            yield
        finally:
            if life.alive:
                self.leave(phase)

    def linger(self, phase: str, seconds: float) -> None:
        """In ``phase`` for so long, if this life lasts."""
        life = self.life
        if not life.alive:
            return
        self.enter(phase)
        asyncio.get_running_loop().call_later(seconds, lambda: self.leave(phase) if life.alive else None)

    async def holds(self) -> bool:
        """Whether it has something in its log that waits for its time."""
        return False

    def enter(self, phase: str) -> None:
        """It is now in ``phase``; told to whoever waits for that."""
        self.phases[phase] += 1
        self.on_phase(self, phase)

    def leave(self, phase: str) -> None:
        """And no more."""
        if self.phases[phase] > 1:
            self.phases[phase] -= 1
        else:
            del self.phases[phase]
