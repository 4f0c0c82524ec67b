"""``eisbach restore ACCOUNT --at TIME``: an account as it was at any second of the last 35 days."""

from typing import Annotated

import typer

from eisbach.cli.accounts import ask_owners, time_ms
from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach restore a-0f3c9a52e1 --at 2026-11-25T20:15:07 --yes"


@verb
def command(
    *,
    shared: Shared,
    account: Annotated[str, typer.Argument(help="Account id.")],
    at: Annotated[str, typer.Option("--at", help="ISO 8601 (UTC unless it names a zone), or ms since 1970.")],
    yes: Annotated[bool, typer.Option("--yes", help="Write it; without this, only say what would change.")] = False,
) -> None:
    """Make an account's items what they were; an edit like any other, so both regions get it."""
    body = {"at_ms": time_ms(at), "dry_run": not yes}
    ((target, found),) = ask_owners(find(shared.settings().data), account, "restore", body).items()
    if shared.as_json:
        show_json({"target": target, **found})
        return
    words = "restored" if yes else "would restore"
    say(f"{target} {words} {len(found['set'])} items of {account} and delete {len(found['deleted'])}")
    for sk in found["set"]:
        say(f"  set     {sk}")
    for sk in found["deleted"]:
        say(f"  delete  {sk}")
    if yes:
        say("Next: eisbach status, until the twin has it")
    elif found["set"] or found["deleted"]:
        say("Next: the same with --yes")
    else:
        say("Next: nothing to do, the account is as it was then")
