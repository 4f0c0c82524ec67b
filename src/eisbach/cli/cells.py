"""``eisbach cells list | move``: who has which slots, and moving them while they are in use."""

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

from eisbach.cell.unreached import unreached
from eisbach.cli.shared import NOT_WELL, Shared, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.control.leaving import OTHER_OUT, UNDER_WAY
from eisbach.kernel.errors import Denied, EisbachError, Invalid, Unavailable

__all__ = ["COMMANDS"]

_REGION = Annotated[str, typer.Option(help="Region; by default the first of the platform.")]
_WAIT_S = 180.0
_ANSWER_S = 10.0


class Control:
    """The control process of a region, found through the supervisor."""

    def __init__(self, data: str, region: str, *, status: Any = None) -> None:
        """``status``: what the supervisor said just now; None: it is asked."""
        supervisor = find(data)
        found = {
            str(one["region"]): str(one["url"])
            for one in (status or supervisor.get("/ops/status"))["processes"]
            if str(one["target"]).startswith("control/") and one["url"]
        }
        self.region = region or next(iter(found), "")
        if self.region not in found:
            raise Invalid(f"region {region[:40]!r} has no control process here; those that have: {', '.join(found)}")
        self._url, self._token = found[self.region], supervisor.token

    def call(self, path: str, body: Any = None, *, answer_s: float | None = None) -> Any:
        """GET, or POST with a body."""
        request = urllib.request.Request(  # noqa: S310 - an http address that the supervisor told us
            f"{self._url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=answer_s or _ANSWER_S) as answer:  # noqa: S310 - as above
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise self._refusal(path, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(self._silence(path, error, asked=body is not None)) from error
        except KeyboardInterrupt:
            if body is None:
                raise
            raise Unavailable(
                f"broken off here only: control of {self.region} goes on with what it was sent. {self._look(path)}"
            ) from None

    def _silence(self, path: str, error: Exception, *, asked: bool) -> str:
        """A request that was sent lies at a process that stands still, and is carried out when that goes on."""
        why = unreached(getattr(error, "reason", error))
        said = f"control of {self.region} does not answer at {self._url}: {why}; viewers do not need it"
        if not asked or isinstance(getattr(error, "reason", None), ConnectionRefusedError):
            return f"{said}, try again"
        return f"{said}. It may carry the request out yet: {self._look(path)}"

    def _look(self, path: str) -> str:
        """How to see what comes of an order."""
        look = f"cells list --region {self.region}" if path.startswith("/moves") else "regions list"
        return (
            f"eisbach {look} shows what came of it, and the same command again goes on with what is under way, it does"
            " nothing twice"
        )

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> EisbachError:
        """In the process's own words; what may succeed later (its disk is full) is not the caller's mistake."""
        try:
            told = json.loads(error.read())
            detail, code = str(told["detail"]), str(told.get("code"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Unavailable(
                f"control of {self.region} answered {error.code} to {path} and did not say why; look with eisbach logs"
                f" control/{self.region}"
            )
        if code in (OTHER_OUT, UNDER_WAY):  # apart from the rest: nothing was stopped
            return Denied(detail, code=code)
        return Unavailable(f"control of {self.region}: {detail}") if code == Unavailable.code else Invalid(detail)


@verb
def list_cells(*, shared: Shared, region: _REGION = "") -> None:
    """Cells of a region with their slots, and the moves that were made."""
    control = Control(shared.settings().data, region)
    found = control.call("/cells")
    if shared.as_json:
        show_json({"region": control.region, **found})
        return
    say(f"Region {control.region}, slot map {found['map_version']}")
    for cell in found["cells"]:
        slots = ", ".join(f"{count} of {group}" for group, count in cell["slots"].items()) or "no slots"
        say(f"  {cell['cell']:<10} {cell['state']:<12} {slots}")
    for move in found["moves"][-10:]:
        say(f"  {_line(move)}{_why(found['waits'], move)}")
    moves = {move["slot"] for move in found["moves"]}
    for slot in [slot for slot in found["waits"] if slot not in moves][:10]:
        say(f"  {slot}: {found['waits'][slot]}")
    say("Next: eisbach cells move SLOT --to CELL moves one, under load")


@verb
def move_slots(
    *,
    shared: Shared,
    slots: Annotated[list[str], typer.Argument(help="Slots, e.g. eu/de/main/17.")],
    to: Annotated[str, typer.Option("--to", help="Cell that takes them, e.g. c2.")],
    region: _REGION = "",
    bulk: Annotated[bool, typer.Option(help="Allow more than a fifth of the region's slots.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the outcome.")] = True,
) -> None:
    """Move slots to another cell of their region: copied under load, writes stop for milliseconds, reads never."""
    control = Control(shared.settings().data, region)
    asked = control.call("/moves", {"slots": slots, "to": to, "bulk": bulk})
    wanted = {str(move["slot"]) for move in asked["moves"]}
    moves = asked["moves"]
    if wait:
        try:
            moves = _outcomes(control, wanted, quiet=shared.as_json)
        except (Unavailable, KeyboardInterrupt) as error:
            look = f"they are asked for and go on: eisbach cells list --region {control.region}"
            raise Unavailable(f"{str(error) or 'broken off here only'} ({len(wanted)} moves: {look})") from error
    if shared.as_json:
        show_json({"region": control.region, "moves": moves, "refused": asked["refused"], "already": asked["already"]})
    else:
        for slot, what in asked["already"].items():
            say(f"{slot} {what}: nothing was asked for twice")
        for move in moves:
            say(_line(move))
        for slot, why in asked["refused"].items():
            say(f"{slot} refused: {why}")
        say(f"Next: eisbach cells list --region {control.region} shows who has what")
    if asked["refused"] or (wait and any(move["owner"] != to for move in moves)):
        raise typer.Exit(NOT_WELL)


def _outcomes(control: Control, wanted: set[str], *, quiet: bool) -> list[Any]:
    from rich.progress import Progress

    until = time.monotonic() + _WAIT_S
    with Progress(disable=quiet, transient=True) as progress:
        task = progress.add_task("moving", total=len(wanted))
        while True:
            found = control.call("/cells")
            moves = [move for move in found["moves"] if move["slot"] in wanted]
            ended = [move for move in moves if move["phase"] == "settled" and not _deaf(move)]
            progress.update(task, completed=len(ended))
            if len(ended) == len(wanted):
                return ended
            if time.monotonic() > until:
                waiting = [f"{_unheard(move)}{_why(found['waits'], move)}" for move in moves if move not in ended]
                raise Unavailable(
                    f"{len(wanted) - len(ended)} of {len(wanted)} moves are still under way after {_WAIT_S:.0f} s:"
                    f" {'; '.join(waiting[:3])}"
                )
            time.sleep(0.1)


def _line(move: Any) -> str:
    if move["phase"] != "settled":
        return f"{move['slot']}: {move['phase']} from {move['source']} to {move['target']}"
    if move["outcome"] == "committed":
        how = move["reason"] or f"writes stood for {move['freeze_ms']} ms"
        return f"{move['slot']}: {move['owner']}'s now (epoch {move['epoch']}), {how}"
    return f"{move['slot']}: stayed with {move['owner']} (epoch {move['epoch']}): {move['reason']}"


def _why(waits: Any, move: Any) -> str:
    """What keeps it, where something does."""
    return f"; it waits: {waits[move['slot']]}" if waits.get(move["slot"]) else ""


def _unheard(move: Any) -> str:
    """What it came to so far, and who does not take it: its log says why."""
    return f"{_line(move)}; not heard by {', '.join(_deaf(move))}" if move["phase"] == "settled" else _line(move)


def _deaf(move: Any) -> list[str]:
    return sorted({move["source"], move["target"]} - set(move["told"]))


COMMANDS = {
    "list": (list_cells, "Example: eisbach cells list --region eu-west"),
    "move": (move_slots, "Example: eisbach cells move eu/de/main/3 eu/de/main/4 --to c2"),
}
