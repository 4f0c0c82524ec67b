"""What a benchmark returns: rows with a named baseline and a named limit, and how they are shown and kept."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. Numbers are as measured; ``goal`` says in words what is wanted, ``met`` is None where none is set."""

    figure: str
    measured: float | None
    unit: str
    baseline: str = ""
    limit: str = ""
    goal: str = ""
    met: bool | None = None
    note: str = ""


def show(name: str, rows: list[Row]) -> None:
    table = Table(title=name, title_justify="left")
    for column in ("figure", "measured", "baseline", "limit", "goal", ""):
        table.add_column(column, justify="right" if column == "measured" else "left", overflow="fold")
    for row in rows:
        measured = "not measured" if row.measured is None else f"{row.measured:,.4g} {row.unit}"
        mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
        table.add_row(row.figure, measured, row.baseline, row.limit, row.goal, " ".join(filter(None, (mark, row.note))))
    Console().print(table)


def keep(results: dict[str, list[Row]], *, at: str) -> Path:
    """Write ``bench/results/{date}.json`` with the machine that it was measured on."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": cpu_model(),
    }
    path = RESULTS / f"{at}.json"
    document = {
        "at": at,
        "commit": commit,
        "machine": machine,
        "load": os.getloadavg()[0],
        "results": {n: [asdict(r) for r in rows] for n, rows in results.items()},
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_megabytes(pid: int) -> float:
    """Proportional set size: shared pages count by their share (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def descendants(pid: int) -> list[int]:
    """``pid`` and every process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found
