"""``eisbach erase ACCOUNT``: an account erased for good, everywhere."""

from typing import Annotated

import typer

from eisbach.cli.accounts import ask_owners
from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach erase a-0f3c9a52e1 --yes"


@verb
def command(
    *,
    shared: Shared,
    account: Annotated[str, typer.Argument(help="Account id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Erase it; without this, only say what would go.")] = False,
) -> None:
    """Erase an account as its viewer would: items, op logs, twin, conflicts, and by its key all backups."""
    found_by = ask_owners(find(shared.settings().data), account, "erase", {"dry_run": not yes})
    ((target, found),) = found_by.items()
    if shared.as_json:
        show_json({"target": target, **found})
        return
    say(f"{target} {'erased' if yes else 'would erase'} {account}: {len(found['deleted'])} items")
    for sk in found["deleted"]:
        say(f"  {sk}")
    if yes:
        say("It cannot be undone. The twin follows with its op; its own backups lose the key within ten seconds.")
        say("Next: eisbach status, until the twin has it")
    else:
        say("Next: the same with --yes; it cannot be undone, not from backups either")
