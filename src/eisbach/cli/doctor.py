"""``eisbach doctor``: what is here, what is missing, what the sandbox can do."""

import asyncio
import dataclasses
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import typer

from eisbach.cli.shared import NOT_WELL, Shared, out, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.kernel.errors import EisbachError, Unavailable
from eisbach.settings import Settings

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach doctor --json"
_FREE_BYTES_MIN = 2 * 1024**3


@verb
def command(*, shared: Shared) -> None:
    """Check programs, sandbox, pages, disk and kernel, and alarms of what runs; exit code 1 when one is not well."""
    found = asyncio.run(_examine(shared.settings()))
    if shared.as_json:
        show_json(found)
    else:
        _show(found)
    raise typer.Exit(NOT_WELL if found["missing"] else 0)


async def _examine(settings: Settings) -> dict[str, Any]:
    from eisbach.bootstrap.tools import describe_tools
    from eisbach.deploy.laptop.ground import files_lacking
    from eisbach.media.sandbox import probe_sandbox

    tools = [dataclasses.asdict(facts) for facts in await describe_tools(settings)]
    sandbox = await probe_sandbox()
    root = Path(settings.data).absolute()
    disk = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists()))
    missing = [tool["version"] for tool in tools if tool["origin"] == "missing"]
    if not sandbox.is_enough:
        missing.append("the sandbox is not enough for foreign media; they are refused unless EISBACH_UNSAFE_MEDIA=1")
    if disk.free < _FREE_BYTES_MIN:
        missing.append(f"{disk.free // 1024**2} MiB free where {root} is; 2 GiB are wanted")
    if sys.platform != "linux":
        missing.append(f"eisbach up needs Linux (sessions, subreaper, /proc); this is {sys.platform}")
    if lacking := files_lacking():
        missing.append(lacking)
    running, alarms = _running(settings.data)
    missing += alarms
    pages = _pages()
    if pages is None:
        missing.append("the pages are not built; run make web in a clone")
    return {
        "python": platform.python_version(), "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "tools": tools, "sandbox": msgspec.to_builtins(sandbox), "data": str(root), "disk_free_bytes": disk.free,
        "pages": pages, "missing": missing, "running": running,
    }  # fmt: skip


def _short(version: str) -> str:
    """The number in what a program says of itself (``ffmpeg version n8.1 Copyright ...``); all of it without one."""
    return next((word for word in version.replace("/", " ").split() if any(c.isdigit() for c in word)), version)


def _running(data: str) -> tuple[bool, list[str]]:
    """Whether a platform runs on the data folder, and its alarms."""
    try:
        status = find(data).get("/ops/status")
    except EisbachError:
        return False, []
    return True, [f"nothing, but an alarm stands: {text}" for text in status.get("alarms", [])]


def _pages() -> str | None:
    from eisbach.web import static_folder

    try:
        return str(static_folder())
    except Unavailable:
        return None


def _show(found: dict[str, Any]) -> None:
    say(f"Python {found['python']} on {found['system']}")
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("program", "version", "origin", "licence", "sha256"):
        table.add_column(title, overflow="fold")
    for tool in found["tools"]:
        table.add_row(tool["name"], _short(tool["version"]), tool["origin"], tool["licence"], tool["sha256"][:12])
    out().print(table)
    for layer, lacking in found["sandbox"].items():
        say(f"sandbox {layer:8} {'here' if lacking is None else f'not here: {lacking}'}")
    say(f"data {found['data']}, {found['disk_free_bytes'] // 1024**3} GiB free; pages {found['pages'] or 'not built'}")
    for text in found["missing"]:
        out().print(f"missing: {text}", style="red", markup=False)
    following = "eisbach status" if found["running"] else "eisbach up"
    say(f"Next: {following}" if not found["missing"] else "Next: see to what is missing, then eisbach doctor again")
