"""``eisbach restore``: an account or a cell as it was at any second of the last 35 days, or a cell's empty disk."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from eisbach.cli.accounts import ask_cell, ask_owners, cells, time_ms
from eisbach.cli.shared import Shared, out, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.kernel.errors import Invalid

if TYPE_CHECKING:
    from eisbach.control.slot_record import SlotRecord

__all__ = ["EXAMPLE", "command"]

EXAMPLE = """Example: eisbach restore a-0f3c9a52e1 --at 2026-11-25T20:15:07 --yes      (an account)
or: eisbach restore cell/eu-central/c1 --at 2026-11-25T20:15:07 --yes    (every account of a running cell)
or: eisbach fault down cell/eu-central/c1, move its store.db away, eisbach restore cell/eu-central/c1 --yes"""


@verb
def command(
    *,
    shared: Shared,
    what: Annotated[str, typer.Argument(help="Account id, or cell/REGION/CELL.")],
    at: Annotated[
        str | None,
        typer.Option("--at", help="As it was then: ISO 8601 (UTC unless it names a zone), or ms since 1970."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would change.")] = False,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="Another cell whose disk is gone, too: not asked for slots it gave."),
    ] = None,
) -> None:
    """Make an account's items, or a whole cell's, what they were; or fill an empty store from backups and its twin."""
    if what.startswith("cell/") and at is not None:
        _cell_at(shared, what, {"at_ms": time_ms(at), "dry_run": not yes})
    elif what.startswith("cell/"):
        _cell(shared, what, yes=yes, without=without or [])
    elif at is None:
        raise Invalid("to which second? add --at, e.g. --at 2026-11-25T20:15:07")
    else:
        _account(shared, what, {"at_ms": time_ms(at), "dry_run": not yes})


def _account(shared: Shared, account: str, body: dict[str, Any]) -> None:
    ((target, found),) = ask_owners(find(shared.settings().data), account, "restore", body).items()
    if shared.as_json:
        show_json({"target": target, **found})
        return
    words = "would restore" if body["dry_run"] else "restored"
    say(f"{target} {words} {len(found['set'])} items of {account} and delete {len(found['deleted'])}")
    for sk in found["set"]:
        say(f"  set     {sk}")
    for sk in found["deleted"]:
        say(f"  delete  {sk}")
    if not body["dry_run"]:
        say("Next: eisbach status, until the twin has it")
    elif found["set"] or found["deleted"]:
        say("Next: the same with --yes")
    else:
        say("Next: nothing to do, the account is as it was then")


def _cell_at(shared: Shared, target: str, body: dict[str, Any]) -> None:
    """Slot by slot; stopped in the middle, the same command goes on: what is done already changes nothing."""
    supervisor = find(shared.settings().data)
    url = cells(supervisor).get(target)
    if url is None:
        raise Invalid(f"{target} is no cell that runs and has viewers; see eisbach status")
    total = dict.fromkeys(("slots", "accounts", "changed", "set", "deleted"), 0)
    after, more = "", True
    with Progress(console=out(), transient=True, disable=shared.as_json) as bars:
        bar = bars.add_task("slots", total=None)
        while more:
            found = ask_cell(url, "/ops/restore", {**body, "after": after}, token=supervisor.token)
            after, more = found["slot"], found["more"]
            total["slots"] += bool(after)
            for name in ("accounts", "changed", "set", "deleted"):
                total[name] += found[name]
            bars.update(bar, advance=1)
    if shared.as_json:
        show_json({"target": target, **total, "dry_run": body["dry_run"]})
        return
    words = "would change" if body["dry_run"] else "changed"
    say(
        f"{target}: {total['accounts']} accounts in {total['slots']} slots were known then; {words} {total['changed']}:"
        f" {total['set']} items set, {total['deleted']} deleted"
    )
    say("Accounts that came later are left as they are; what was erased since stays erased.")
    say("Next: the same with --yes" if body["dry_run"] else "Next: eisbach status, until the twin has it")


def _move(record: "SlotRecord", region: str, cell: str) -> dict[str, Any]:
    """What became of a move that was under way when the cell was to be made anew."""
    gone = record.outcome == "committed"
    what = "had committed before it could be given up" if gone else "is given up"
    has = "and is restored here" if record.owner == cell else "and is not restored here"
    again = "" if gone else f"; eisbach cells move {record.slot} --to {record.target} --region {region} begins it anew"
    sentence = (
        f"{record.slot}: its move from {record.source} to {record.target} {what}: it is {record.owner}'s {has}{again}"
    )
    told = {name: getattr(record, name) for name in ("slot", "source", "target", "outcome", "owner")}
    return {**told, "sentence": sentence}


def _cell(shared: Shared, target: str, *, yes: bool, without: list[str]) -> None:
    from eisbach.bootstrap.restore_cell import holds_data
    from eisbach.deploy.laptop.restoring import moves_under_way, other_cells, read_cell, restore
    from eisbach.engines.embedded.clock import SystemClock

    os.umask(0o077)  # the store that is filled is its user's alone, like all that ``up`` writes
    data = shared.settings().data
    status = find(data).get("/ops/status")
    process = read_cell(Path(data).absolute(), target)
    others = other_cells(Path(data).absolute(), process, without=without)
    store = Path(process.folder) / "store.db"
    state = next((p["state"] for p in status["processes"] if p["target"] == target), "unknown")
    if state != "down":
        raise Invalid(f"{target} is {state}; take it down first: eisbach fault down {target}")
    if asyncio.run(holds_data(store, region=process.region, clock=SystemClock())):
        raise Invalid(f"{store} holds data; a restore fills an empty disk: move it away, with its -wal and -shm")
    if not yes:
        going = asyncio.run(moves_under_way(process))
        if shared.as_json:
            named = [{name: getattr(one, name) for name in ("slot", "source", "target")} for one in going]
            show_json({"target": target, "store": str(store), "dry_run": True, "moves": named})
            return
        twins = ", ".join(peer.region for peer in process.peers) or "no twin"
        say(f"would fill {store} from {process.backups or 'no backups'} and {twins}")
        for one in going:
            say(f"would give up the move of {one.slot} from {one.source} to {one.target}, unless it commits before")
        say("Next: the same with --yes")
        return
    moves: list[dict[str, Any]] = []

    def ended(record: "SlotRecord") -> None:
        moves.append(_move(record, process.region, process.cell))
        if not shared.as_json:
            say(moves[-1]["sentence"])

    with Progress(console=out(), transient=True, disable=shared.as_json) as bars:
        bar = bars.add_task("slots", total=None)

        def progress(done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total)

        found = asyncio.run(restore(process, others, progress, ended=ended))
    if shared.as_json:
        show_json(
            {
                "target": target,
                "slots": found.slots,
                "items": found.items,
                "ops": found.ops,
                "older": found.older,
                "epochs": found.epochs,
                "moves": moves,
            }
        )
        return
    say(f"{target}: {found.slots} slots, {found.items} items from backups, {found.ops} ops from its twins, new epochs")
    if found.older:
        say(f"{found.older} items and ops were in an older copy of its store, which is gone now, or in other cells")
    say(f"Next: eisbach heal {target}")
