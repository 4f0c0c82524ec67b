"""``eisbach logs TARGET``: the log of a process; works when nothing runs, too."""

import difflib
import time
from pathlib import Path
from typing import Annotated

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.deploy.laptop.logs import tail
from eisbach.kernel.errors import NotFound

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach logs cell/eu-central/c1 --follow"
_LOOK_EVERY_S = 0.2


@verb
def command(
    *,
    shared: Shared,
    target: Annotated[str, typer.Argument(help="E.g. cell/eu-central/c1, front, zygote, demo.")],
    lines: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the last lines.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
) -> None:
    """Show the last lines of a process's log."""
    log = _find(Path(shared.settings().data).absolute() / "logs", target)
    found = tail(log, lines=lines)
    if shared.as_json:
        show_json({"target": target, "file": str(log), "lines": found})
        return
    for line in found:
        say(line)
    if follow:
        _follow(log)
    else:
        say(f"Next: eisbach logs {target} --follow   (file {log})")


def _find(folder: Path, target: str) -> Path:
    known = {log.stem: log for log in sorted(folder.glob("*.log"))}
    name = target.replace("/", "-")
    if name.startswith("spoke-"):
        name = f"spokes-{target.split('/')[1]}"
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}?" if near else "; nothing was ever started there, see eisbach up --help"
        raise NotFound(f"no log of {target[:80]!r} in {folder}{hint}")
    return known[name]


def _follow(log: Path) -> None:
    with log.open("rb") as file:
        file.seek(0, 2)
        try:
            while True:
                if file.tell() > log.stat().st_size:  # rotated
                    file.seek(0)
                for line in file:
                    say(line.decode(errors="replace").rstrip("\n"))
                time.sleep(_LOOK_EVERY_S)
        except KeyboardInterrupt:
            return
