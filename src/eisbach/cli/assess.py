"""``eisbach assess PATH…``: what an existing system is made of, what takes it down, what to do first."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.kernel.errors import Invalid

if TYPE_CHECKING:
    from eisbach.plan.assess.assessment import Assessment
    from eisbach.plan.assess.findings import Finding

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach assess docker-compose.yml assess.yaml --out report.html --fail-on high"
_BY_ENDING = (".html", ".json", ".sarif", ".mmd")
_SHOWN = 12
_PASSED = 5


@verb
def command(
    *,
    shared: Shared,
    paths: Annotated[
        list[Path], typer.Argument(help="Files and folders: compose, manifests, templates, plans, traces.")
    ],
    write: Annotated[
        list[Path] | None, typer.Option("--out", help="Also write FILE: .html, .json, .sarif or .mmd (Mermaid).")
    ] = None,
    experiments: Annotated[Path | None, typer.Option(help="Folder for one Chaos Toolkit document a finding.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="JSON with ids of findings that are known.")] = None,
    fail_on: Annotated[str, typer.Option(help="Exit 1 at this severity or above: high, medium, low, none.")] = "none",
) -> None:
    """Read a system's own files, name every component and dependency with its line, and judge what takes it down.

    Nothing is executed or fetched, and nothing is guessed: what no file says is listed as unknown.
    """
    from eisbach.plan.assess.documents_out import as_json, read_baseline
    from eisbach.plan.assess.findings import SEVERITIES

    if fail_on not in (*SEVERITIES, "none"):
        raise Invalid(f"--fail-on {fail_on[:20]!r} is not one of {', '.join(SEVERITIES)}, none")
    for path in write or []:
        if path.suffix not in _BY_ENDING:
            raise Invalid(f"--out {path} ends in none of {', '.join(_BY_ENDING)}")
    known = read_baseline(baseline) if baseline else frozenset()
    found = _assessed(paths, quiet=shared.as_json)
    findings = [f for f in found.findings if f.identity not in known]
    for path in write or []:
        _write(path, found, findings)
    if experiments is not None:
        _experiments(experiments, found, findings)
    if shared.as_json:
        show_json(as_json(found, findings))
    else:
        _tell(found, findings, hidden=len(found.findings) - len(findings))
        _next(paths, write or [])
    if fail_on != "none" and any(SEVERITIES.index(f.severity) <= SEVERITIES.index(fail_on) for f in findings):
        raise typer.Exit(1)


def _assessed(paths: list[Path], *, quiet: bool) -> "Assessment":
    from rich.console import Console

    from eisbach.plan.assess.assessment import assess

    screen = Console(stderr=True)
    if quiet or not screen.is_terminal:
        return assess(paths)
    with screen.status("reading") as status:
        return assess(paths, told=lambda path: status.update(f"reading {path}"))


def _write(path: Path, found: "Assessment", findings: Sequence["Finding"]) -> None:
    from eisbach import __version__
    from eisbach.plan.assess.documents_out import as_json, mermaid, sarif

    if path.suffix == ".html":
        from eisbach.plan.assess.html import page

        path.write_text(page(found, findings, f"eisbach assess {__version__}, {len(found.graph.files)} files read"))
    elif path.suffix == ".mmd":
        path.write_text(mermaid(found, findings))
    else:
        document: Any = sarif(findings, __version__) if path.suffix == ".sarif" else as_json(found, findings)
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _experiments(folder: Path, found: "Assessment", findings: Sequence["Finding"]) -> None:
    from eisbach.plan.assess.experiments import chaos_experiment, fis_template

    folder.mkdir(parents=True, exist_ok=True)
    for number, finding in enumerate(findings, 1):
        stem = f"{number:03d}-{finding.rule}"
        (folder / f"{stem}.json").write_text(json.dumps(chaos_experiment(finding, found.graph), indent=1) + "\n")
        if (template := fis_template(finding, found.graph)) is not None:
            (folder / f"{stem}.fis.json").write_text(json.dumps(template, indent=1) + "\n")


def _counted(count: int, word: str) -> str:
    one, many = ("y", "ies") if word.endswith("c") else ("", "s")
    return f"{count} {word}{one if count == 1 else many}"


def _tell(found: "Assessment", findings: Sequence["Finding"], *, hidden: int) -> None:
    from eisbach.plan.assess.availability import availability, percent

    graph = found.graph
    counts = (len(graph.components), "component"), (len(graph.dependencies), "dependenc"), (len(graph.files), "file")
    _say("{}, {}, from {}".format(*(_counted(*pair) for pair in counts)))
    for file, why in graph.skipped[:_PASSED]:
        _say(f"passed over {file}: {why}")
    if (rest := len(graph.skipped) - _PASSED) > 0:
        _say(f"passed over {rest} more; the page and --json list them")
    for e in availability(graph, found.impact.structure)[:8]:
        moved = f"; {e.moves_most} moves it most" if e.moves_most else ""
        _say(f"journey {e.journey}: about {percent(e.value, 2)} available ({e.assumed} availabilities assumed{moved})")
    for f in findings[:_SHOWN]:
        via = f" via {f.via}" if f.via else ""
        _say(f"\n{f.severity.upper():<7} {f.rule}: {', '.join(f.components[:5])}{via}  ({f.evidence[0]})")
        _say(f"        {f.reasoning}\n        Do: {f.advice}")
    _say("")
    more = len(findings) - _SHOWN
    beyond = f", {more} more not shown" if more > 0 else ""
    known = f", {hidden} known" if hidden else ""
    _say(f"{_counted(len(findings), 'finding')}{beyond}{known}")
    for cut in found.cuts.found[:3]:
        _say(
            f"together {' and '.join(cut.members)} take {', '.join(cut.journeys[:4])} down, no smaller set of them does"
        )
    if found.cuts.candidates > 1:
        _say(f"looked at {found.cuts.bound()}")
    for unknown in graph.unknowns[:5]:
        _say(f"unknown: {unknown.about}: {unknown.what} ({unknown.evidence})")
    if any(j.assumed for j in graph.journeys):
        _say("no journeys are declared: each door was taken for one; say what viewers do in assess.yaml")


def _next(paths: Sequence[Path], written: Sequence[Path]) -> None:
    if written:
        _say(f"Next: look at {written[0]}")
    else:
        _say(f"Next: eisbach assess {' '.join(map(str, paths[:3]))} --out report.html")


def _say(text: str) -> None:
    """A line without control characters: names come from strangers' files, and a terminal obeys them."""
    say("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text))
