"""One process under the supervisor: start, readiness, restart with growing delay, and the ways to break it.

States: waiting -> starting -> ready <-> unready; restarting after an exit; down, error, truncate, hung and slow while
broken on purpose; stopped at the end. A fault holds until ``heal``.
Promises: at most one instance at a time; nothing of the old instance's session is left when the next one starts.
"""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from eisbach.deploy.laptop.ceremony import write_private
from eisbach.deploy.laptop.children import Children
from eisbach.deploy.laptop.fault_server import FaultServer
from eisbach.deploy.laptop.probe import DOOR_CLOSED, probe
from eisbach.deploy.laptop.topology import ProcessSpec
from eisbach.deploy.laptop.words import bounded
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.ports.clock import Clock

__all__ = ["FAULT_STATES", "Change", "Supervised"]

FIRST_DELAY = timedelta(milliseconds=100)
DELAY_MAX = timedelta(seconds=10)
STABLE_AFTER = timedelta(seconds=10)
WATCH_EVERY = timedelta(seconds=2)
SLOW_RUN, SLOW_STOP = timedelta(milliseconds=40), timedelta(milliseconds=160)
"""Duty cycle of ``slow``: a fifth of the CPU, and up to 160 ms of pause in every answer."""
_MISSES_MAX = 3
CLOSED_MAX = 15
"""Looks in a row, two seconds apart, at a closed door of a process that lives: what it waits for has three."""
_TERM_GRACE_S = 5.0
_ROOM_BYTES = 16 * 1024 * 1024
"""Free on the disk of a process that is stuck, before it is started anew."""

FAULT_STATES = {"down": "down", "hang": "hung", "slow": "slow", "error": "error", "truncate": "truncate"}
_REPLACED = ("down", "error", "truncate")
"""Faults for which the process itself is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A state change, as ``eisbach changes`` shows it."""

    at_ms: int
    target: str
    before: str
    after: str
    why: str


class Supervised:
    """One process of the platform."""

    def __init__(
        self, spec: ProcessSpec, *, children: Children, clock: Clock, logs: Path, on_change: Callable[[Change], None]
    ) -> None:
        """``logs``: folder that gets the process's log."""
        self.spec = spec
        self.state = "waiting"
        self.why = ""
        self.since_ms = clock.wall_ms()
        self.pid: int | None = None
        self.restarts = 0
        self.fault = ""
        self.log = logs / f"{spec.target.replace('/', '-')}.log"
        self.document: Path | None = None
        """The process document's file, written before each start."""
        self.was_ready = asyncio.Event()
        self.held = asyncio.Event()
        """Set when the fault is in effect."""
        self._children, self._clock, self._on_change = children, clock, on_change
        self._changed = asyncio.Event()
        self._delay = FIRST_DELAY
        self._blame = ""
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self, after: list["Supervised"]) -> None:
        """Begin to keep it running, first when everything in ``after`` has been ready once."""
        self._task = asyncio.create_task(self._keep(after), name=self.spec.target)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after five seconds; returns when the process is gone."""
        self._stopping = True
        self.fault = ""
        self._wake()
        if self.pid is not None:
            pid = self.pid
            self._children.signal(pid, signal.SIGTERM)
            self._children.signal(pid, signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TERM_GRACE_S):
                    await self._children.exited(pid)
            self._children.signal(pid, signal.SIGKILL)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._become("stopped", "")

    def kill(self, why: str) -> None:
        """Crash it: SIGKILL to the whole session; it is restarted."""
        if self.pid is not None:
            self._blame = why
            self._children.signal(self.pid, signal.SIGKILL)

    def hold(self, fault: str) -> None:
        """Break it until ``heal``; another fault replaces the one before.

        Raises:
            Invalid: ``error`` and ``truncate`` need an address that speaks HTTP to viewers.
        """
        if fault in ("error", "truncate") and not self.spec.public:
            raise Invalid(f"{fault} is for edges and origins, not for {self.spec.target}; use down, hang or slow")
        if self.pid is not None:
            self._children.signal(self.pid, signal.SIGCONT)
        self.fault = fault
        if self.state != FAULT_STATES[fault]:
            self.held.clear()
        self._wake()
        if fault in _REPLACED and self.pid is not None:
            self._children.signal(self.pid, signal.SIGKILL)

    def heal(self) -> None:
        """End the fault; a stopped process starts again at once."""
        self.fault = ""
        self._delay = FIRST_DELAY
        if self.pid is not None:
            self._children.signal(self.pid, signal.SIGCONT)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _become(self, state: str, why: str) -> None:
        if self.fault and state == FAULT_STATES[self.fault]:
            self.held.set()
        if state == self.state:
            return
        before, self.state, self.why = self.state, state, why
        self.since_ms = self._clock.wall_ms()
        if state == "ready":
            self.was_ready.set()
        self._on_change(Change(at_ms=self.since_ms, target=self.spec.target, before=before, after=state, why=why))

    async def _keep(self, after: list["Supervised"]) -> None:
        for other in after:
            await other.was_ready.wait()
        while not self._stopping:
            if self.fault in _REPLACED:
                await self._stand_in()
                continue
            why = await self._live()
            self.pid = None
            if self._stopping or self.fault in _REPLACED:
                continue
            self.restarts += 1
            why, self._blame = self._blame or why, ""
            self._become("restarting", f"{why}; again in {self._delay.total_seconds():g} s")
            await self._wait(self._delay.total_seconds())
            self._delay = min(self._delay * 2, DELAY_MAX)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _live(self) -> str:
        """One life of the process; why it ended."""
        self._become("starting", "")
        try:
            self.pid = await self._children.spawn(self._request())
        except (Unavailable, OSError) as error:
            return str(error)
        if self._stopping or self.fault in _REPLACED:  # told while it was being forked
            self._children.signal(self.pid, signal.SIGKILL)
        watching = asyncio.create_task(self._watch(self.pid))
        try:
            code = await self._children.exited(self.pid)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return describe_exit(code, self.log)

    def _request(self) -> dict[str, Any]:
        spec = self.spec
        Path(spec.folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, content in spec.files:
            _see_to(Path(path), content.encode())
        if self.document is not None:
            _see_to(self.document, msgspec.json.encode(spec.document))
        how = {"run": spec.run, "file": str(self.document)} if spec.run else {"argv": list(spec.argv)}
        return {"name": spec.target, "log": str(self.log), "folder": spec.folder, **how}

    async def _watch(self, pid: int) -> None:
        """Readiness of one life: quickly until it is ready, then every two seconds; faults that pause it."""
        started = self._clock.monotonic_ms()
        pause, misses, closed = 0.02, 0, 0
        while True:
            changed = self._changed  # taken before looking, so that no fault in between is missed
            if self.fault == "hang":
                await self._hang(pid)
            elif self.fault == "slow":
                await self._slow(pid)
            missing = await self._missing()
            closed = closed + 1 if missing is not None and missing.endswith(DOOR_CLOSED) else 0
            if missing is None:
                misses = 0
                took = self._clock.monotonic_ms() - started
                self._become("ready", f"after {took / 1000:.2f} s" if pause < 1 else "answers again")
                pause = WATCH_EVERY.total_seconds()
                if took > STABLE_AFTER / timedelta(milliseconds=1):
                    self._delay = FIRST_DELAY
            else:
                misses += 1
                pause = min(pause * 1.2, WATCH_EVERY.total_seconds())
                if self.state != "starting" and misses >= _MISSES_MAX:
                    self._become("unready", missing)
                    self._end_if_stuck(missing, closed)
                elif self.state == "starting":
                    self.why = missing
            with contextlib.suppress(TimeoutError):
                # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with what it waits for,
                # and the life that this watches would never be seen to end.
                async with asyncio.timeout(pause):
                    await changed.wait()

    async def _missing(self) -> str | None:
        for check in self.spec.ready:
            found = await probe(check, seconds=1.0)
            if found is not None:
                return found
        return None

    def _end_if_stuck(self, missing: str, closed: int) -> None:
        """What answered once and lets nobody in any more is on its way out, and does not get there.

        While its disk is full it goes on with what it can: a new start would do no better.
        """
        if closed >= CLOSED_MAX:
            self.kill(f"it closed its door and did not end: {missing}")
        if self.spec.stuck and self.spec.stuck in missing and shutil.disk_usage(self.spec.folder).free >= _ROOM_BYTES:
            self.kill(f"it would not recover: {missing}")

    async def _hang(self, pid: int) -> None:
        self._children.signal(pid, signal.SIGSTOP)
        self._become("hung", "fault hang")
        while self.fault == "hang":
            await self._changed.wait()
        self._children.signal(pid, signal.SIGCONT)

    async def _slow(self, pid: int) -> None:
        self._become("slow", "fault slow")
        try:
            while self.fault == "slow":
                self._children.signal(pid, signal.SIGSTOP)
                await self._clock.sleep(SLOW_STOP.total_seconds())
                self._children.signal(pid, signal.SIGCONT)
                await self._clock.sleep(SLOW_RUN.total_seconds())
        finally:
            self._children.signal(pid, signal.SIGCONT)

    async def _stand_in(self) -> None:
        """The process is stopped by a fault: nothing, or a broken server, has its addresses until heal."""
        fault = self.fault
        if fault == "down":
            self._become("down", "fault down")
            while self.fault == fault:
                await self._changed.wait()
            return
        server = FaultServer(fault)
        try:
            for _ in range(100):  # the kernel frees the addresses when the last of the session is gone
                try:
                    await server.start(self.spec.listens)
                    break
                except OSError as error:
                    await server.aclose()
                    self.why = str(error)
                    await self._clock.sleep(0.02)
            self._become(fault, f"fault {fault}")
            while self.fault == fault:
                await self._changed.wait()
        finally:
            await server.aclose()


def _see_to(path: Path, content: bytes) -> None:
    """Written when it is not there as it should be: a start needs no room on a full disk."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    write_private(path, content)


def describe_exit(code: int, log: Path) -> str:
    """How it ended, with the last line it said."""
    ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2048))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    told = [line.strip(" |+-") for line in lines]  # an exception group ends in a frame of dashes
    last = next((line for line in reversed(told) if line), "")
    return f"{ended}: {bounded(last, 500)}" if last and code > 0 else ended
