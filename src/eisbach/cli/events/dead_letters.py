"""``eisbach events dead-letters``, ``show``, ``redrive``, ``drop``: what could not be handled, and what to do with it.

Redriving many is a dry run unless ``--yes``, and at most ``--rate`` a second. A letter is named ``REGION/NUMBER``.
"""

import json
import re
import time
from typing import Annotated, Any, Final

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import Supervisor, find
from eisbach.kernel.errors import Invalid, NotFound

__all__ = ["DROP_EXAMPLE", "EXAMPLE", "REDRIVE_EXAMPLE", "SHOW_EXAMPLE", "command", "drop", "redrive", "show"]

EXAMPLE: Final = "Example: eisbach events dead-letters --spoke notify"
SHOW_EXAMPLE: Final = "Example: eisbach events show eu-central/3"
REDRIVE_EXAMPLE: Final = "Example: eisbach events redrive --spoke notify --yes"
DROP_EXAMPLE: Final = 'Example: eisbach events drop eu-central/3 --reason "title was deleted"'

_Letter = Annotated[str, typer.Argument(help="REGION/NUMBER, as eisbach events dead-letters prints it.")]
_Spoke = Annotated[str | None, typer.Option(help="Only this spoke's.")]


@verb
def command(*, shared: Shared, spoke: _Spoke = None) -> None:
    """List dead letters of all regions, newest first."""
    found = _all(find(shared.settings().data), spoke)
    if shared.as_json:
        show_json(found)
        return
    for letter in found["dead_letters"]:
        at = time.strftime("%H:%M:%S", time.localtime(letter["at_ms"] / 1000))
        where = f"{letter['region']}/{letter['number']}"
        say(f"{at}  {where:<16} {letter['spoke']:<14} {letter['subject']:<20} {letter['reason'][:100]}")
    _say_silent(found)
    count = len(found["dead_letters"])
    say(f"{_letters(count)}. " + (_next(found) if count else "Next: eisbach events tail"))


@verb
def show(letter: _Letter, *, shared: Shared) -> None:
    """Show one dead letter: reason, history, stack, and the event itself."""
    found = find(shared.settings().data).get(f"/ops/dead-letters/{_path(letter)}")
    if shared.as_json:
        show_json(found)
        return
    say(f"{found['kind']} {found['event']} of {found['subject']}, set aside by spoke {found['spoke']}")
    say(f"reason: {found['reason']}")
    for number, attempt in enumerate(found["history"], 1):
        at = time.strftime("%H:%M:%S", time.localtime(attempt["at_ms"] / 1000))
        say(f"  attempt {number} at {at}: {attempt['reason'][:160]}")
    if found["stacks"] and found["stacks"][-1]:
        say(found["stacks"][-1].rstrip())
    say(json.dumps(found.get("body"), indent=2, ensure_ascii=False))
    say(f"Next: eisbach events redrive {letter}, or eisbach events drop {letter} --reason TEXT")


@verb
def redrive(
    letter: Annotated[str | None, typer.Argument(help="REGION/NUMBER; absent: all that --spoke selects.")] = None,
    *,
    shared: Shared,
    spoke: _Spoke = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="At most so many a second.")] = 50.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, say what would be done.")] = False,
) -> None:
    """Have dead letters handled again, from their first attempt on."""
    supervisor = find(shared.settings().data)
    if letter is not None:
        chosen, todo = [_path(letter)], True
    else:
        chosen = [f"{row['region']}/{row['number']}" for row in reversed(_all(supervisor, spoke)["dead_letters"])]
        todo = yes
    done = [_post(supervisor, path, place, rate) for place, path in enumerate(chosen)] if todo else []
    if shared.as_json:
        show_json({"chosen": chosen, "redriven": done, "dry_run": not todo})
    elif not todo:
        say(f"would redrive {_letters(len(chosen))}, oldest first. Next: the same with --yes")
    else:
        say(f"{_letters(len(done))} at work again. Next: eisbach events dead-letters")


@verb
def drop(
    letter: _Letter,
    *,
    shared: Shared,
    reason: Annotated[str, typer.Option(help="Why it is given up; kept beside it.")],
) -> None:
    """Give one dead letter up for good; it is kept with your reason, and never handled."""
    found = find(shared.settings().data).post(f"/ops/dead-letters/{_path(letter)}/drop", {"reason": reason})
    if shared.as_json:
        show_json(found)
    else:
        say(f"{found['dropped']} of spoke {found['spoke']} is dropped. Next: eisbach events dead-letters")


def _post(supervisor: Supervisor, path: str, place: int, rate: float) -> str:
    if place:
        time.sleep(1 / rate)
    return str(supervisor.post(f"/ops/dead-letters/{path}/redrive", {})["redriven"])


def _all(supervisor: Supervisor, spoke: str | None) -> Any:
    found = supervisor.get("/ops/dead-letters", **({} if spoke is None else {"spoke": spoke}))
    if spoke is not None and not found["dead_letters"]:  # those of a spoke that is no longer there are shown
        known = sorted({str(row["spoke"]) for row in supervisor.get("/ops/spokes")["spokes"]})
        if known and spoke not in known:
            raise NotFound(f"no spoke {spoke[:60]!r} runs here or left dead letters; there are {', '.join(known)}")
    return found


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _path(letter: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,40}/[1-9]\d{0,17}", letter):
        raise Invalid(
            f"{letter[:60]!r} is not REGION/NUMBER, e.g. eu-central/3; eisbach events dead-letters lists them"
        )
    return letter


def _next(found: Any) -> str:
    first = found["dead_letters"][0]
    return f"Next: eisbach events show {first['region']}/{first['number']}"


def _say_silent(found: Any) -> None:
    for region, why in found["silent"].items():
        say(f"{region} is not among them: {why}")
