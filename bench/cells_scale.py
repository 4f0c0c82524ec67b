"""CPU per call at 1, 4 and 16 cells of one region with one hub: a cell must not pay for its neighbours.

Each cell has 16 connections and its own viewers. The cells are called all at the same time, so that sixteen processes
share the machine's cores, and one after the other, so that each has a core for a while: the difference is what the
machine takes for switching between them, and no cell's work for another. Counted are all cells and the hub, less what
they use idle (printed: that is what an empty cell costs). Limit: flat. Medians of rounds.
"""

import asyncio
import itertools
import statistics
import time
from contextlib import ExitStack

import uvloop
from bench.cells_cpu import HOST, Crowd, idle_rate
from bench.figures import Row
from bench.load import send_all
from bench.sides import Side, more_cells, running

COUNTS, CONNECTIONS, CALLS, ROUNDS = (1, 4, 16), 16, 16_000, 3
KINDS = {"progress": 204, "heartbeat": 200}
DRAIN_S = 0.4


async def _call(crowds: list[Crowd], kind: str, batches: list[list[bytes]], *, at_once: bool) -> None:
    sending = [
        send_all(c.side.host, c.side.port, iter(batch), connections=CONNECTIONS, wanted=KINDS[kind])
        for c, batch in zip(crowds, batches, strict=True)
    ]
    if at_once:
        await asyncio.gather(*sending)
        return
    for one in sending:
        await one


def measure(count: int, network: str) -> tuple[dict[tuple[str, bool], float], float]:
    """((kind, all at once) -> CPU microseconds a call, idle CPU of a cell in per mille of a core)."""
    found: dict[tuple[str, bool], list[float]] = {(kind, at_once): [] for kind in KINDS for at_once in (True, False)}
    with ExitStack() as stack:
        first = stack.enter_context(running("cell", network))
        sides = [first, *stack.enter_context(more_cells(first, count - 1))]
        crowds = [Crowd(side, viewers=64) for side in sides]
        whole = Side(
            "all", "", 0, {f"{n}-{part}": pid for n, side in enumerate(sides) for part, pid in side.roots.items()}
        )
        idle = idle_rate(whole)
        for number, (kind, at_once) in itertools.product(range(ROUNDS + 1), found):
            batches = [list(getattr(crowd, kind)(CALLS // count)) for crowd in crowds]
            before, began = whole.cpu(), time.monotonic()
            uvloop.run(_call(crowds, kind, batches, at_once=at_once))
            time.sleep(DRAIN_S)
            took = time.monotonic() - began
            used = sum(after - before[part] - idle[part] * took for part, after in whole.cpu().items())
            if number:
                found[kind, at_once].append(used / (CALLS // count * count) * 1e6)
        cells = [rate for part, rate in idle.items() if part.endswith("cell")]
    return {how: statistics.median(us) for how, us in found.items()}, statistics.mean(cells) * 1000


def run() -> list[Row]:
    rows: list[Row] = []
    base: dict[tuple[str, bool], float] = {}
    for place, count in enumerate(COUNTS):
        found, idle = measure(count, f"{HOST}{30 + place}")
        for (kind, at_once), us in found.items():
            first = base.setdefault((kind, at_once), us)
            how = "at once" if at_once else "one after the other"
            rows.append(
                Row(figure=f"CPU per {kind}, {count} cell{'s' * (count > 1)}{f', {how}' * (count > 1)}", measured=us, unit="us",
                    baseline=f"{first:.1f} us: one cell", limit="flat", goal="within 10 %" if count > 1 else "",
                    met=abs(us / first - 1) <= 0.1 if count > 1 else None,
                    note=f"{us / first - 1:+.0%}; an idle cell takes {idle:.1f} per mille of a core"),
            )  # fmt: skip
    return sorted(rows, key=lambda row: row.figure.split()[2])
