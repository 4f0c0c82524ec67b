"""``eisbach engines``: which engine stands behind each port here, and what it cannot promise."""

from eisbach.cli.shared import Shared, out, say, show_json, verb

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach engines --json"
_ENGINES = (
    ("store", "SQLite, a file a cell", "all stages", "one writer a file; survives kill -9 and power loss (FULL)"),
    ("store", "DynamoDB, two tables a cell", "none here: AWS", "only rehearsed on an emulator; slots do not move"),
    ("event log", "NATS JetStream", "hub, cells, regions", "one server a region: down means waiting, not loss"),
    ("event log", "SQLite", "single, tests", "one process"),
    ("event log", "SNS + SQS FIFO", "none here: AWS", "only rehearsed on an emulator; limits in docs/engines.md"),
    ("control store", "SQLite", "cells, regions", "served by the region's control process"),
    ("blobs, media", "files", "all stages", "one disk a region; copies between regions are verified by digest"),
    (
        "blobs, media",
        "S3, a bucket a region",
        "none here: AWS",
        "only rehearsed on an emulator; limits in docs/engines.md",
    ),
    ("compute", "processes under eisbach up", "all stages", "one machine"),
    ("front door", "nginx", "cells, regions", "one name, no health of its own beyond connect errors"),
)


@verb
def command(*, shared: Shared) -> None:
    """List the engines behind the ports, and what each cannot promise."""
    rows = [dict(zip(("port", "engine", "stages", "limits"), row, strict=True)) for row in _ENGINES]
    if shared.as_json:
        show_json({"engines": rows})
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("port", "engine", "stages", "limits"):
        table.add_column(title)
    for row in _ENGINES:
        table.add_row(*row)
    out().print(table)
    say("Next: eisbach doctor checks the programs behind them")
