"""``make bench``: runs the benchmarks named on the command line (all of them without a name), shows tables, keeps JSON.

Each module of this folder with ``run() -> list[Row]`` is a benchmark; its docstring names its baseline and its limit.
"""

import argparse
import datetime as dt
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
NAMES = ("store", "hub", "hub_load", "edge", "calls", "stages", "transcode", "playback", "assess", "cells", "aws")
ON_REQUEST = (
    "cold",
    "cells_cpu",
    "cells_map",
    "cells_scale",
    "cells_capacity",
    "cells_moves",
    "cells_twins",
    "viewer_hour",
    "functions",
)
"""Needs the package registries; slices of ``cells``; seven minutes of real time; sandboxes of Lambda."""


def main() -> None:
    from bench.figures import keep, show

    parser = argparse.ArgumentParser(prog="python -m bench", epilog="example: make bench ARGS='store edge'")
    parser.add_argument(
        "names",
        nargs="*",
        choices=[*NAMES, *ON_REQUEST, []],
        metavar="NAME",
        help=f"of: {', '.join(NAMES)} (all of them without a name); only by name: {', '.join(ON_REQUEST)}",
    )
    names = parser.parse_args().names or NAMES
    results = {}
    for name in names:
        print(f"\n--- {name}", flush=True)
        results[name] = importlib.import_module(f"bench.{name}").run()
        show(name, results[name])
    at = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H%MZ")
    print(f"written: {keep(results, at=at)}")


if __name__ == "__main__":
    main()
