"""Cells, all of it: issue 3's table. Each part is a benchmark of its own (``make bench ARGS=cells_moves``).

``cells_cpu``: CPU per progress write, heartbeat and start against the monolith and the limit; ``cells_scale``: at 1, 4
and 16 cells; ``cells_capacity``: one cell's tested maximum; ``cells_moves``: the write freeze; ``cells_twins``: lag and
catch-up; ``cells_map``: slot map and routing decision. Each names its baseline and limit.
"""

import importlib

from bench.figures import Row

PARTS = ("cells_map", "cells_cpu", "cells_scale", "cells_capacity", "cells_moves", "cells_twins")


def run() -> list[Row]:
    rows: list[Row] = []
    for part in PARTS:
        print(f"    {part}", flush=True)
        rows += importlib.import_module(f"bench.{part}").run()
    return rows
