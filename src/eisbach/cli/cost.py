"""``eisbach cost``: what a planned platform costs, as ranges that can be defended line by line."""

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
_WORDS = "WORKLOAD.toml"


@verb
def command(
    *,
    shared: Shared,
    words: Annotated[list[str], typer.Argument(help=_WORDS, metavar="WORKLOAD")],
    write: Annotated[list[Path] | None, typer.Option("--out", help="Also write FILE: .html, .json or .csv.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Folder of price files that lie over the shipped ones.")] = None,
) -> None:
    """Price the designs of WORKLOAD as ranges, with formula and source of every line."""
    from eisbach.plan.cost.prices import load_prices

    book = load_prices(prices)
    _plan(shared, Path(words[0]), book, write or [])


def _plan(shared: Shared, workload: Path, book: "PriceBook", write: list[Path]) -> None:
    import datetime as dt

    from eisbach.plan.cost.report import as_json, report_of
    from eisbach.plan.cost.workload import load_workload

    today = dt.datetime.now(tz=dt.UTC).date()
    report = report_of(load_workload(workload), book, today=today)
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
