"""The dated report of a long run."""

import datetime as dt
from pathlib import Path

from eisbach.testing.world.many import Summary, command

__all__ = ["write_report"]


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
