"""``eisbach simulate``: the production code in a world of faults; one command repeats every failure."""

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eisbach.cli.shared import NOT_WELL, Shared, out, say, show_json, verb
from eisbach.kernel.errors import Invalid

if TYPE_CHECKING:
    from eisbach.testing.world.many import Summary
    from eisbach.testing.world.run import Result

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach simulate --seeds 200; eisbach simulate --seed 17; eisbach simulate --mutant no-dedupe"
_TIMELINE_LINES = 60


@verb
def command(
    *,
    shared: Shared,
    seeds: Annotated[
        int | None, typer.Option(help="How many seeds; 0 goes on until Ctrl-C.", min=0, show_default="100")
    ] = None,
    first: Annotated[int | None, typer.Option(help="The first of them.", min=0, show_default="0")] = None,
    seed: Annotated[int | None, typer.Option(help="One seed only, with its timeline.")] = None,
    mutant: Annotated[str, typer.Option(help="Plant a bug; 'all' plants each in turn, 'list' names them.")] = "",
    without: Annotated[str, typer.Option(help="With --seed: faults to leave out, as a failure prints them.")] = "",
    workers: Annotated[int, typer.Option(help="Processes; 0: one a core.", min=0)] = 0,
    report: Annotated[Path | None, typer.Option(help="Write a dated report into this folder.")] = None,
    elle: Annotated[
        Path | None, typer.Option("--elle", "--history", help="With --seed: write the history for Elle (EDN) here.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="With --mutant all: write the table into this page, between its marks.")
    ] = None,
) -> None:
    """Play seeds in the simulated world: crashes, cuts, torn disks, wrong clocks; judge every promise."""
    if seed is not None and (seeds is not None or first is not None):
        raise Invalid(
            "--seed plays that one seed with its timeline; leave out --seeds and --first, or leave out --seed"
        )
    if seed is None and (without or elle is not None):
        raise Invalid("--without and --history are for one seed: say which with --seed")
    seeds, first = 100 if seeds is None else seeds, first or 0
    if mutant == "list":
        _list_mutants(shared)
    elif mutant == "all":
        _every_mutant(shared, seeds, workers, table)
    elif seed is not None:
        _one(shared, seed, mutant, [part for part in without.split(",") if part], elle)
    else:
        _many(shared, iter(range(first, first + seeds)) if seeds else count(first), mutant, workers, report)


def _list_mutants(shared: Shared) -> None:
    from eisbach.testing.world.mutants import MUTANTS

    if shared.as_json:
        show_json({name: one.bug for name, one in MUTANTS.items()})
        return
    for name, one in sorted(MUTANTS.items()):
        say(f"{name} ({one.by}): {one.bug}")
    say("Next: eisbach simulate --mutant all --seeds 200")


def _one(shared: Shared, seed: int, mutant: str, without: list[str], history: Path | None) -> None:
    from eisbach.testing.world.faults import draw
    from eisbach.testing.world.many import close_volumes, volumes
    from eisbach.testing.world.mutants import planted
    from eisbach.testing.world.run import simulate

    with planted(mutant):
        result = simulate(seed, volumes(), without=without, keep=True)
    close_volumes()
    if history is not None:
        history.write_text(result.elle)
    if shared.as_json:
        show_json({"seed": seed, "breaches": result.breaches, "trace": result.trace, "timeline": result.timeline})
    else:
        for strike in draw(seed).without(without).strikes:
            say(f"plan: {strike}")
        for line in result.timeline:
            say(line)
        _verdict(result)
    raise typer.Exit(NOT_WELL if result.breaches else 0)


def _verdict(result: "Result") -> None:
    for breach in result.breaches:
        say(breach)
    if not result.breaches:
        say(
            f"Seed {result.seed}: every promise kept. {result.acknowledged} writes acknowledged in"
            f" {result.seconds:.0f} virtual seconds, {result.strikes} faults, equal {result.converged_s:.1f} s after"
            " the last one.\nNext: eisbach simulate --seeds 200"
        )


def _many(shared: Shared, seeds: Iterator[int], mutant: str, workers: int, report: Path | None) -> None:
    from eisbach.testing.world.many import Summary

    summary = Summary()
    # Ctrl-C, and what a supervisor sends: both end a long run with its report.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _play(shared, summary, seeds, mutant, workers)
    except KeyboardInterrupt:
        say("stopped")
    if report is not None:
        from eisbach.testing.world.report import write_report

        say(f"report: {write_report(report, summary)}")
    if shared.as_json:
        show_json(summary.document())
    else:
        _show(summary, mutant)
    raise typer.Exit(0 if summary.well else NOT_WELL)


def _play(shared: Shared, summary: "Summary", seeds: Iterator[int], mutant: str, workers: int) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from eisbach.testing.world.many import run_many

    with Progress(console=Console(stderr=True), disable=shared.as_json, transient=True) as bar:
        task = bar.add_task("seeds", total=None)
        for result, cpu_s in run_many(seeds, mutant=mutant, workers=workers or None):
            summary.add(result, cpu_s)
            bar.update(task, advance=1, description=f"seed {result.seed}, {len(summary.failed)} failed")


def _show(summary: "Summary", mutant: str) -> None:
    from eisbach.testing.world.aimed import SUITE
    from eisbach.testing.world.many import close_volumes, shrunk
    from eisbach.testing.world.many import command as repeat

    found: dict[str, Any] = summary.document()
    coverage = found["coverage"]
    say(
        f"{summary.seeds} seeds, {len(summary.failed)} failed; {summary.acknowledged} writes acknowledged,"
        f" {summary.conflicts} conflicts kept, {found['virtual_seconds']} virtual seconds,"
        f" {summary.strikes} strikes that hit their phase"
    )
    say(f"coverage: {coverage['hit']} of {coverage['pairs']} (phase x fault) pairs that can occur")
    say(
        f"{found['seeds_per_cpu_second']} seeds per CPU-second; longest convergence"
        f" {found['longest_convergence_s']} s; {summary.repeated} seeds run twice with the same trace"
    )
    for missing in coverage["missing"][:10]:
        say(f"not hit: {missing}")
    if summary.missed:
        say(
            f"{len(summary.missed)} pairs were not hit: seeds below {SUITE} have to hit all, see testing/world/aimed.py"
        )
    if not summary.failed:
        say("Next: eisbach simulate --seed 17 shows a run; --mutant all shows that the judge is not blind")
        return
    first = summary.failed[0]
    smallest, without = shrunk(first.seed, mutant=mutant)
    close_volumes()
    for line in smallest.timeline[-_TIMELINE_LINES:]:
        out().print(line, markup=False)
    for failed in summary.failed[:20]:
        say(f"seed {failed.seed}: {failed.breaches[0]}")
    say(f"Next: {repeat(first.seed, mutant=mutant, without=without)} (shrunk: {len(without)} faults do not matter)")


def _every_mutant(shared: Shared, seeds: int, workers: int, table: Path | None) -> None:
    from eisbach.testing.world.many import hunt

    rows = []
    for row in hunt(seeds, workers=workers or None):
        rows.append(row)
        if not shared.as_json:
            place = f"seed {row.seed} of {row.tried}: {row.breach}" if row.seed is not None else "NOT FOUND"
            say(f"{row.name}: {place}"[:200])
    missed = [row.name for row in rows if row.seed is None]
    if table is not None:
        from eisbach.testing.world.report import write_mutants

        write_mutants(table, rows, seeds=seeds)
    if shared.as_json:
        show_json({"mutants": [row.document() for row in rows], "missed": missed})
    else:
        tried = sorted(row.tried for row in rows)
        say(f"{len(rows) - len(missed)} of {len(rows)} mutants found, median after {tried[len(tried) // 2]} seeds")
        say("Next: docs/simulation.md says how to plant one of your own")
    raise typer.Exit(NOT_WELL if missed else 0)
