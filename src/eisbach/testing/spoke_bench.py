"""Test a spoke without a broker: publish, run to idle, look at its effects.

async with open_spoke_bench(welcome) as bench:
    await bench.publish(AccountCreated(account="a-1", kind="anonymous", market="de"))
    await bench.run_to_idle()
    assert await bench.state("welcome", "seen") == b"1"

The runner, the inbox, the retry table and the stores are those of production, on files in a temporary folder; only
time is the test's (an hour of retries takes no time) and the studio, which writes down what it is told.
"""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.host import SpokeHost
from eisbach.hub.runner import Surroundings
from eisbach.kernel.event_types import names_of
from eisbach.kernel.events import Event
from eisbach.kernel.ops import op_id
from eisbach.ports.event_log import Envelope
from eisbach.ports.spoke import SpokeSpec
from eisbach.ports.spoke_store import DeadLetter
from eisbach.testing.manual_clock import ManualClock, settle

__all__ = ["SentCommand", "SpokeBench", "open_spoke_bench"]

REGION: Final = "eu-central"
_SLOT: Final = "eu/de/main/7"
_STEPS_MAX: Final = 2000
_STEP_S: Final = 30.0


class SentCommand(NamedTuple):
    """A command that reached the studio."""

    path: str
    body: Any
    key: str
    """The same for every repeat of the same command."""


class SpokeBench:
    """Made by ``open_spoke_bench``."""

    def __init__(self, folder: Path, specs: Sequence[SpokeSpec], *, seed: int) -> None:
        self.clock = ManualClock()
        self.commands: list[SentCommand] = []
        """What the studio was told, in order."""
        self.refuse: Callable[[str], Exception | None] = lambda _: None
        """Path -> what the studio answers instead of doing it."""
        self._log = SqliteEventLog(folder / "hub.db", clock=self.clock)
        self._store = SqliteSpokeStore(folder / "spokes.db")
        around = Surroundings(
            region=REGION, log=self._log, store=self._store, clock=self.clock, rng=random.Random(seed)  # noqa: S311 - jitter
        )  # fmt: skip
        self._host = SpokeHost(specs, around, transport=self)
        self._seq = 0
        self._last: dict[tuple[str, str], int] = {}

    async def publish(
        self, data: msgspec.Struct, *, subject: str = "s-1", market: str | None = "de", origin: str = REGION
    ) -> Event[msgspec.Raw]:
        """Append one event to the hub; the spokes see it at ``run_to_idle``. Another ``origin`` is another region.

        Raises:
            Invalid: the payload's class is no event type.
        """
        name = names_of(type(data))[0]
        self._seq += 1
        chain = (origin, name)
        event = Event(
            id=op_id(_SLOT, origin, 1, self._seq), source=f"//{origin}/test", type=name, subject=subject,
            time="2027-01-15T08:00:00.000Z", slot=_SLOT, origin=origin, epoch=1, seq=self._seq,
            prev=self._last.get(chain, 0), hlc=self._seq << 16, data=msgspec.Raw(msgspec.json.encode(data)),
            market=market,
        )  # fmt: skip
        self._last[chain] = self._seq
        await self.deliver(event)
        return event

    async def deliver(self, event: Event[msgspec.Raw]) -> None:
        """Append an event as it is: a second time, malformed, of another version."""
        source = f"{REGION}/bench"
        last = await self._log.last(source)
        lsn = last.last_lsn + 1
        await self._log.append(
            Envelope(source=source, first_lsn=lsn, last_lsn=lsn, events=[event]), expected=last.sequence
        )

    async def run_to_idle(self) -> None:
        """Let time pass until nothing is in work, held or to be sent.

        Raises:
            AssertionError: it never became idle; what was left is in the message.
        """
        for _ in range(_STEPS_MAX):
            await settle(200)
            if await self._is_idle():
                return
            await self.clock.advance(_STEP_S)
        raise AssertionError(f"not idle after {_STEPS_MAX * _STEP_S / 3600:.0f} hours: {self._host.statistics()}")

    async def state(self, spoke: str, key: str) -> bytes | None:
        """What a spoke has put."""
        return await self._store.get(spoke, key)

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Newest first."""
        return await self._store.dead_letters()

    async def redrive(self, number: int) -> None:
        """Put a dead letter back to work.

        Raises:
            NotFound: no such dead letter.
        """
        await self._host.redrive(number)

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        """The studio's side of a command; called by the host."""
        if (error := self.refuse(path)) is not None:
            raise error
        self.commands.append(SentCommand(path, msgspec.json.decode(body), key))

    async def _is_idle(self) -> bool:
        states, said = await self._log.state(), self._host.statistics()["spokes"]
        waiting = [state.backlog for name, state in states.items() if name in said]
        busy = [spoke["in_work"] + spoke["held"] for spoke in said.values()]
        left = await self._store.commands(limit=1)
        return len(waiting) == len(said) and not any(waiting) and not any(busy) and not left

    @asynccontextmanager
    async def _running(self) -> AsyncIterator["SpokeBench"]:
        await self._log.open()
        await self._store.open()
        running = asyncio.create_task(self._host.run())
        try:
            await settle()
            yield self
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self._store.aclose()
            await self._log.aclose()


@asynccontextmanager
async def open_spoke_bench(*specs: SpokeSpec, seed: int = 1) -> AsyncIterator[SpokeBench]:
    """A hub of its own for these spokes; ``seed``: of the jitter."""
    with tempfile.TemporaryDirectory(prefix="eisbach-bench-") as folder:
        async with SpokeBench(Path(folder), specs, seed=seed)._running() as bench:
            yield bench
