"""``eisbach cost``: what a planned platform costs, what a run cost, and how far the model is from a real bill."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eisbach.cli.shared import Shared, out, say, show_json, verb
from eisbach.kernel.errors import Invalid

if TYPE_CHECKING:
    from eisbach.plan.cost.prices import PriceBook
    from eisbach.plan.cost.report import Report

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach cost examples/cost/broadcaster.toml --out report.html --out lines.csv"
_WHAT = (
    "WORKLOAD.toml; or: compare BILL.csv [WORKLOAD.toml]; or: capture RUN.json [SECONDS]; or: refresh FOLDER [ADDRESS]."
)


@verb
def command(
    *,
    shared: Shared,
    what: Annotated[list[str], typer.Argument(help=_WHAT, metavar="WORKLOAD | compare | capture | refresh")],
    write: Annotated[list[Path] | None, typer.Option("--out", help="Also write FILE: .html, .json or .csv.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Folder of price files that lie over the shipped ones.")] = None,
    measured: Annotated[Path | None, typer.Option(help="RUN.json: price the units that engines counted.")] = None,
    design: Annotated[str | None, typer.Option(help="compare: the design that the bill is of.")] = None,
) -> None:
    """Price the designs of WORKLOAD as ranges, with formula and source of every line.

    compare holds the price list and the model against a Cost and Usage export. capture counts the units of the running
    platform for SECONDS (60) and writes a RUN. refresh reads AWS's public price list into FOLDER.
    """
    from eisbach.plan.cost.prices import load_prices

    action, *rest = what
    if action == "compare":
        from eisbach.cli.cost_more import compare

        compare(shared, rest, load_prices(prices), design)
    elif action == "capture":
        from eisbach.cli.cost_more import capture

        capture(shared, rest)
    elif action == "refresh":
        from eisbach.cli.cost_more import refresh

        refresh(shared, rest, load_prices(prices))
    elif rest:
        raise Invalid(f"cost takes one workload; {rest[0]!r} is one too many (compare, capture and refresh come first)")
    else:
        _plan(shared, Path(action), load_prices(prices), write or [], measured)


def _plan(shared: Shared, workload: Path, book: "PriceBook", write: list[Path], measured: Path | None) -> None:
    import datetime as dt

    from eisbach.plan.cost.report import as_json, report_of
    from eisbach.plan.cost.workload import load_workload

    today = dt.datetime.now(tz=dt.UTC).date()
    report = report_of(load_workload(workload), book, today=today)
    if measured is not None:
        from eisbach.cli.cost_more import show_measured

        show_measured(shared, measured, book, report)
        return
    for path in write:
        _write(path, report)
    if shared.as_json:
        show_json(as_json(report))
        return
    from eisbach.plan.cost.terminal import show

    show(report, out())
    for path in write:
        say(f"wrote {path}")
    if not write:
        say(f"Next: eisbach cost {workload} --out report.html for the page, --json for every line with its source")


def _write(path: Path, report: "Report") -> None:
    import json

    from eisbach.plan.cost.report import as_csv, as_json

    if path.suffix == ".html":
        from eisbach.plan.cost.html import as_html

        text = as_html(report)
    elif path.suffix == ".json":
        text = json.dumps(as_json(report), indent=2, ensure_ascii=False) + "\n"
    elif path.suffix == ".csv":
        text = as_csv(report)
    else:
        raise Invalid(f"--out {path}: the name must end in .html, .json or .csv")
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise Invalid(f"--out {path}: {error.strerror or error}") from error
