"""``eisbach burst rehearse | steer``: containers for the steady load, functions above it; rehearsed, and on AWS."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.kernel.errors import Invalid, Retryable

if TYPE_CHECKING:
    from eisbach.control.burst import Decision, Expected, Reading
    from eisbach.deploy.aws.burst_file import BurstFile
    from eisbach.deploy.burst.handler import Handler
    from eisbach.deploy.burst.report import Report
    from eisbach.plan.cost.prices import PriceBook

__all__ = ["COMMANDS"]

_TRACES_MAX, _VIEWERS_MAX = 8, 10_000_000


@verb
def command(
    *,
    shared: Shared,
    traces: Annotated[
        list[str], typer.Argument(help="kick-off, exit-wave, ordinary-day, or FILE.csv of second,calls_per_s.")
    ],
    viewers: Annotated[int, typer.Option(help="Viewers of the built-in traces.")] = 50_000,
    workload: Annotated[Path | None, typer.Option(help="Cost workload whose average call is the handler.")] = None,
    handler: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=VALUE: cpu_ms, wait_ms, memory_mb, task_vcpu, task_gb, architecture, environments."),
    ] = None,
    expect: Annotated[list[str] | None, typer.Option(help="FROM-UNTIL:RATE in seconds, known before FILE.csv.")] = None,
    region: Annotated[str, typer.Option(help="Region of the price list.")] = "eu-central-1",
    prices: Annotated[Path | None, typer.Option(help="Folder of price files that lie over the shipped ones.")] = None,
    write: Annotated[Path | None, typer.Option("--out", help="Also write FILE.html.")] = None,
) -> None:
    """Play traces of load against the burst controller and against functions alone and containers alone.

    Prints break-even, cost and refused calls of each. Nothing runs on AWS; the controller is the real one.
    """
    from eisbach.deploy.burst.handler import policy_of, prices_of
    from eisbach.deploy.burst.report import as_json, report_of
    from eisbach.plan.cost.prices import load_prices

    if not 1 <= viewers <= _VIEWERS_MAX:
        raise Invalid(f"--viewers {viewers}: it must be from 1 to {_VIEWERS_MAX}")
    if write is not None and write.suffix != ".html":
        raise Invalid(f"--out {write}: the name must end in .html")
    book = load_prices(prices)
    measured = _handler(workload, handler or [], book, region)
    rates, booked = _loads(traces, viewers, [_booking(text) for text in expect or []])
    report = report_of(
        rates,
        booked,
        measured,
        policy_of(measured, book, region),
        region=region,
        prices={name: format(price, "f") for name, price in prices_of(measured, book, region).items()},
    )
    if write is not None:
        _write(write, report)
    if shared.as_json:
        show_json(as_json(report))
    else:
        _show(report, write, traces)


def _handler(workload: Path | None, given: list[str], book: "PriceBook", region: str) -> "Handler":
    import dataclasses

    from eisbach.deploy.burst.handler import Handler, handler_of
    from eisbach.plan.cost.workload import load_workload

    base = Handler() if workload is None else handler_of(load_workload(workload), book, region)
    known = [field.name for field in dataclasses.fields(Handler)]
    for text in given:
        name, _, value = text.partition("=")
        if name not in known or not value:
            raise Invalid(f"--handler {text[:60]!r}: it is FIELD=VALUE with FIELD one of {', '.join(known)}")
        if name == "architecture":
            base = dataclasses.replace(base, architecture=value)
            continue
        try:
            number = Decimal(value)
        except InvalidOperation as error:
            raise Invalid(f"--handler {text[:60]!r}: {value[:40]!r} is not a number") from error
        base = dataclasses.replace(base, **{name: number})  # type: ignore[arg-type]  # the only text field is above
    return base


def _loads(
    names: list[str], viewers: int, given: "list[Expected]"
) -> "tuple[dict[str, list[float]], dict[str, tuple[Expected, ...]]]":
    from eisbach.deploy.burst.traces import BOOKED, TRACES, read_trace

    if len(names) > _TRACES_MAX:
        raise Invalid(f"{len(names)} traces; at most {_TRACES_MAX} in one rehearsal")
    rates: dict[str, list[float]] = {}
    booked: dict[str, tuple[Expected, ...]] = {}
    for name in names:
        if name in TRACES:
            rates[name] = TRACES[name](viewers)
            booked[name] = BOOKED[name](viewers) if name in BOOKED else ()
        elif name.endswith(".csv"):
            trace = Path(name).stem
            if trace in rates:
                raise Invalid(f"two traces are named {trace!r}; rename one of the files")
            rates[trace], booked[trace] = read_trace(Path(name)), tuple(given)
        else:
            raise Invalid(f"trace {name[:60]!r} is none of {', '.join(TRACES)} and no .csv file")
    return rates, booked


def _booking(text: str) -> "Expected":
    import re

    from eisbach.control.burst import Expected

    found = re.fullmatch(r"(\d{1,7})-(\d{1,7}):(\d{1,9})", text, re.ASCII)
    if found is None or int(found[1]) >= int(found[2]):
        raise Invalid(f"--expect {text[:40]!r}: it is FROM-UNTIL:RATE, e.g. 1800-5400:3600, with FROM before UNTIL")
    return Expected(from_s=float(found[1]), until_s=float(found[2]), rate=float(found[3]))


def _write(path: Path, report: "Report") -> None:
    from eisbach.deploy.burst.page import as_html

    try:
        path.write_text(as_html(report), encoding="utf-8", newline="")
    except OSError as error:
        raise Invalid(f"--out {path}: {error.strerror or error}") from error


def _show(report: "Report", write: Path | None, traces: list[str]) -> None:
    from rich.table import Table

    from eisbach.cli.shared import out
    from eisbach.deploy.burst.page import headline

    say(headline(report))
    for one in report.rehearsed:
        table = Table(title=f"{one.trace}: {one.seconds / 3600:.1f} h, {one.peak:,.0f} calls/s at the peak", box=None)
        table.add_column("way", no_wrap=True)
        for head in ("calls", "refused", "base", "functions", "together", "weights"):
            table.add_column(head, justify="right", no_wrap=True)
        for o in one.outcomes:
            dollars = (f"${x:,.2f}" for x in (o.base_dollars, o.spill_dollars, o.dollars))
            table.add_row(o.strategy, f"{o.calls:,.0f}", f"{o.refused:,.0f}", *dollars, f"{o.weight_changes}")
        out().print(table)
    say("Models, not measurements; docs/burst.md says which. Never run on AWS.")
    if write is None:
        say(f"Next: eisbach burst rehearse {' '.join(traces)} --out burst.html for the curves")
    else:
        say(f"wrote {write}")


@verb
def steer_aws(
    *,
    shared: Shared,
    file: Annotated[Path, typer.Argument(help="BURST.toml: what is steered, and the handler (docs/burst.md).")],
    once: Annotated[bool, typer.Option("--once", help="One step, then stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and decide, change nothing.")] = False,
    prices: Annotated[Path | None, typer.Option(help="Folder of price files that lie over the shipped ones.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Address of an emulator, instead of AWS.")] = None,
) -> None:
    """Set balancer weights and the count of tasks on AWS by the load, every period, until stopped.

    Needs the extra [deploy] and AWS credentials in the environment. A failure that may pass changes nothing.
    """
    import asyncio

    from eisbach.deploy.aws.burst_file import load_burst_file
    from eisbach.plan.cost.prices import load_prices

    asyncio.run(_steer(shared, load_burst_file(file), load_prices(prices), (once, dry_run, endpoint)))


async def _steer(shared: Shared, told: "BurstFile", book: "PriceBook", how: tuple[bool, bool, str | None]) -> None:
    from eisbach.control.burst import BurstState, decide
    from eisbach.deploy.aws.burst import open_burst, steer
    from eisbach.deploy.aws.burst_file import expected_of
    from eisbach.deploy.burst.handler import policy_of
    from eisbach.engines.embedded.clock import SystemClock

    once, dry_run, endpoint = how
    clock = SystemClock()
    policy = policy_of(told.measured(), book, told.placement.region, units_min=told.units_min, units_max=told.units_max)
    expected = expected_of(told, wall_ms=clock.wall_ms(), monotonic_ms=clock.monotonic_ms())
    async with open_burst(told.place(), endpoint=endpoint) as burst:
        if dry_run:
            reading = await burst.read(wall_ms=clock.wall_ms(), monotonic_ms=clock.monotonic_ms())
            _step(shared, reading, decide(policy, BurstState(), reading, expected), "would set")
            return
        async for made in steer(burst, policy, clock=clock, every_s=told.every_s, expected=expected):
            if isinstance(made, Retryable):
                if once:
                    raise made
                say(f"held: {made}")
            else:
                changed = [word for word, done in (("weights", made.weights_set), ("count", made.count_set)) if done]
                _step(shared, made.reading, made.decision, f"set {' and '.join(changed) or 'nothing'}")
            if once:
                return


def _step(shared: Shared, reading: "Reading", decision: "Decision", what: str) -> None:
    if shared.as_json:
        show_json(
            {
                "calls_per_s": round(reading.rate, 2),
                "units_running": reading.units,
                "units": decision.units,
                "spill_thousandths": decision.spill,
                "why": decision.why,
                "done": what,
            }
        )
    else:
        say(
            f"{reading.rate:,.1f} calls/s on {reading.units} tasks: {decision.units} tasks, "
            f"{decision.spill / 10:.1f} % to functions ({decision.why}); {what}"
        )


COMMANDS = {
    "rehearse": (command, "Example: eisbach burst rehearse kick-off exit-wave ordinary-day --out burst.html"),
    "steer": (steer_aws, "Example: eisbach burst steer burst.toml --dry-run"),
}
"""Name -> (function, example)."""
