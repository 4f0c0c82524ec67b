"""``eisbach assess`` as people and pipelines use it."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.plan.assess.assessment import assess
from eisbach.plan.assess.html import page

EXAMPLE = Path(__file__).parents[2] / "examples" / "assess"


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(application(), ["assess", *words])
    return done.exit_code, done.output


def test_the_example_tells_a_new_user_something_true_with_its_line() -> None:
    code, said = run(str(EXAMPLE))

    assert code == 0
    assert "single-point: db" in said
    assert "docker-compose.yml:29" in said
    assert "Next: eisbach assess" in said


def test_reports_are_written_by_their_ending(tmp_path: Path) -> None:
    files = [tmp_path / f"r.{ending}" for ending in ("html", "json", "sarif", "mmd")]

    code, said = run(str(EXAMPLE), *(w for f in files for w in ("--out", str(f))), "--experiments", str(tmp_path / "x"))

    assert code == 0, said
    assert "<svg" in files[0].read_text()
    assert json.loads(files[1].read_text())["findings"][0]["evidence"]
    assert json.loads(files[2].read_text())["runs"][0]["results"][0]["locations"]
    assert files[3].read_text().startswith("flowchart TD")
    experiment = json.loads(min((tmp_path / "x").iterdir()).read_text())
    assert {"title", "description", "method", "rollbacks", "steady-state-hypothesis"} <= set(experiment)


def test_the_exit_code_follows_the_threshold_and_a_baseline_hides_what_is_known(tmp_path: Path) -> None:
    report = tmp_path / "known.json"
    assert run(str(EXAMPLE), "--fail-on", "high", "--out", str(report))[0] == 1
    assert run(str(EXAMPLE), "--fail-on", "high", "--baseline", str(report))[0] == 0
    assert run(str(EXAMPLE))[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.yaml"], "nowhere.yaml is not there"),
        ([str(EXAMPLE), "--fail-on", "catastrophe"], "is not one of high"),
        ([str(EXAMPLE), "--out", "report.pdf"], "ends in none of"),
        ([str(EXAMPLE), "--baseline", "none.json"], "baseline none.json"),
    ],
)
def test_wrong_words_are_refused_with_what_would_be_right(words: list[str], says: str) -> None:
    code, said = run(*words)

    assert code == 2
    assert says in said


def test_a_hidden_call_of_what_no_journey_uses_loses_no_journey() -> None:
    from eisbach.plan.assess.assessment import assess

    found = {f.components: f.weight for f in assess([EXAMPLE]).findings if f.rule == "hidden-dependency"}

    assert found == {("app", "licence.drm-vendor.example"): 1.0, ("worker", "licence.drm-vendor.example"): 0.0}


def test_names_from_strangers_cannot_steer_a_terminal_or_a_diagram(tmp_path: Path) -> None:
    compose = tmp_path / "compose.yaml"
    compose.write_text('services:\n  "a\\e[31m<b>\\"]\\n":\n    image: postgres\n    ports: ["80:80"]\n')

    code, said = run(str(compose), "--out", str(tmp_path / "r.mmd"))

    assert code == 0
    assert "\x1b" not in said
    (line,) = [x for x in (tmp_path / "r.mmd").read_text().splitlines() if "n0" in x]
    assert "<b>" not in line
    assert line.count('"') == 2


def test_the_json_report_says_what_each_loss_takes_and_how_far_the_search_for_sets_went() -> None:
    code, said = run(str(EXAMPLE), "--json")
    found = json.loads(said)

    assert code == 0
    assert {(row["what"], row["name"]): row["share"] for row in found["blast_radius"]}["component", "db"] == 1.0
    assert "none larger" in found["cuts"]["bound"]
    assert found["start_order"]["circle"] == []


def test_a_circle_leaves_no_empty_columns_in_the_picture() -> None:
    found = assess([Path(__file__).parent / "truths" / "ott-chain"])

    drawn = page(found, found.findings, "made")
    columns = sorted({int(x) for x in re.findall(r'<rect x="(\d+)" y="\d+" width="168"', drawn)})

    assert len(columns) > 4
    assert len({after - before for before, after in pairwise(columns)}) == 1
