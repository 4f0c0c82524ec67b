"""The other words of ``eisbach cost``: compare, capture, refresh and ``--measured``."""

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from eisbach.cli.shared import Shared, out, say, show_json
from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.bill import Bill
from eisbach.plan.cost.prices import PriceBook
from eisbach.plan.cost.report import Report, cents, per
from eisbach.plan.cost.terminal import usd

if TYPE_CHECKING:
    from eisbach.plan.cost.compare import Comparison

__all__ = ["capture", "compare", "refresh", "show_measured"]

_SECONDS_MAX = 3600
_SHOWN = 15
_WIDE = 130
"""Columns that the tables with all that they are made of need."""
_TIMES = 10
"""From so many times on, an error is shown as a factor."""


def capture(shared: Shared, words: list[str]) -> None:
    """Count the cells' units for a while and write a RUN.

    Raises:
        Invalid: wrong words, or no cell answered both times.
    """
    from eisbach.cli.talk import find
    from eisbach.plan.cost.units import difference

    if not 1 <= len(words) <= 2:
        raise Invalid("cost capture takes RUN.json and perhaps SECONDS, e.g. eisbach cost capture run.json 60")
    path, seconds = Path(words[0]), _seconds(words[1] if len(words) > 1 else "60")
    supervisor = find(shared.settings().data)
    before, began = supervisor.get("/ops/figures")["cells"], time.monotonic()
    _wait(seconds, shared)
    after, ended = supervisor.get("/ops/figures")["cells"], time.monotonic()
    run = difference(before, after, ended - began)
    try:
        path.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    if shared.as_json:
        show_json(run)
        return
    say(f"wrote {path}: {len(run['cells'])} cells, {run['plays']} plays in {run['seconds']} s")
    say(f"Next: eisbach cost WORKLOAD.toml --measured {path}")


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _SECONDS_MAX and len(text) <= 4):
        raise Invalid(f"SECONDS {text[:40]!r} is not a whole number from 1 to {_SECONDS_MAX}")
    return int(text)


def _wait(seconds: int, shared: Shared) -> None:
    if shared.as_json:
        time.sleep(seconds)
        return
    from rich.progress import track

    for _ in track(range(seconds), description="counting", console=out(), transient=True):
        time.sleep(1)


def show_measured(shared: Shared, path: Path, book: PriceBook, report: Report) -> None:
    """Price a RUN, and hold its cost a million plays against the model's.

    Raises:
        Invalid: the RUN breaks its schema.
    """
    from eisbach.plan.cost.units import load_run, price_run

    run = load_run(path)
    bill = price_run(run, book)
    plays = per(bill.total, run.plays) * 10**6
    model = report.reference.bill
    comparable = sum((model.group(name) for name in ("front door", "data")), Decimal(0))
    expected = per(comparable, report.usage.plays) * 10**6
    if shared.as_json:
        show_json(_measured(bill, run.seconds, run.plays, plays, expected))
        return
    wide = out().width >= _WIDE
    table = _table("line", "region", "counted", *(("price",) if wide else ()), "USD", *(("how",) if wide else ()))
    for line in bill.lines:
        amount = "unpriced" if line.amount is None else f"{line.amount:.6f}"
        counted = f"{line.quantity:,.0f} {line.price.unit}"
        cells = [line.item, line.price.region, counted, line.price.id, amount, line.formula]
        table.add_row(*(cells if wide else [*cells[:3], amount]))
    out().print(table)
    say(f"{run.plays} plays in {run.seconds} s: {bill.total:.6f} USD for what was counted, nothing scaled")
    if run.plays:
        say(
            f"a million plays like these: {usd(plays)}; the model says {usd(expected)} for front door and data"
            f" ({report.reference.design.name})"
        )
    say("Next: correct the workload where both differ; a cell does not count egress and events")


def _measured(bill: Bill, seconds: Decimal, plays: Decimal, each: Decimal, expected: Decimal) -> dict[str, Any]:
    return {
        "schema": "eisbach.cost.measured/1",
        "seconds": str(seconds),
        "plays": str(plays),
        "total": format(bill.total.quantize(Decimal("1e-9")), "f"),
        "per_million_plays": cents(each) if plays else None,
        "model_per_million_plays": cents(expected),
        "lines": [
            {
                "item": line.item,
                "region": line.price.region,
                "quantity": format(line.quantity, "f"),
                "price_id": line.price.id,
                "amount": None if line.amount is None else format(line.amount.quantize(Decimal("1e-9")), "f"),
                "formula": line.formula,
            }
            for line in bill.lines
        ],
    }


def compare(shared: Shared, words: list[str], book: PriceBook, design: str | None) -> None:
    """Hold price list and model against a bill.

    Raises:
        Invalid: wrong words or files, or no such design.
    """
    from eisbach.plan.cost.compare import compare as compared
    from eisbach.plan.cost.compare import read_bill

    if not 1 <= len(words) <= 2:
        raise Invalid("cost compare takes BILL.csv and perhaps a workload, e.g. eisbach cost compare bill.csv w.toml")
    bill = _modelled(Path(words[1]), book, design) if len(words) > 1 else None
    rows, left_out = read_bill(Path(words[0]))
    found = compared(rows, left_out, book, bill)
    if shared.as_json:
        show_json(_comparison(found))
        return
    _show_comparison(found, modelled=bill is not None)


def _modelled(path: Path, book: PriceBook, name: str | None) -> Bill:
    from eisbach.plan.cost.model import bill_of
    from eisbach.plan.cost.nearest import nearest
    from eisbach.plan.cost.workload import load_workload

    workload = load_workload(path)
    names = [d.name for d in workload.designs]
    wanted = name or names[0]
    if wanted not in names:
        raise Invalid(f"{path} has no design {wanted!r}{nearest(wanted, names)}")
    return bill_of(workload.point(), workload.designs[names.index(wanted)], book, workload.architecture)


def _percent(error: Decimal | None) -> str:
    if error is None:
        return ""
    return f"{error * 100:+.1f} %" if error < _TIMES else f"x {error + 1:,.0f}"


def _show_comparison(found: "Comparison", *, modelled: bool) -> None:
    columns = ("usage type", "price", "units", "billed", "priced", "error") + (("model", "error") if modelled else ())
    wide = out().width >= _WIDE  # else what the errors are made of is left to --json
    shown = [i for i, name in enumerate(columns) if wide or name not in ("price", "units", "priced")]
    table = _table(*(columns[i] for i in shown))
    for line in found.lines:
        row = [line.usage_type, line.price_id, f"{line.billed_units:,.0f}", usd(line.billed)]
        row += ["unpriced" if line.priced is None else usd(line.priced), _percent(line.price_error)]
        if modelled:
            row += ["" if line.modelled is None else usd(line.modelled), _percent(line.model_error)]
        table.add_row(*(row[i] for i in shown))
    out().print(table)
    total = per(found.priced - found.billed, found.billed)
    say(f"{usd(found.billed)} billed for what the price list knows, {usd(found.priced)} by it: {_percent(total)}")
    for row_ in found.unmatched[:_SHOWN]:
        say(f"unmatched: {row_.service} {row_.usage_type} {usd(row_.cost)}")
    if more := len(found.unmatched) - _SHOWN:
        say(f"and {more} more unmatched usage types") if more > 0 else None
    for words, amount in found.missing[:_SHOWN]:
        say(f"in the model, not in the bill: {words} {usd(amount)}")
    say(f"{found.left_out} rows are no usage (tax, credits, fees) and were left out")
    say("Next: a price error means an old or a private price (cost refresh); a model error an assumption to correct")


def _comparison(found: "Comparison") -> dict[str, Any]:
    return {
        "schema": "eisbach.cost.comparison/1",
        "billed": cents(found.billed),
        "priced": cents(found.priced),
        "lines": [
            {
                "usage_type": x.usage_type,
                "price_id": x.price_id,
                "units": format(x.billed_units, "f"),
                "billed": cents(x.billed),
                "priced": None if x.priced is None else cents(x.priced),
                "price_error": None if x.price_error is None else f"{x.price_error:.4f}",
                "modelled": None if x.modelled is None else cents(x.modelled),
                "model_error": None if x.model_error is None else f"{x.model_error:.4f}",
            }
            for x in found.lines
        ],
        "unmatched": [
            {"service": r.service, "usage_type": r.usage_type, "operation": r.operation, "billed": cents(r.cost)}
            for r in found.unmatched
        ],
        "missing": [{"line": words, "modelled": cents(amount)} for words, amount in found.missing],
        "rows_left_out": found.left_out,
    }


def refresh(shared: Shared, words: list[str], book: PriceBook) -> None:
    """Read AWS's price list and write one file a region.

    Raises:
        Invalid: wrong words, a folder that cannot be written, or not one row could be read.
    """
    import datetime as dt

    from eisbach.plan.cost.prices import document
    from eisbach.plan.cost.refresh import PRICE_LIST
    from eisbach.plan.cost.refresh import refresh as read_all

    if not 1 <= len(words) <= 2:
        raise Invalid("cost refresh takes the FOLDER to write, and perhaps a mirror's address")
    folder, base = Path(words[0]), words[1] if len(words) > 1 else PRICE_LIST
    if not shared.as_json:
        say(f"reading {base}; files of up to 96 MB, a minute each at most")
    rows = read_all(book, today=dt.datetime.now(tz=dt.UTC).date(), base=base)
    read = [row for row in rows if not row.why]
    if not read:
        raise Invalid(f"not one price could be read from {base}: {rows[-1].why}; the prices stay as they are")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for region in sorted({row.price.region for row in rows}):
            text = document(region, [row.price for row in rows if row.price.region == region])
            (folder / f"{region}.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{folder}: {error.strerror or error}") from error
    changed = [row for row in read if list(row.price.tiers) != list(row.before.tiers)]
    if shared.as_json:
        kept = [{"region": r.price.region, "id": r.price.id, "why": r.why} for r in rows if r.why]
        names = [{"region": r.price.region, "id": r.price.id} for r in changed]
        show_json({"read": len(read), "changed": names, "kept": kept, "folder": str(folder)})
        return
    for row in rows:
        if row.why:
            say(f"kept {row.price.region} {row.price.id}: {row.why}")
    say(f"{len(read)} of {len(rows)} prices read, {len(changed)} changed; written to {folder}")
    say(f"Next: eisbach cost WORKLOAD.toml --prices {folder}")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(
            column,
            justify="left" if index == 0 else "right",
            no_wrap=column not in ("how", "usage type"),
            overflow="fold",
        )
    return table
