"""``eisbach deploy`` told something that cannot be: one sentence, exit code 2, before anything is started."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.deploy.aws import package as packing

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "aws" / "platform.toml"
WITHOUT_CODE = ["deploy", "synth", str(EXAMPLE), "--no-package", "--out"]


def refused(words: list[str], says: str) -> None:
    done = CliRunner().invoke(application(), words)
    assert (done.exit_code, says in done.output) == (2, True), done.output


def test_templates_cannot_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    refused([*WITHOUT_CODE, str(tmp_path / "file")], "is a file, or lies below one; name a folder")
    refused([*WITHOUT_CODE, str(tmp_path / "file" / "below")], "is a file, or lies below one; name a folder")
    assert (tmp_path / "file").read_text() == "mine"


def test_where_no_folder_can_be_made_nothing_is_started() -> None:
    """node would try to make it for ever."""
    refused([*WITHOUT_CODE, "/proc/x"], "--out /proc/x cannot be written (No such file or directory)")


def test_a_package_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "code.zip").write_text("no")

    refused(
        ["deploy", "synth", str(EXAMPLE), "--package", str(tmp_path / "code.zip"), "--out", str(tmp_path / "out")],
        "code.zip is no zip archive; eisbach deploy package makes one",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("\xff", "is no JSON"),
        ("[]", "is no template of CloudFormation"),
        ('{"Resources": []}', "is no template of CloudFormation"),
        ('{"Resources": {"A": {}}}', "is no template of CloudFormation"),
    ],
)
def test_a_template_to_compare_with_that_is_none_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.template.json").write_bytes(text.encode("latin-1"))

    refused(["deploy", "diff", str(EXAMPLE), "--against", str(tmp_path)], says)


def test_an_archive_that_cannot_be_written_is_told_before_wheels_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_install", lambda *_: pytest.fail("wheels were fetched"))

    refused(["deploy", "package", "--out", "/proc/x/y.zip"], "--out /proc/x/y.zip cannot be written")
    refused(["deploy", "package", "--out", str(tmp_path)], "is a folder; name a file")
    for runs in ("-1", "51"):
        refused(["deploy", "package", "--target", "here", "--measure", runs], f"--measure {runs}: imports each")
