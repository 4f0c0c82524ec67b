"""P1 at the store: kill -9 at random points, many times; compared by id, not by count."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlite_stores import Stores

from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.slots import Slot
from eisbach.ports.store import ItemKey
from eisbach.testing.store_host import OTHER, SLOT

WRITER = Path(__file__).parent / "kill_writer.py"
ROUNDS = int(os.environ.get("EISBACH_KILLS", "8"))


def acknowledged_until_killed(path: Path, name: str, lines: int) -> set[str]:
    """What a writer had acknowledged when it was killed after ``lines`` of its output had been read."""
    with subprocess.Popen([sys.executable, WRITER, str(path), name], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    return {line.rstrip("\n") for line in told if line.endswith("\n")}


@pytest.mark.processes
async def test_every_acknowledged_write_survives_kill_9_at_any_point(tmp_path: Path) -> None:
    seed = 20261124
    chance = random.Random(seed)
    stores = Stores(tmp_path)
    stores.clock = SystemClock()  # type: ignore[assignment]  # after the killed processes' stamps
    told: set[str] = set()
    for number in range(ROUNDS):
        told |= acknowledged_until_killed(stores.path(), f"r{number}", chance.randint(1, 400))

    store = await stores.open()

    lost: set[str] = set()
    for line in told:
        slot, sk = line.split(" ")
        items = [await store.read(Slot.parse(slot), ItemKey("acc-1", key)) for key in (sk, f"{sk}/0")]
        lost |= {line} if None in items else set()
    entries = [e.op for e in await store.log_after(0, limit=1_000_000)]
    assert lost == set(), f"seed {seed}"
    assert len(told) >= ROUNDS
    for slot in (SLOT, OTHER):
        own = [op for op in entries if op.slot == str(slot)]
        assert [op.seq for op in own] == list(range(1, len(own) + 1))
        assert [op.hlc for op in own] == sorted(op.hlc for op in own)
        events = [op for op in own if op.event is not None]
        assert [op.event.prev for op in events if op.event] == [0, *[op.seq for op in events[:-1]]]
    await stores.aclose()
