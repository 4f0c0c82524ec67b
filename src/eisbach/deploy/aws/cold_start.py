"""How long handlers take to be imported from a package, in a fresh interpreter with nothing else on its path.

On this machine and its Python, said as such: a sandbox of Lambda has another processor, another Python and a disk that
is read for the first time. It shows what a change costs, and that the package lacks nothing.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eisbach.deploy.aws.compiling import LOADED, find_interpreter
from eisbach.deploy.aws.package import TARGETS, build_package
from eisbach.kernel.errors import Invalid

__all__ = ["HANDLERS", "RUNS_MAX", "ColdStart", "loaded", "measure"]

HANDLERS: Final = ("spoke", "http", "relay", "claims", "archive", "jobs")
_CODE: Final = """
import sys, time, json, resource
sys.path[:0] = [sys.argv[1]]
begin = time.perf_counter()
__import__("eisbach.deploy.aws.handlers." + sys.argv[2])
wall = time.perf_counter() - begin
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, len(sys.modules)]))
"""
_LOAD: Final = """
import asyncio, os, pkgutil, sys
folder = sys.argv[1]
os.environ.update(AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY="nothing")
sys.path[:0] = [folder]
for handler in sys.argv[2:]:
    __import__("eisbach.deploy.aws.handlers." + handler)
import eisbach.engines.aws
for module in pkgutil.iter_modules(eisbach.engines.aws.__path__):
    __import__("eisbach.engines.aws." + module.name)
from eisbach.engines.aws.clients import AwsPlace, open_clients
async def opened():
    place = AwsPlace(region="eu-central-1", endpoint="http://127.0.0.1:9")
    async with open_clients(place, blobs=True) as clients:
        try:
            await clients.dynamodb.list_tables()
        except Exception as refused:  # nobody listens there: the call was signed and sent
            assert "127.0.0.1:9" in str(refused), refused
asyncio.run(opened())
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None) or ""
    if file.startswith(folder) and file.endswith((".py", ".pyc")):
        name = file[len(folder):].lstrip("/")
        source = name[:-1] if name.endswith(".pyc") else name
        compiled = name.endswith(".pyc") or os.path.exists(getattr(module, "__cached__", None) or "")
        print(source, int(compiled), sep="\t")
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


def measure(
    package: Path, *, runs: int, handlers: Sequence[str] = HANDLERS, interpreter: Path = Path(sys.executable)
) -> list[ColdStart]:
    """Import each handler ``runs`` times (1 to 50); the first run of all warms the disk's cache and is not counted.

    Raises:
        Invalid: a handler cannot be imported from the package; the message has the last line of why.
    """
    if not 1 <= runs <= RUNS_MAX:
        raise Invalid(f"{runs} runs; 1 to {RUNS_MAX} are measured")
    found: list[ColdStart] = []
    with _unzipped(package) as folder:
        for handler in handlers:
            rows = [json.loads(_run(interpreter, _CODE, folder, handler)) for _ in range(runs + 1)][1:]
            wall, cpu, memory, modules = (statistics.median(column) for column in zip(*rows, strict=True))
            found.append(
                ColdStart(
                    handler=handler, runs=runs, import_s=wall, cpu_s=cpu, memory_mb=memory, modules=round(modules)
                )
            )
    return found


def loaded(package: Path, *, interpreter: Path = Path(sys.executable)) -> dict[str, bool]:
    """What functions load of the package until their first call of AWS: source file -> whether it is compiled.

    Raises:
        Invalid: a handler cannot be imported; the message has the last line of why.
    """
    with _unzipped(package) as folder:
        told = _run(interpreter, _LOAD, folder, *HANDLERS)
    return {name: mark == "1" for name, mark in (line.split("\t") for line in told.splitlines())}


@contextlib.contextmanager
def _unzipped(package: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="eisbach-cold-") as folder:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(folder)  # what build_package wrote
        yield folder


def _run(interpreter: Path, code: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(interpreter), "-I", "-S", "-B", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        names = ", ".join(arguments[1:])
        raise Invalid(f"handler {names} cannot be imported from the package: {said[-1] if said else '?'}")
    return done.stdout


def _write_list() -> None:
    """On this Python and, where it is here, on Lambda's own: they load a little differently."""
    names: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="eisbach-loaded-") as folder:
        for target, of in TARGETS.items():
            if target != "lambda-arm64" and (interpreter := find_interpreter(of.python)):
                package = build_package(Path(folder) / f"{target}.zip", target=target).path
                names |= loaded(package, interpreter=interpreter).keys()
    head = "# What functions load at a start, and so what is compiled. By: python -m eisbach.deploy.aws.cold_start"
    LOADED.write_text("\n".join([head, *sorted(names)]) + "\n")


if __name__ == "__main__":
    _write_list()
