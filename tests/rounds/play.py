"""Rounds against a running platform (stage ``regions``): load, faults by seed, heal, and proof by request id.

    PYTHONPATH=tests python -m rounds.play --rounds 100 --seed 1000 --report docs/reports     (make soak-rounds)
    PYTHONPATH=tests python -m rounds.play --rounds 1 --seed 1017                             one round again

After every round, within a minute: each acknowledged write is in the op logs of both regions as it was asked for, logs
are dense and equal, slots have equal digests, a key was one session, and the spoke of each region had one effect of
every event. The long stop: a cell is stopped for 90 s (SIGSTOP) and another process takes its store over; when it wakes
up it still believes that it owns its slots.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import platform as machine
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import msgspec

from cell.kit import asset, title
from e2e.platform import EISBACH, alive, running
from eisbach.deploy.laptop.studio import Studio
from eisbach.kernel.errors import Retryable

from .deck import Deck
from .evidence import SPOKE, Logs, behind, breaches
from .faults import LAST_S, REGIONS, Fault, plan, strike
from .viewers import Ack, Book, Viewer

CONVERGED_WITHIN_S = 60
LONG_STOP_S = 90
STOPPED = "cell/eu-central/c3"
HELD_GROUP = "eu/at/main"
"""Served by the stopped cell alone: the other rounds break the cells of ``eu/de/main`` meanwhile, and this group is
looked at in the end."""
_RUN = "import sys; from pathlib import Path; from eisbach.bootstrap.kinds import run_process; sys.exit(run_process('cell', Path(sys.argv[1])))"


@dataclass(slots=True)
class Round:
    """What came of one round."""

    seed: int
    faults: list[Fault]
    acks: int = 0
    converged_s: float = 0.0
    breaches: list[str] = field(default_factory=list)


class Game:
    """A platform, its load and its evidence."""

    def __init__(self, data: Path, deck: Deck, viewers: list[Viewer], book: Book, network: str) -> None:
        self.data, self.deck, self.viewers, self.book, self.network = data, deck, viewers, book, network
        self.logs = Logs(data)
        self.stopped: frozenset[str] = frozenset()
        """What the long stop has in hand: not waited for, not broken."""

    async def round(self, seed: int) -> Round:
        """Load and faults, then heal, then look."""
        faults = self._spared(plan(seed))
        done = Round(seed, faults)
        before = len(self.book.acks)
        began = asyncio.get_running_loop().time()
        self._hold(False)
        async with asyncio.TaskGroup() as striking:
            for fault in faults:
                striking.create_task(strike(self.deck, fault, began=began))
        await asyncio.sleep(max(0.0, began + LAST_S - asyncio.get_running_loop().time()))
        self._hold(True)
        await self._quiet()
        try:
            await self.deck.until_ready(but=self.stopped)
            await self.deck.settle_ownership(REGIONS)
        except (AssertionError, TimeoutError) as error:
            done.breaches = [f"not well again: {error!r}"]
            return done
        healed = time.monotonic()
        acks = [a for a in self.book.acks[before:] if not (self.stopped and a.slot.startswith(HELD_GROUP))]
        done.acks = len(acks)
        missing = await self.converged(acks)
        done.converged_s = time.monotonic() - healed
        if missing:
            done.breaches = [f"not within {CONVERGED_WITHIN_S} s: {what}" for what in missing[:10]]
        else:
            done.breaches = breaches(self.logs, self.book, acks)[:10]
        return done

    def _spared(self, faults: list[Fault]) -> list[Fault]:
        """While a cell is stopped for long, what would end the stop hits the same part of the other region."""
        if not self.stopped:
            return faults
        here, there = STOPPED.split("/")[1], next(r for r in REGIONS if r != STOPPED.split("/")[1])
        hit = (STOPPED, f"region/{here}")
        return [replace(f, target=f.target.replace(here, there)) if f.target in hit else f for f in faults]

    def _hold(self, wait: bool) -> None:
        for viewer in self.viewers:
            (viewer.hold.clear if wait else viewer.hold.set)()

    async def _quiet(self) -> None:
        """Until every call that was on its way is answered."""
        for viewer in self.viewers:
            async with viewer.busy:
                pass

    async def converged(self, acks: list[Ack]) -> list[str]:
        """What is still missing at the deadline; while a cell is stopped, its group is not looked at."""
        until = time.monotonic() + CONVERGED_WITHIN_S
        while missing := [m for m in behind(self.logs, acks) if not (self.stopped and HELD_GROUP in m)]:
            if time.monotonic() > until:
                break
            if os.environ.get("ROUNDS_TALK"):
                print(f"{until - time.monotonic():.0f} s left, {len(missing)} missing: {missing[:2]}", flush=True)
            await asyncio.sleep(0.3)
        return missing

    async def long_stop(self, seconds: float = LONG_STOP_S) -> list[str]:
        """SIGSTOP of a cell; another process takes its store over; then it wakes up."""
        pid, url = await self.deck.pid(STOPPED), await self.deck.url(STOPPED)
        assert pid is not None, f"{STOPPED} has no process"
        while True:
            os.killpg(pid, signal.SIGSTOP)
            stopped_at = time.monotonic()
            second = self._second()
            if await _ready(f"http://{self.network}.1:8193", second):
                break
            os.killpg(pid, signal.SIGCONT)  # it was stopped inside a commit and holds the file's lock: once more
            await asyncio.sleep(0.5)
        found: list[str] = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            writer = Viewer(9_001, [f"http://{self.network}.1:8193"], session, self.book, market="at")
            await writer.sign_in()
            while time.monotonic() - stopped_at < seconds:
                await writer._write(read_back=True)
                await asyncio.sleep(0.1)
            try:
                os.killpg(pid, signal.SIGCONT)
            except ProcessLookupError:
                found.append(f"{STOPPED} was no longer there after {seconds} s of being stopped")
            statuses = await writer.write_to_one_process(url, lambda: alive(pid), seconds=30)
            if alive(pid):
                found.append(f"{STOPPED} was taken over while it was stopped, and has not ended 30 s after it woke up")
            if 204 in statuses:
                found.append(f"{STOPPED} acknowledged after its store was taken over: {statuses}")
        try:  # the supervisor has started it anew by now: the file is its own again, and the other one ends
            await asyncio.to_thread(second.wait, 30)
        except subprocess.TimeoutExpired:
            found.append("the process that was replaced in its turn has not ended")
            second.kill()
        self.stopped = frozenset()
        return found

    def _second(self) -> "subprocess.Popen[bytes]":
        """The same cell on the same files under another port, as an orchestrator starts it that believes it dead."""
        document = msgspec.json.decode((self.data / "processes" / f"{STOPPED.replace('/', '-')}.json").read_bytes())
        path = self.data / "processes" / "second.json"
        path.write_bytes(msgspec.json.encode({**document, "port": 8193}))
        path.chmod(0o600)
        return subprocess.Popen(
            [sys.executable, "-c", _RUN, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


async def _ready(url: str, process: "subprocess.Popen[bytes]") -> bool:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
        for _ in range(200):
            if process.poll() is not None:
                return False
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return True
            await asyncio.sleep(0.1)
    process.kill()
    return False


@contextlib.asynccontextmanager
async def game(data: Path, network: str) -> AsyncIterator[Game]:
    """On a platform that is ready; the load stands still until a round."""
    book = Book()
    async with Deck(data, network) as deck, aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:
        await _publish(data, deck)
        edges = [f"http://{network}.{n}:8080" for n in (1, 2)]
        front = [f"http://{network}.1:8000"]
        viewers = [
            Viewer(n, front if n % 3 == 0 else edges[:: 1 if n % 2 else -1], session, book, market="at" if n % 4 == 3 else "de")
            for n in range(12)
        ]  # fmt: skip
        for viewer in viewers:
            await viewer.sign_in()
        tasks = [asyncio.create_task(viewer.act_for_ever()) for viewer in viewers]

        async def end() -> None:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended

        stack.push_async_callback(end)
        yield Game(data, deck, viewers, book, network)


async def _publish(data: Path, deck: Deck) -> None:
    """A title without files, so that sessions can be started under a key."""
    listing = b"[]"
    for region in REGIONS:
        folder = data / "regions" / region / "blobs" / "media" / "vod" / "rounds-a"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "files.json").write_bytes(listing)
    packaged = msgspec.structs.replace(asset("rounds"), files_sha256=hashlib.sha256(listing).hexdigest())
    async with Studio(await deck.url("cell/eu-central/studio"), token=deck.token) as studio:
        draft = {**msgspec.to_builtins(title("rounds")), "state": "draft"}
        for call in (
            ("POST", f"/studio/assets/{packaged.id}/ready", packaged),
            ("PUT", "/studio/titles/rounds", draft),
            ("POST", "/studio/titles/rounds/publish", {}),
        ):
            async with asyncio.timeout(30):
                while True:  # a busy machine: 503, nothing was written
                    with contextlib.suppress(Retryable):
                        await studio.call(*call)
                        break
                    await asyncio.sleep(0.2)


def command(seed: int) -> str:
    """Repeats a round."""
    return f"PYTHONPATH=tests .venv/bin/python -m rounds.play --rounds 1 --seed {seed}"


def report(rounds: list[Round], game: Game, *, began: dt.datetime, load: str) -> str:
    """The dated report."""
    kinds: dict[str, int] = {}
    for one in rounds:
        for fault in one.faults:
            kinds[fault.kind] = kinds.get(fault.kind, 0) + 1
    ops = {region: len(found) for region, found in game.logs.ops.items()}
    slowest = sorted(one.converged_s for one in rounds)
    lines = [
        f"# Rounds with real processes, {began:%d %B %Y}",
        "",
        (
            f"`make soak-rounds`, begun {began:%H:%M} UTC, {len(rounds)} rounds on one platform (stage `regions`),"
            f" Python {machine.python_version()}, {os.cpu_count()} cores, load average {load} (shared with other work)."
            " `tests/rounds/play.py` says what is checked."
        ),
        "",
        f"- rounds with a breach: {sum(bool(one.breaches) for one in rounds)}",
        f"- writes acknowledged: {len(game.book.acks)}; ops in the logs: {ops}; reads with a position: {game.book.reads}",
        f"- faults: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}",
        f"- operators: {dict(sorted(game.deck.operated.items()))}",
        f"- equal and handled after the heal: median {slowest[len(slowest) // 2]:.1f} s, longest {slowest[-1]:.1f} s",
        f"- answers that were no success: {dict(sorted(game.book.refused.items()))}",
        "",
        "| seed | acknowledged | equal after s | faults | breaches |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.seed} | {one.acks} | {one.converged_s:.1f} | {'; '.join(map(str, one.faults))} |"
        f" {'; '.join(one.breaches)[:300] or 'none'} |"
        for one in rounds
    ]
    return "\n".join(lines) + "\n"


Tell = Callable[[str, list[Round]], None]


async def play(
    game: Game, seeds: list[int], tell: Tell = lambda text, _: print(text), *, long_stop: bool
) -> list[Round]:
    """The rounds. The long stop goes on beside them; a region is evacuated only when it is over, or it would wait."""
    if long_stop:
        game.stopped = frozenset([STOPPED])  # before the first round is planned: its faults spare the cell
    stopping = asyncio.create_task(game.long_stop()) if long_stop else None
    rounds: list[Round] = []
    later = [seed for seed in seeds if stopping and any(fault.kind == "evacuate" for fault in plan(seed))]

    async def one_by_one(chosen: list[int]) -> None:
        for seed in chosen:
            one = await game.round(seed)
            rounds.append(one)
            text = f"seed {seed}: {one.acks} acknowledged, equal after {one.converged_s:.1f} s; "
            text += "; ".join(map(str, one.faults))
            if one.breaches:
                text = "\n".join([text, "BREACH", *one.breaches, f"again: {command(seed)}"])
            tell(text, rounds)

    await one_by_one([seed for seed in seeds if seed not in later])
    if stopping is not None:
        last = Round(0, [Fault("stop", STOPPED, 0, LONG_STOP_S)])
        last.breaches = await stopping
        await game.deck.until_ready()
        missing = await game.converged(game.book.acks)
        last.breaches += [f"after the long stop: {what}" for what in missing[:10]]
        last.breaches += [] if missing else breaches(game.logs, game.book, game.book.acks)[:10]
        last.acks = len(game.book.acks)
        rounds.append(last)
        tell(f"the long stop: {last.breaches or 'fenced, nothing lost'}", rounds)
        await one_by_one(later)
    return rounds


def prepare(data: Path) -> None:
    """The spoke that counts effects."""
    (data / "spokes").mkdir(parents=True, exist_ok=True)
    (data / "spokes" / "rounds.py").write_text(SPOKE)


def main() -> int:
    """Play rounds; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1000, help="of the first round")
    parser.add_argument("--data", type=Path, default=Path("/tmp/eisbach-rounds"))
    parser.add_argument("--network", default="127.0.61")
    parser.add_argument("--report", type=Path, help="folder of the dated report")
    parser.add_argument("--no-long-stop", action="store_true")
    asked = parser.parse_args()
    if asked.data.exists():
        parser.error(f"{asked.data} exists; name a folder that does not")
    prepare(asked.data)
    began = dt.datetime.now(dt.UTC)
    with running(asked.data, stage="regions", network=asked.network, arguments=("--no-demo",)):
        rounds = asyncio.run(_play(asked, began))
    return int(any(one.breaches for one in rounds))


async def _play(asked: argparse.Namespace, began: dt.datetime) -> list[Round]:
    async with game(asked.data, asked.network) as played:

        def tell(text: str, rounds: list[Round]) -> None:
            """After every round, so that a soak that is ended early has its report."""
            print(text, flush=True)
            if asked.report:
                asked.report.mkdir(parents=True, exist_ok=True)
                load = " ".join(f"{n:.1f}" for n in os.getloadavg())
                told = report(rounds, played, began=began, load=load)
                (asked.report / f"rounds-{began:%Y-%m-%d-%H%M}.md").write_text(told)

        seeds = list(range(asked.seed, asked.seed + asked.rounds))
        return await play(played, seeds, tell, long_stop=not asked.no_long_stop)


if __name__ == "__main__":
    assert EISBACH.exists(), f"no {EISBACH}: make .venv/dev first"
    sys.exit(main())
