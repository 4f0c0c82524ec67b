"""The dated report of a long run, and the table of mutants in the documents."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Invalid
from eisbach.testing.world.many import Found, Summary, command
from eisbach.testing.world.mutants import MUTANTS
from eisbach.testing.world.mutants_held import HELD_BY

__all__ = ["write_mutants", "write_report"]

_BEGIN: Final = "<!-- mutants: written by eisbach simulate --mutant all --table -->"
_END: Final = "<!-- end of mutants -->"


def write_report(folder: Path, summary: Summary) -> Path:
    """Write ``simulation-YYYY-MM-DD.md``; a second one of a day gets a number."""
    today = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")
    folder.mkdir(parents=True, exist_ok=True)
    names = (folder / f"simulation-{today}{suffix}.md" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    path = next(name for name in names if not name.exists())
    found = summary.document()
    coverage = found["coverage"]
    lines = [
        f"# Simulation, {today}",
        "",
        f"- seeds: {summary.seeds}, of which {summary.repeated} were run twice and gave the same trace",
        f"- failed: {len(summary.failed)}",
        f"- writes acknowledged: {summary.acknowledged}; conflicts kept: {summary.conflicts}",
        f"- virtual time: {found['virtual_seconds']} s; longest convergence: {found['longest_convergence_s']} s",
        f"- coverage: {coverage['hit']} of {coverage['pairs']} (phase, fault) pairs",
        f"- speed: {found['seeds_per_cpu_second']} seeds per CPU-second",
    ]
    lines += [f"- not hit: {missing}" for missing in coverage["missing"]]
    for failed in summary.failed:
        lines += ["", f"## Seed {failed.seed}", "", f"    {command(failed.seed)}", "", *failed.breaches[:5]]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_mutants(page: Path, rows: Sequence[Found], *, seeds: int) -> None:
    """Replace the table of mutants in a page.

    Raises:
        Invalid: the page has no place for it.
    """
    before, begin, rest = page.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise Invalid(f"{page} has no place for the table: put it between {_BEGIN} and {_END}")
    tried = sorted(row.tried for row in rows)
    found = [row for row in rows if row.seed is not None]
    median = tried[len(tried) // 2]
    today = f"{dt.datetime.now(dt.UTC):%d %B %Y}"
    others = [row for row in rows if row.seed is None]
    held = sum(row.name in HELD_BY for row in others)
    how_many = (
        f"{len(found)} of {len(rows)} found within {seeds} seeds each, from seed 0; median {median} seeds ({today})."
        f" {held} others are found by the test that is named; {len(others) - held} by nothing."
    )
    lines = [
        how_many,
        "",
        "| mutant | the bug | by | found after | as |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row.tried, row.name)):
        one, test = MUTANTS[row.name], HELD_BY.get(row.name)
        if row.seed is not None:
            place, found_as = f"{row.tried} (seed {row.seed})", row.breach.partition(" ")[0]
        else:
            place, found_as = ("by test", f"`{test}`") if test else ("**not found**", "")
        lines.append(f"| {row.name} | {one.bug} | {one.by} | {place} | {found_as} |")
    page.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + end + after)
