"""``eisbach burst rehearse``: prices from the list, the break-even of this handler, a page that stands alone."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.deploy.burst.handler import Handler, handler_of, policy_of, spill_growth
from eisbach.kernel.errors import Invalid
from eisbach.plan.cost.prices import PriceBook, load_prices
from eisbach.plan.cost.workload import load_workload

REGION = "eu-central-1"
BROADCASTER = Path(__file__).parents[2] / "examples" / "cost" / "broadcaster.toml"


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(application(), ["burst", *words])
    return done.exit_code, done.output


@pytest.fixture
def minute(tmp_path: Path) -> Path:
    path = tmp_path / "evening.csv"
    path.write_text("second,calls_per_s\n" + "".join(f"{n},{50 if n < 300 else 900}\n" for n in range(900)))
    return path


def test_the_break_even_is_where_a_unit_costs_what_its_calls_would_as_functions() -> None:
    book = load_prices()
    policy = policy_of(Handler(), book, REGION)
    hour = Decimal("0.5") * book.get(REGION, "fargate.vcpu_hour.arm").tiers[0].price
    hour += book.get(REGION, "fargate.gb_hour.arm").tiers[0].price
    call = Decimal("0.02") * Decimal("0.5") * book.get(REGION, "lambda.gb_second.arm").tiers[0].price
    call += book.get(REGION, "lambda.request").tiers[0].price

    assert policy.break_even == pytest.approx(float(hour / 3600 / call))


def test_a_handler_that_waits_is_dearer_as_a_function_and_the_same_as_a_container() -> None:
    book = load_prices()
    quick, patient = (policy_of(Handler(wait_ms=Decimal(w)), book, REGION) for w in (1, 100))

    assert patient.spill_price_call > quick.spill_price_call
    assert (patient.unit_rate, patient.unit_price_hour) == (quick.unit_rate, quick.unit_price_hour)


def test_short_calls_are_bounded_by_ten_a_second_an_environment_and_long_ones_by_their_time() -> None:
    book = load_prices()
    short, long = (Handler(cpu_ms=Decimal(1), wait_ms=Decimal(w)) for w in (0, 996))

    assert policy_of(short, book, REGION).spill_rate_max == 10_000
    assert policy_of(long, book, REGION).spill_rate_max == pytest.approx(1_000, rel=1e-3)
    assert spill_growth(short) == 10_000


def test_an_unknown_price_is_refused_and_never_taken_as_nothing() -> None:
    book = load_prices()
    price = book.get(REGION, "lambda.request")
    unknown = book.replaced(
        [type(price)(**{**{f: getattr(price, f) for f in price.__dataclass_fields__}, "tiers": ()})]
    )

    with pytest.raises(Invalid, match=r"lambda\.request of eu-central-1 is unknown"):
        policy_of(Handler(), unknown, REGION)
    with pytest.raises(Invalid, match="no prices for region"):
        policy_of(Handler(), PriceBook({}), REGION)


def test_the_handler_of_a_workload_is_its_average_call() -> None:
    workload, book = load_workload(BROADCASTER), load_prices()
    handler = handler_of(workload, book, REGION)

    assert Decimal("0.1") < handler.cpu_ms < 10
    assert handler.memory_mb == workload.point()["compute.lambda_memory_mb"]


@pytest.mark.parametrize("wrong", [{"cpu_ms": "0"}, {"memory_mb": "64"}, {"environments": "NaN"}, {"task_vcpu": "99"}])
def test_a_handler_that_cannot_be_is_refused_with_its_bounds(wrong: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=r"handler: \w+ is .*; it must be from"):
        Handler(**{name: Decimal(value) for name, value in wrong.items()})


def test_the_command_prints_every_way_as_json(minute: Path) -> None:
    code, said = run("rehearse", str(minute), "--json")

    assert code == 0, said
    found = json.loads(said)
    ways = {w["way"]: w for w in found["traces"][0]["ways"]}
    assert set(ways) == {"hybrid", "all functions", "base for the peak", "base, scaled"}
    assert ways["all functions"]["usd_base"] == 0
    assert ways["base, scaled"]["refused"] > ways["hybrid"]["refused"]
    assert found["break_even_calls_per_s"] > 0


def test_a_booking_is_played_beside_the_surprise(minute: Path) -> None:
    code, said = run("rehearse", str(minute), "--expect", "300-900:900", "--json")

    assert code == 0, said
    ways = {w["way"]: w for w in json.loads(said)["traces"][0]["ways"]}
    assert ways["hybrid"]["usd_spill"] < ways["hybrid, not told"]["usd_spill"]


def test_the_page_needs_nothing_but_itself(minute: Path, tmp_path: Path) -> None:
    page = tmp_path / "b.html"
    code, said = run("rehearse", str(minute), "kick-off", "--viewers", "2000", "--out", str(page))

    assert code == 0, said
    text = page.read_text()
    assert re.findall(r"(?:src|href)=[\"'](?!#|data:)[^\"']+", text) == []
    assert text.count('<svg class="burst"') == 2
    assert "never run on AWS" in text


def test_equal_traces_give_equal_pages(minute: Path, tmp_path: Path) -> None:
    pages = [tmp_path / f"{n}.html" for n in "ab"]
    for page in pages:
        run("rehearse", str(minute), "--out", str(page))

    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_refusal_of_one_reading_is_not_averaged_out_of_the_picture() -> None:
    from eisbach.deploy.burst.plots import timeline
    from eisbach.deploy.burst.rehearsal import Outcome

    calm = [(n * 10, 100.0, 4.0, 0.0, 0.0) for n in range(8_640)]
    calm[5_000] = (50_000, 100.0, 4.0, 0.0, 777.0)
    picture = timeline(Outcome(strategy="hybrid", points=calm), policy_of(Handler(), load_prices(), REGION), "x")

    assert ">777<" in picture


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nonsense",), "'nonsense' is none of kick-off, exit-wave, ordinary-day and no .csv file"),
        (("kick-off", "--handler", "speed=3"), "FIELD=VALUE with FIELD one of cpu_ms"),
        (("kick-off", "--handler", "cpu_ms=fast"), "'fast' is not a number"),
        (("kick-off", "--expect", "9-3:1"), "FROM before UNTIL"),
        (("kick-off", "--viewers", "0"), "--viewers 0: it must be from 1"),
        (("kick-off", "--region", "eu-south-9"), "no prices for region 'eu-south-9'"),
        (("kick-off", "--out", "x.pdf"), "the name must end in .html"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_must_be(words: tuple[str, ...], says: str) -> None:
    code, said = run("rehearse", *words)

    assert code == 2
    assert says in said


@pytest.mark.parametrize("name", ["rehearse", "steer"])
def test_each_command_has_an_example_and_json(name: str) -> None:
    code, said = run(name, "--help")

    assert code == 0
    assert f"Example: eisbach burst {name}" in said
    assert "--json" in said


WAYS = {
    "hybrid, told of the match": "hybrid",
    "hybrid": "hybrid",
    "hybrid, not told": "hybrid, not told",
    "functions alone": "all functions",
    "containers for the peak": "base for the peak",
    "containers, scaled by target tracking": "base, scaled",
    "containers, scaled": "base, scaled",
}


def test_the_table_of_the_document_is_what_the_command_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "burst.md").read_text()
    rows = [
        [cell.strip(" *") for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if re.match(r"\|.*\$\d", line)
    ]
    code, said = run("rehearse", "kick-off", "exit-wave", "ordinary-day", "--json")
    found = {t["trace"]: {w["way"]: w for w in t["ways"]} for t in json.loads(said)["traces"]}

    assert (code, len(rows)) == (0, 13)
    trace = ""
    for first, way, refused, cost in rows:
        trace = first.split(",")[0].replace(" ", "-") or trace
        told = found[trace][WAYS[way]]
        assert (f"{told['refused']:,}", f"${told['usd']:,.2f}") == (refused, cost), (trace, way)
