"""Who carries out a plan's strikes and weather, and ends them all at once. May not know: how plans are drawn."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from eisbach.testing.world.disks import Files
from eisbach.testing.world.faults import Plan, copied_s
from eisbach.testing.world.genesis import REGIONS
from eisbach.testing.world.network import Network
from eisbach.testing.world.nodes import CATCHING_UP
from eisbach.testing.world.pairs import OLDER_COPY, PAIRS
from eisbach.testing.world.process import Process
from eisbach.testing.world.strikes import Pair, Strike

__all__ = ["Nemesis"]


class Nemesis:
    """Carries out a plan."""

    def __init__(
        self,
        plan: Plan,
        processes: Mapping[str, Process],
        network: Network,
        record: Callable[[str], None],
        put_back: Callable[[Process, Files], None] = lambda _process, _before: None,
    ) -> None:
        """``put_back``: a process's files are an older copy now; told with what they were."""
        self._put_back, self._copies = put_back, dict[int, Files]()
        self._plan, self._processes, self._network, self._record = plan, processes, network, record
        self._armed: dict[tuple[str, str], list[Strike]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.covered: set[Pair] = set()
        self.hits = 0
        for process in processes.values():
            process.on_phase = self._phase
            process.on_death = lambda process, why: record(f"{process.name} dies: {why}")

    def begin(self) -> None:
        """From now on."""
        for name, share in self._plan.weather.items():
            if name in ("loss", "doubling", "lateness"):
                setattr(self._network.weather, name, share)
        for strike in self._plan.strikes:
            self._tasks.append(asyncio.create_task(self._arm(strike)))

    def calm(self) -> None:
        """The last fault is over: links are whole, clocks true, processes up, disks roomy."""
        for task in self._tasks:
            task.cancel()
        self._armed.clear()
        weather = self._network.weather
        weather.loss = weather.doubling = weather.lateness = 0.0
        weather.cut.clear()
        for process in self._processes.values():
            process.clock.heal()
            process.go_on()
            if process.life.alive:
                self._repair(process)
                process.life.volume.fuse = None
            process.start()
        self._record("calm: every fault is over")

    def hurt(self, phase: str, fault: str) -> None:
        """A message was hurt."""
        if (phase, fault) in PAIRS:
            self.covered.add((phase, fault))
        self._record(f"message {phase}: {fault}")

    async def _arm(self, strike: Strike) -> None:
        await asyncio.sleep(strike.at_s)
        process = self._processes[strike.target]
        if strike.kind == OLDER_COPY:
            self._copies[strike.number] = process.files_now()
            await asyncio.sleep(copied_s(strike))  # in which something is written that it has not
        if strike.phase == "opening" and process.life.alive:
            process.die(power=False, why=f"so that {strike} can wait for it to open")
            self._later(0.2, process.start)
        if strike.phase == CATCHING_UP and process.life.alive:
            process.die(power=False, why=f"so that {strike} finds it catching up")
            self._later(1.2, process.start)
        if strike.phase == "holding":
            self._tasks.append(asyncio.create_task(self._bring_future(strike, process)))
        if strike.phase in process.phases:
            self._strike(strike)
        else:
            self._armed.setdefault((process.name, strike.phase), []).append(strike)

    async def _bring_future(self, strike: Strike, process: Process) -> None:
        """The twin opens with a clock that is ahead, writes while nobody can tell it so, and is heard again."""
        other = next(r for r in REGIONS if r != process.region)
        twin = self._processes[f"{other}/{strike.target.rpartition('/')[2]}"]
        self._part(replace(strike, seconds=0.8), {(process.region, other), (other, process.region)})
        twin.clock.offset_ms += 1500 + 300 * strike.amount
        if twin.life.alive:
            twin.die(power=False, why=f"so that {strike} finds ops from its future")
        await asyncio.sleep(0.1)
        twin.start()
        while not await process.holds():  # noqa: ASYNC110 - the production code tells nobody, and need not
            await asyncio.sleep(0.02)
        with process.within("holding"):
            await asyncio.sleep(0.1)

    def _phase(self, process: Process, phase: str) -> None:
        for strike in self._armed.pop((process.name, phase), ()):
            # A little later, while the phase lasts: its middle and its end are to be hit, too; and sometimes what it
            # leads to, a few pieces of work further on.
            delay_s = 0.0004 * (strike.amount % 4) if strike.amount < 8 else 0.0015 * (strike.amount - 7)
            self._later(delay_s, lambda strike=strike: self._strike(strike))  # type: ignore[misc]

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            act()

        self._tasks.append(asyncio.create_task(wait()))

    def _strike(self, strike: Strike) -> None:
        process = self._processes[strike.target]
        if not process.life.alive:
            return
        if strike.phase in process.phases:
            self.covered.add((strike.phase, strike.kind))
            self.hits += 1
        self._record(f"strike {strike}; it is in {'+'.join(sorted(process.phases)) or 'nothing'}")
        getattr(self, "_" + strike.kind.replace("-", "_"))(strike, process)

    def _kill(self, strike: Strike, process: Process) -> None:
        process.die(power=False, why=f"kill -9 by #{strike.number}")
        self._later(strike.seconds, process.start)

    def _power(self, strike: Strike, process: Process) -> None:
        life = process.life

        def cut() -> None:
            if process.life is life:
                process.die(power=True, why=f"power cut by #{strike.number}")

        if strike.phase.startswith("disk.") or strike.phase == "opening":
            life.volume.fuse = strike.amount
            self._later(0.5, cut)
        else:
            cut()
        self._later(0.6 + strike.seconds, process.start)

    def _older_copy(self, strike: Strike, process: Process) -> None:
        """The machine is put back from the copy that was made before the strike began to wait."""
        before = process.files_now()
        process.die(power=True, why=f"its disk is put back from an older copy by #{strike.number}")
        process.files = self._copies[strike.number]
        self._put_back(process, before)
        # Nothing that it had sent is on its way any more (a late message takes two seconds).
        self._later(2.1 + strike.seconds, process.start)

    def _lost_store(self, strike: Strike, process: Process) -> None:
        """What it had sent may still be on its way when it begins anew."""
        process.die(power=False, why=f"its disk is lost by #{strike.number}")
        process.files = {}
        self._later(strike.seconds, process.start)

    def _wiped(self, strike: Strike, process: Process) -> None:
        """The event log is gone for good; what the spokes keep is on another disk (P16)."""
        process.die(power=False, why=f"its log is wiped by #{strike.number}")
        process.files = {name: content for name, content in process.files.items() if not name.startswith("hub.db")}
        self._later(strike.seconds, process.start)

    def _pause(self, strike: Strike, process: Process) -> None:
        process.pause()
        self._later(strike.seconds, process.go_on)

    def _full(self, strike: Strike, process: Process) -> None:
        process.life.volume.full = True
        self._later(strike.seconds, lambda: self._repair(process))

    def _failed_sync(self, strike: Strike, process: Process) -> None:
        life = process.life
        life.volume.failing_syncs = 1 if strike.amount < 8 else 1 + strike.amount % 3
        life.volume.failing_name, life.volume.failing_after = "", 0
        if strike.phase == CATCHING_UP:
            life.volume.failing_name, life.volume.failing_after = "spokes", strike.amount % 3
        if (
            strike.amount % 2
        ):  # what a failed sync leaves behind shows only to a life that begins before the next commit
            power = strike.amount % 4 == 3

            def die() -> None:
                if process.life is life and life.volume.refused:
                    process.die(power=power, why=f"dies after the failed sync of #{strike.number}")
                    self._later(strike.seconds, process.start)

            life.volume.on_failed_sync = lambda: self._later(0.0015 + 0.0005 * strike.amount, die)

    def _repair(self, process: Process) -> None:
        process.life.volume.full = False
        process.life.volume.failing_syncs = 0

    def _jump_ahead(self, strike: Strike, process: Process) -> None:
        process.clock.offset_ms += 50 * 2**strike.amount % 20_000

    def _jump_back(self, strike: Strike, process: Process) -> None:
        process.clock.offset_ms -= 50 * 2**strike.amount % 20_000
        if strike.amount % 2:  # clocks are wrong after a reboot more often than at any other time
            self._later(0.1, lambda: self._kill(strike, process))

    def _drift(self, strike: Strike, process: Process) -> None:
        process.clock.drift(1 + (strike.amount - 6) / 60)
        self._later(strike.seconds, lambda: process.clock.drift(1.0))

    def _freeze(self, strike: Strike, process: Process) -> None:
        process.clock.freeze(frozen=True)
        self._later(strike.seconds, lambda: process.clock.freeze(frozen=False))

    def _cut(self, strike: Strike, process: Process) -> None:
        other = next(r for r in REGIONS if r != process.region)
        self._part(strike, {(process.region, other), (other, process.region)})

    def _cut_one_way(self, strike: Strike, process: Process) -> None:
        other = next(r for r in REGIONS if r != process.region)
        pair = (process.region, other)
        self._part(strike, {pair if strike.amount % 2 else pair[::-1]})

    def _cut_off(self, strike: Strike, process: Process) -> None:
        """From its own region: two ways, or only what it says, or only what it hears."""
        out, back = (process.name, process.region), (process.region, process.name)
        self._part(strike, ({out, back}, {out}, {back})[strike.amount % 3])

    def _part(self, strike: Strike, pairs: set[Pair]) -> None:
        self._network.weather.cut |= pairs

        def join() -> None:
            self._network.weather.cut -= pairs

        self._later(strike.seconds, join)
