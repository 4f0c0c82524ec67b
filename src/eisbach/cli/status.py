"""``eisbach status``: who is hurt, since when, what changed last, the next safe command; then every process."""

from typing import Any

import typer

from eisbach.cli.shared import NOT_WELL, Shared, out, say, show_json, verb
from eisbach.cli.talk import find

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach status --json | jq .sentence"
_COLOURS = {
    "ready": "green",
    "up": "green",
    "starting": "yellow",
    "waiting": "yellow",
    "slow": "yellow",
    "degraded": "yellow",
}


@verb
def command(*, shared: Shared) -> None:
    """Say who is hurt, since when, what changed last and what to do next; exit code 1 when not all is well."""
    supervisor = find(shared.settings().data)
    status = supervisor.get("/ops/status")
    if shared.as_json:
        show_json(status)
    else:
        _show(status)
        pages = supervisor.facts.get("pages", "")
        for page in ("demo", "console"):
            say(f"{page:8} {pages}/{page}/?token={supervisor.post('/ops/tickets', {})['token']}")
        say(f"Next: {status['next']}")
    raise typer.Exit(0 if status["ready"] else NOT_WELL)


def _show(status: dict[str, Any]) -> None:
    out().print(status["sentence"], style="bold red" if status["hurt"] else "bold", markup=False)
    for one in (*status["frozen"], *status["unfinished"]):
        if one["sentence"] not in status["sentence"]:
            say(f"notice  {one['sentence']}")
    for region in status["regions"]:
        colour = _COLOURS.get(region["state"], "red")
        out().print(
            f"[{colour}]{region['state']:<9}[/{colour}] region {region['name']}  {region['edge']}  {region['origin']}"
        )
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("target", "state", "pid", "restarts", "req/s", "url"):
        table.add_column(title, overflow="fold")
    for row in status["processes"]:
        colour = _COLOURS.get(row["state"], "red")
        rate = "" if row["requests_per_s"] is None else f"{row['requests_per_s']:g}"
        pid, restarts = row["pid"] or "", row["restarts"] or ""
        table.add_row(row["target"], f"[{colour}]{row['state']}[/]", f"{pid}", f"{restarts}", rate, row["url"])
    out().print(table)
    for row in status["replication"]:
        lag = "unknown" if row["lag_ms"] is None else f"{row['lag_ms']:g} ms"
        ops = "an unknown number of" if row["ops_behind"] is None else row["ops_behind"]
        say(f"twin    {row['to']} is {lag} and {ops} ops behind {row['from']}")
    for row in status["hub"]:
        if row["backlog"] or row["dead_letters"]:
            say(f"hub     {row['region']} {row['spoke']}: backlog {row['backlog']}, dead letters {row['dead_letters']}")
    for row in status["jobs"]:
        if row["state"] == "active":
            say(f"job     {row['region']} {row['asset']} {row['kind']}: {row['done']} of {row['total']}")
    for row in status["faults"]:
        say(f"fault   {row['kind']} {row['target']} {row['other']}".rstrip())
    demo = status["demo"]
    if demo["state"] not in ("none", "ready"):
        say(f"demo    {demo['state']}: {demo['done']} of {demo['total']} {demo['detail']}")
