"""``eisbach run KIND FILE``: from a kind of process to its document type and its ``run``.

Modules are imported when a process needs them: ``eisbach --help`` pays for none. ``preload`` imports all of them, for
the zygote that forks every process of a laptop from one warm interpreter.
"""

import asyncio
import contextlib
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from eisbach import settings
from eisbach.bootstrap.logs import configure_logs
from eisbach.kernel.errors import EisbachError, Invalid

__all__ = ["KINDS", "preload", "run_process"]


class Kind(NamedTuple):
    """A kind of process."""

    module: str
    document: type[msgspec.Struct]


KINDS = {
    "cell": Kind("cell", settings.CellProcess),
    "onecell": Kind("hub", settings.CellProcess),
    "spokes": Kind("spokes", settings.SpokesProcess),
    "worker": Kind("worker", settings.WorkerProcess),
    "control": Kind("control", settings.ControlProcess),
    "agent": Kind("agent", settings.AgentProcess),
    "link": Kind("link", settings.LinkProcess),
    "demo": Kind("demo", settings.DemoProcess),
    "single": Kind("single", settings.SingleProcess),
}


def preload(kinds: Sequence[str]) -> list[str]:
    """Import the modules of ``kinds``; what failed is returned as text, and fails again in the process itself."""
    failed: list[str] = []
    for kind in kinds:
        try:
            importlib.import_module(f"eisbach.bootstrap.{KINDS[kind].module}")
        except Exception as error:  # noqa: BLE001 - any module may fail; its own process then says so in its own log
            failed.append(f"{kind}: {error!r}")
    return failed


def run_process(kind: str, path: Path) -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises:
        Invalid: an unknown kind or a wrong document.
    """
    if kind not in KINDS:
        raise Invalid(f"{kind!r} is not a kind of process; use one of {', '.join(KINDS)}")
    configure_logs()
    module = importlib.import_module(f"eisbach.bootstrap.{KINDS[kind].module}")
    document = settings.read_process(path, KINDS[kind].document)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_told(module.run, document))
    except EisbachError as error:
        sys.stderr.write(f"{kind}: {error}\n")
        return 1
    return 0


async def _until_told(run: object, document: msgspec.Struct) -> None:
    """Cancel ``run`` on SIGTERM or SIGINT, unless it handles them itself (uvicorn does)."""
    task = asyncio.ensure_future(run(document))  # type: ignore[operator]  # each bootstrap module's own document type
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
