"""The command line as a person meets it: help with examples, clear errors, exit codes for scripts."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eisbach.cli.app import VERBS, application
from eisbach.cli.changes import span_ms
from eisbach.kernel.errors import Invalid

LATER = ("release", "gameday")  # fmt: skip
runner = CliRunner()


def run(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    done = runner.invoke(application(), list(words), env=environment)
    return done.exit_code, done.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_and_json(verb: str) -> None:
    code, said = run(verb, "--help")

    assert code == 0
    assert f"Example: eisbach {verb}" in said
    assert "--json" in said


@pytest.mark.parametrize("verb", LATER)
def test_what_is_not_built_is_not_offered(verb: str) -> None:
    assert run(verb, "--help")[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("why", "front"), ("changes",), ("heal",), ("fault", "down", "front"), ("cut", "a", "b"),
        ("backup",), ("restore", "a-1", "--at", "2026-11-25"), ("erase", "a-1"),
        ("ingest", __file__, "--title", "t"),
    ],
)  # fmt: skip
def test_without_a_platform_it_says_how_to_start_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, said = run(*words, "--data", str(tmp_path))

    assert code == 3
    assert f"no platform is running on {tmp_path}; start it with eisbach up" in said


def test_an_error_is_json_when_json_was_asked_for(tmp_path: Path) -> None:
    code, said = run("status", "--json", "--data", str(tmp_path))

    assert (code, json.loads(said)["error"]["code"]) == (3, "unavailable")


@pytest.mark.parametrize(
    ("words", "environment", "wanted"),
    [
        (("up", "--stage", "cell"), {}, "stage 'cell' is not one of single, hub, cells, regions"),
        (("up", "--stage", "hub", "--regions", "2"), {}, "stage hub has 1 region"),
        (("up",), {"EISBACH_NETWORK": "10.0.0"}, "network '10.0.0' is not the first three numbers of a loopback"),
        (("up",), {"EISBACH_SLOTZ": "8"}, "'slotz' is not a setting; did you mean 'slots'?"),
        (("up",), {"EISBACH_SLOTS": "many"}, "settings:"),
        (("up",), {"EISBACH_NGINX": "/no/such"}, "'/no/such' is not an executable file"),
        (("changes", "--since", "yesterday"), {}, "not a number with s, m, h or d, e.g. 30m"),
        (("route", "--from", "Austria"), {}, "not a country of two letters"),
        (("route", "--from", "AT", "--kind", "odd"), {}, "not one of private, public, playback"),
        (("ingest", "/no/such.mp4", "--title", "t"), {}, "/no/such.mp4 is not a file"),
        (("logs", "cell/eu-central/c1"), {}, "no log of 'cell/eu-central/c1'"),
    ],
)
def test_wrong_input_gets_a_clear_answer(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str], wanted: str
) -> None:
    code, said = run(*words, "--data", str(tmp_path / "data"), environment=environment)

    assert code in (2, 3)
    assert wanted in said


def test_logs_are_shown_without_a_platform_and_an_unknown_one_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "cell-eu-central-c1.log").write_text("one\ntwo\nthree\n")

    known = run("logs", "cell/eu-central/c1", "--lines", "2", "--data", str(tmp_path))
    unknown = run("logs", "cell/eu-central/c7", "--data", str(tmp_path))

    assert known[1].splitlines()[:2] == ["two", "three"]
    assert (unknown[0], "did you mean 'cell-eu-central-c1'" in unknown[1]) == (2, True)


def test_route_explains_the_order_by_distance_and_by_preference(tmp_path: Path) -> None:
    near = json.loads(run("route", "--from", "AT", "--json", "--data", str(tmp_path))[1])
    words = ("--kind", "private", "--preferred", "eu-west")
    preferred = json.loads(run("route", "--from", "AT", *words, "--json", "--data", str(tmp_path))[1])

    assert [hop["region"] for hop in near["hops"]] == ["eu-central", "eu-west"]
    assert preferred["hops"][0] == {"region": "eu-west", "why": "preferred by the slot"}


def test_engines_name_what_stands_behind_each_port() -> None:
    found = json.loads(run("engines", "--json")[1])["engines"]

    assert {"store", "event log", "control store", "blobs, media"} <= {row["port"] for row in found}


@pytest.mark.parametrize(
    ("text", "wanted"), [("90s", 90_000), ("30m", 1_800_000), ("2h", 7_200_000), ("1d", 86_400_000)]
)
def test_spans_of_time(text: str, wanted: int) -> None:
    assert span_ms(text) == wanted


@pytest.mark.parametrize("text", ["", "0m", "-1m", "1w", "1.5h", "1m ", "9999999m", "\u0661m"])
def test_odd_spans_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        span_ms(text)


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("--version")[1])


@pytest.mark.processes
def test_doctor_names_every_program_with_origin_licence_and_digest() -> None:
    done = subprocess.run(
        [Path(__file__).parents[2] / ".venv/bin/eisbach", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)

    assert {tool["name"] for tool in found["tools"]} == {"ffmpeg", "ffprobe", "packager", "nginx", "nats_server"}
    assert all(len(tool["sha256"]) == 64 and tool["licence"] and tool["origin"] for tool in found["tools"])
    assert done.returncode == (1 if found["missing"] else 0)
