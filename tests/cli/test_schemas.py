"""``eisbach events schemas``: what there is, one type's schema, and whether a release would be broken."""

import json
import shutil
from pathlib import Path

from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.hub.events import BUILT_IN

RELEASED = Path(__file__).parents[2] / "schemas" / "events"
TITLE = "tv.catalog.title.published.v1"


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(application(), ["events", "schemas", *words], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_every_type_is_listed_and_one_types_schema_is_the_released_one() -> None:
    code, listed = run()
    _, printed = run(TITLE)

    assert code == 0
    assert [line.split()[0] for line in listed.splitlines()[:-1]] == list(BUILT_IN.kinds)
    assert json.loads(printed) == json.loads((RELEASED / f"{TITLE}.json").read_bytes())


def test_a_release_that_would_be_broken_is_told_with_type_and_path_and_fails_a_script(tmp_path: Path) -> None:
    folder = tmp_path / "released"
    shutil.copytree(RELEASED, folder)
    gone, changed = folder / "tv.test.gone.v1.json", folder / "tv.account.created.v1.json"
    gone.write_bytes(changed.read_bytes())
    changed.write_text(changed.read_text().replace('"kind"', '"sort"'))

    whole, broken = run("--check", str(RELEASED), "--json"), run("--check", str(folder), "--json")

    assert (whole[0], json.loads(whole[1])) == (0, {"compared": len(BUILT_IN.kinds), "broken": {}})
    found = json.loads(broken[1])["broken"]
    assert (broken[0], set(found)) == (2, {"tv.test.gone.v1", "tv.account.created.v1"})
    assert any("sort" in reason for reason in found["tv.account.created.v1"])


def test_a_folder_or_a_file_that_holds_no_schema_and_a_type_that_is_none_are_said_in_a_sentence(tmp_path: Path) -> None:
    empty = run("--check", str(tmp_path))
    (tmp_path / f"{TITLE}.json").write_text("{")
    cut = run("--check", str(tmp_path))
    unknown = run("tv.no.such.thing.v1")

    assert (empty[0], f"{tmp_path} holds no schemas" in empty[1].replace("\n", "")) == (2, True)
    assert (cut[0], f"{TITLE}.json is no schema" in cut[1].replace("\n", "")) == (2, True)
    assert unknown[0] in (2, 3)
    assert "tv.no.such.thing.v1" in unknown[1]
