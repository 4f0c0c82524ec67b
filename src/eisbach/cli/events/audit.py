"""``eisbach events audit``: the audit log of a region, and whether anybody changed it."""

import time
from typing import Annotated, Any, Final

import msgspec
import typer

from eisbach.cli.shared import NOT_WELL, Shared, say, show_json, verb
from eisbach.cli.talk import Supervisor, find
from eisbach.kernel.errors import Invalid
from eisbach.spokes.audit import PAGE_MAX, AuditEntry, broken_at

__all__ = ["EXAMPLE", "command"]

EXAMPLE: Final = "Example: eisbach events audit eu-central --type tv.catalog --limit 20"


@verb
def command(
    region: Annotated[str, typer.Argument(help="Whose log; every region logs the events of all.")] = "",
    *,
    shared: Shared,
    kind: Annotated[str, typer.Option("--type", help="Only event types that begin so.")] = "",
    subject: Annotated[str, typer.Option(help="Only this subject.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The last so many.")] = 50,
) -> None:
    """What was published, taken down, uploaded, rejected, created, erased; every digest is checked while reading."""
    supervisor = find(shared.settings().data)
    regions = [one["name"] for one in supervisor.get("/ops/status")["regions"]]
    where = region or regions[0]
    if where not in regions:
        raise Invalid(f"region {where[:40]!r} is none of {', '.join(regions)}")
    entries, broken, first = _read(supervisor, where)
    wanted = [e for e in entries if e.type.startswith(kind) and (not subject or e.subject == subject)][-limit:]
    if shared.as_json:
        show_json({"region": where, "entries": wanted, "read": len(entries), "first": first, "broken_at": broken})
    else:
        for e in wanted:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(e.at_ms / 1000))
            say(f"{e.number:>7}  {at}  {e.origin:<12} {e.type.removeprefix('tv.'):<32} {e.subject}")
        last = entries[-1].digest[:16] if entries else "none"
        kept = f" (those before {first} are no longer kept)" if first > 1 else ""
        say(f"{len(entries)} entries{kept}, newest digest {last}…; {'all follow' if broken is None else 'BROKEN'}")
        if broken is not None:
            say(f"entry {broken} does not follow from the one before it: somebody changed the log")
        say("Next: keep the newest digest elsewhere; a later log must contain it")
    if broken is not None:
        raise typer.Exit(NOT_WELL)


def _read(supervisor: Supervisor, region: str) -> tuple[list[AuditEntry], int | None, int]:
    """Every entry, the number of the first that does not follow, and that of the oldest that is kept."""
    entries: list[AuditEntry] = []
    first = 1
    while True:
        after = entries[-1] if entries else None
        path = f"/ops/audit/{region}?after={after.number if after else 0}&limit={PAGE_MAX}"
        found: Any = supervisor.get(path)
        page = msgspec.convert(found["entries"], list[AuditEntry])
        first = first if entries else int(found["first"])
        if (broken := broken_at(page, after=after, first=first)) is not None:
            return [*entries, *page], broken, first
        entries += page
        if len(page) < PAGE_MAX:
            return entries, None, first
