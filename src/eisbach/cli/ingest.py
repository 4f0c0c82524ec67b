"""``eisbach ingest FILE``: send a file to the studio, through the edge, as an editor's tool would."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from eisbach.cli.shared import Shared, out, say, show_json, verb
from eisbach.cli.talk import Supervisor, find
from eisbach.kernel.errors import Invalid, Rejected, Retryable

if TYPE_CHECKING:  # brings aiohttp, which other verbs need not pay for
    from eisbach.deploy.laptop.studio import Studio

__all__ = ["EXAMPLE", "command"]

EXAMPLE = 'Example: eisbach ingest film.mp4 --title "My film" --publish --wait'
_CHUNK = 1024 * 1024
_LOOK_EVERY_S = 0.5
_LOST_FOR_MAX = 240
"""Looks without an answer before giving up: two minutes, longer than any restart."""


@verb
def command(
    *,
    shared: Shared,
    file: Annotated[Path, typer.Argument(help="A video file.")],
    title: Annotated[str, typer.Option(help="What viewers read.")],
    market: Annotated[str, typer.Option(help="Where it may be played.")] = "de",
    age: Annotated[int, typer.Option(help="Age rating: 0, 6, 12, 16 or 18.")] = 0,
    publish: Annotated[bool, typer.Option("--publish", help="Publish as soon as it is ready.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Before all other work: it is on air soon.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is packaged (and published), or refused.")] = False,
) -> None:
    """Upload a film; with --wait follow it until it can be played, or was refused with the reason."""
    if not file.is_file():
        raise Invalid(f"{file} is not a file")
    supervisor = find(shared.settings().data)
    wanted = {
        "name": file.name, "names": {"en": title}, "market": market, "age": age, "publish": publish,
        "priority": "live" if live else "on_demand",
    }  # fmt: skip
    found = asyncio.run(_ingest(supervisor, file, wanted, wait=wait, quiet=shared.as_json))
    if shared.as_json:
        show_json(found)
    else:
        say(f"asset {found['asset']}, title {found['title']}: {found['state']}")
        say("Next: open the viewer" if found["state"] == "published" else "Next: eisbach status")


async def _ingest(
    supervisor: Supervisor, file: Path, wanted: dict[str, Any], *, wait: bool, quiet: bool
) -> dict[str, Any]:
    from eisbach.deploy.laptop.studio import Studio

    status = supervisor.get("/ops/status")
    edges = [region["edge"] for region in status["regions"] if region["state"] != "down"]
    if not edges:
        raise Invalid("no region is up; see eisbach status")
    bars = Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=out(), disable=quiet)
    with bars:
        async with Studio(edges[0], token=supervisor.token) as studio:
            announced = await studio.call("POST", "/studio/uploads", wanted, key=secrets.token_hex(16))
            bar = bars.add_task("upload", total=file.stat().st_size)
            content = _content(file, lambda n: bars.advance(bar, n))
            await studio.upload(f"/studio/uploads/{announced['upload']}/content", content, size=file.stat().st_size)
            found = {**announced, "state": "received"}
            if wait:
                found["state"] = await _follow(studio, announced, bars, publish=wanted["publish"])
    return found


async def _content(file: Path, sent: Any) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
            sent(len(chunk))


async def _follow(studio: "Studio", announced: dict[str, str], bars: Progress, *, publish: bool) -> str:
    """``ready`` or ``published``.

    Raises:
        Rejected: refused, with the reason.
    """
    tasks: dict[str, Any] = {}
    lost = 0
    while True:
        try:
            asset = (await studio.call("GET", f"/studio/assets/{announced['asset']}"))["record"]
            if asset["state"] == "rejected":
                raise Rejected(f"{announced['asset']} was refused: {asset.get('reason') or 'no reason given'}")
            if asset["state"] == "ready" and (not publish or await _is_published(studio, announced["title"])):
                return "published" if publish else "ready"
            for job in (await studio.call("GET", "/studio/jobs"))["jobs"]:
                if job["asset"] == announced["asset"]:
                    if job["kind"] not in tasks:
                        tasks[job["kind"]] = bars.add_task(job["kind"], total=1.0)
                    bars.update(tasks[job["kind"]], completed=job["progress"])
            lost = 0
        except Retryable:
            lost += 1
            if lost > _LOST_FOR_MAX:
                raise
        await asyncio.sleep(_LOOK_EVERY_S)


async def _is_published(studio: "Studio", title: str) -> bool:
    from eisbach.deploy.laptop.studio import is_published

    titles = (await studio.call("GET", "/studio/titles"))["titles"]
    return any(t["id"] == title and is_published(t) for t in titles)
