"""How long handlers take to be imported from a package, in a fresh interpreter with nothing else on its path.

On this machine and its Python, said as such: a sandbox of Lambda has another processor, another Python and a disk that
is read for the first time. It shows what a change costs, and that the package lacks nothing.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Invalid

__all__ = ["HANDLERS", "RUNS_MAX", "ColdStart", "measure"]

HANDLERS: Final = ("spoke", "http", "relay")
_CODE: Final = """
import sys, time, json, resource
sys.path[:0] = [sys.argv[1]]
begin = time.perf_counter()
__import__("eisbach.deploy.aws.handlers." + sys.argv[2])
wall = time.perf_counter() - begin
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, len(sys.modules)]))
"""
RUNS_MAX: Final = 50
_SECONDS_MAX: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Medians of fresh interpreters."""

    handler: str
    runs: int
    import_s: float
    """Wall time of the import."""
    cpu_s: float
    """CPU of the whole interpreter, its own start included."""
    memory_mb: float
    modules: int


def measure(package: Path, *, runs: int, handlers: Sequence[str] = HANDLERS) -> list[ColdStart]:
    """Import each handler ``runs`` times (1 to 50); the first run of all warms the disk's cache and is not counted.

    Raises:
        Invalid: a handler cannot be imported from the package; the message has the last line of why.
    """
    if not 1 <= runs <= RUNS_MAX:
        raise Invalid(f"{runs} runs; 1 to {RUNS_MAX} are measured")
    found: list[ColdStart] = []
    with tempfile.TemporaryDirectory(prefix="eisbach-cold-") as folder:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(folder)  # what build_package wrote
        for handler in handlers:
            rows = [_one(folder, handler) for _ in range(runs + 1)][1:]
            wall, cpu, memory, modules = (statistics.median(column) for column in zip(*rows, strict=True))
            found.append(
                ColdStart(
                    handler=handler, runs=runs, import_s=wall, cpu_s=cpu, memory_mb=memory, modules=round(modules)
                )
            )
    return found


def _one(folder: str, handler: str) -> tuple[float, float, float, float]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", _CODE, folder, handler],
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Invalid(f"handler {handler!r} cannot be imported from the package: {said[-1] if said else '?'}")
    wall, cpu, memory, modules = json.loads(done.stdout)
    return wall, cpu, memory, modules
