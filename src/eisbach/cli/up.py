"""``eisbach up``: the whole platform on this machine, until Ctrl-C."""

import asyncio
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from eisbach.cli.shared import Shared, out, say, verb
from eisbach.settings import Settings

if TYPE_CHECKING:  # the supervisor's libraries take half a second, which eisbach status need not pay
    from eisbach.deploy.laptop.run import Running
    from eisbach.deploy.laptop.supervised import Change

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach up --stage cells --data /tmp/eisbach"
_COLOURS = {
    "ready": "green", "restarting": "red", "unready": "red", "down": "bright_red", "hung": "bright_red",
    "slow": "yellow", "error": "bright_red", "truncate": "bright_red", "cut": "bright_red", "up": "green",
}  # fmt: skip
_QUIET = ("waiting", "starting", "stopped")


@verb
def command(
    *,
    shared: Shared,
    stage: Annotated[str, typer.Option(help="single, hub, cells or regions.")] = "regions",
    regions: Annotated[int | None, typer.Option(help="2 or 3, for stage regions.", show_default="2")] = None,
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Demo content, and the single node beside.")] = True,
    rehearsal: Annotated[bool, typer.Option("--rehearsal/--no-rehearsal", help="Faults may be injected.")] = True,
) -> None:
    """Run the whole platform on this machine; Ctrl-C stops all of it."""
    settings = shared.settings()
    if not rehearsal:
        settings = msgspec.structs.replace(settings, rehearsal=False)
    asyncio.run(_up(settings, stage=stage, regions=regions, demo=demo, as_json=shared.as_json))


async def _up(settings: Settings, *, stage: str, regions: int | None, demo: bool, as_json: bool) -> None:
    from eisbach.deploy.laptop.ground import settle
    from eisbach.deploy.laptop.platform import prepare
    from eisbach.deploy.laptop.run import running

    started = time.monotonic()
    platform = prepare(settings, stage=stage, regions=regions, demo=demo)
    settle()
    show = _show_json if as_json else _show
    platform.supervisor.listeners.append(show)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, _told, stop)
    async with running(platform) as run:
        _tell(run, as_json=as_json)
        telling = asyncio.create_task(_progress(run, started, as_json=as_json))
        await stop.wait()
        telling.cancel()
        if not as_json:
            say("stopping; Ctrl-C again kills at once")
    if as_json:
        _line({"event": "stopped"})
    else:
        say("everything is stopped; your data are kept. Next: eisbach up")


def _told(stop: asyncio.Event) -> None:
    """The first signal stops in order; the second kills: the kernel and the zygote end the rest."""
    if stop.is_set():
        os.kill(os.getpid(), signal.SIGKILL)
    stop.set()


async def _progress(run: "Running", started: float, *, as_json: bool) -> None:
    """Say when it is ready, and how the demo content comes on."""
    platform = run.platform
    await platform.supervisor.until_ready()
    took = time.monotonic() - started
    if as_json:
        _line({"event": "ready", "seconds": round(took, 2)})
    else:
        count = len(platform.supervisor.processes)
        say(f"ready after {took:.1f} s: {count} processes. Next: open an address above, or eisbach status")
    if not platform.demo:
        return
    told = -1
    while not run.demo.finished.is_set():
        state = run.demo.state()
        if state["done"] != told and state["total"]:
            told = state["done"]
            if as_json:
                _line({"event": "demo", **state})
            else:
                say(f"demo content: {state['done']} of {state['total']} {state['detail']}")
        await asyncio.sleep(0.5)
    state = run.demo.state()
    if as_json:
        _line({"event": "demo", **state})
    elif state["state"] == "failed":
        out().print(f"demo content failed: {state['detail']}", style="red", markup=False)
    else:
        say(f"demo content {state['state']} after {time.monotonic() - started:.0f} s: {state['detail']}")


def _tell(run: "Running", *, as_json: bool) -> None:
    platform, links = run.platform, run.links()
    if as_json:
        _line({"event": "links", "stage": platform.topology.stage, "data": str(platform.root), **links})
        return
    say(f"Eisbach, stage {platform.topology.stage}, data in {platform.root}")
    what = {
        "watch": "the viewer app",
        "demo": "two stages side by side, one red button",
        "console": "every process; faults",
    }
    for name, address in links.items():
        if name != "demo" or platform.demo:
            out().print(f"  {name:8} [bold]{address}[/bold]   {what[name]}")
    if platform.settings.rehearsal:
        out().print("  rehearsal: things may be broken on purpose", style="bold white on red", markup=False)


def _show(change: "Change") -> None:
    if change.after in _QUIET:
        return
    at = time.strftime("%H:%M:%S", time.localtime(change.at_ms / 1000))
    colour = _COLOURS.get(change.after, "white")
    out().print(f"{at}  {change.target:<24} [{colour}]{change.after:<10}[/{colour}] ", end="")
    out().print(change.why, markup=False, style="dim")


def _show_json(change: "Change") -> None:
    _line({
        "event": "change", "at_ms": change.at_ms, "target": change.target, "from": change.before, "to": change.after,
        "why": change.why,
    })  # fmt: skip


def _line(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
