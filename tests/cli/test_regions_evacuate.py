"""``eisbach regions evacuate`` where control itself refuses, and with ``--force``."""

import email.message
import io
import json
import urllib.error
from typing import Any

import pytest
from typer.testing import CliRunner

from eisbach.cli import cells, regions
from eisbach.cli.app import application
from eisbach.kernel.errors import Denied, Unavailable

runner = CliRunner()


class Supervisor:
    def __init__(self) -> None:
        self.posted: list[str] = []

    def get(self, path: str) -> Any:
        names = [{"name": "eu-central"}, {"name": "eu-west"}]
        return {"/ops/status": {"regions": names}, "/ops/weights": {"weights": {"eu-central": 70, "eu-west": 100}}}[
            path
        ]

    def post(self, _path: str, body: Any) -> None:
        self.posted.append(f"{body['region']}={body['weight']}")


@pytest.mark.parametrize("code", ["other_region_out", "region_under_way"])
def test_what_control_refuses_without_stopping_anything_is_told_apart(code: str) -> None:
    """The front's weight goes back by it."""
    answer = io.BytesIO(json.dumps({"detail": "no", "code": code}).encode())
    error = urllib.error.HTTPError("http://x", 409, "", email.message.Message(), answer)
    control = cells.Control.__new__(cells.Control)

    found = control._refusal("/region/evacuate", error)

    assert isinstance(found, Denied)
    assert found.code == code


@pytest.mark.parametrize("ended_ms", [0, 1])
def test_what_came_back_with_force_though_it_differs_is_served_again_and_named(
    ended_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front sends to the region again once nothing is left to do, also where that is not proved."""
    supervisor = Supervisor()
    slots = {"a": {"cell": "c1", "proved": True}, "b": {"cell": "c1", "proved": False, "trouble": "it differs"}}
    back = {"region": "eu-central", "other": "eu-west", "action": "return", "slots": slots, "ended_ms": ended_ms}

    class Control:
        def __init__(self, _data: str, _region: str) -> None: ...

        def call(self, path: str, body: Any = None, **_: Any) -> Any:
            if path == "/region/return":
                assert body["force"] is True
            return {"/region": {"last": back}, "/losses": {"losses": []}, "/region/return": back}[path]

    monkeypatch.setattr(regions, "find", lambda _data: supervisor)
    monkeypatch.setattr(regions, "Control", Control)

    done = runner.invoke(application(), ["regions", "return", "eu-central", "--force"])

    assert (done.exit_code, supervisor.posted) == (1, ["eu-central=100"] if ended_ms else [])
    assert "1 of 2 slots proved back" in done.output
    assert "b at c1: it differs" in done.output
    assert ("goes on with the rest" in done.output) is (ended_ms == 0)


@pytest.mark.parametrize(
    ("force", "early", "weighed"),
    [
        (True, False, ["eu-central=0"]),
        (False, True, []),
        # What was well when it was asked beforehand, and is not any more: the weight goes back.
        (False, False, ["eu-central=0", "eu-central=70"]),
    ],
)
def test_what_control_refuses_leaves_the_front_as_it_was_and_force_is_passed_through(
    force: bool, early: bool, weighed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor()
    done = {
        "region": "eu-central",
        "other": "eu-west",
        "action": "evacuate",
        "slots": {"a": {"proved": True}},
        "ended_ms": 1,
    }

    class Control:
        def __init__(self, _data: str, region: str) -> None:
            self.region = region

        def call(self, path: str, body: Any = None, **_: Any) -> Any:
            if self.region == "eu-west":
                raise Unavailable("control of eu-west is dead")
            if path == "/region/leave?to=eu-west":
                assert not supervisor.posted, "the front was told before it was asked whether the other region serves"
                if early:
                    raise Denied("eu-west is not shown to serve", code="other_region_out")
                return {}
            assert (path, body["other"]) == ("/region/evacuate", "eu-west")
            if not body.get("force"):
                raise Denied("eu-west is not shown to serve", code="other_region_out")
            return done

    monkeypatch.setattr(regions, "find", lambda _data: supervisor)
    monkeypatch.setattr(regions, "Control", Control)

    done_with = runner.invoke(application(), ["regions", "evacuate", "eu-central", *(["--force"] if force else [])])
    code, said = done_with.exit_code, done_with.output

    assert (code, supervisor.posted) == (0 if force else 2, weighed)
    assert force or "eu-west is not shown to serve" in said
    assert runner.invoke(application(), ["regions", "evacuate", "eu-central", "--lost", "--force"]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "ways"),
    [
        (
            ["evacuate", "eu-central"],
            ["the front sends nobody new to eu-central already", "return eu-central takes it"],
        ),
        (["return", "eu-central"], ["sends nobody to eu-central", "evacuate eu-central leaves it again"]),
    ],
)
def test_ctrl_c_says_that_the_order_goes_on_and_how_to_see_and_stop_it(
    words: list[str], ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said "Aborted!" of an evacuation that went on."""

    class Answer(io.BytesIO):
        def __init__(self, request: Any, *, timeout: float) -> None:
            if request.data is not None:
                raise KeyboardInterrupt
            last = {"action": "evacuate", "ended_ms": 0} if "return" in words else None
            super().__init__(json.dumps({"last": last, "losses": [], "why_not": ""}).encode())

    def control(_self: cells.Control, _data: str, region: str) -> None:
        _self.region, _self._url, _self._token = region, "http://x", "t"

    monkeypatch.setattr(regions, "find", lambda _data: Supervisor())
    monkeypatch.setattr(cells.Control, "__init__", control)
    monkeypatch.setattr(cells.urllib.request, "urlopen", Answer)

    done = runner.invoke(application(), ["regions", *words])

    assert done.exit_code == 3
    assert "broken off here only: control of eu-central goes on with what it was sent" in done.output
    assert "eisbach regions list shows what came of it" in done.output
    assert [way for way in ways if way not in done.output] == []


def test_ctrl_c_while_moves_are_waited_for_says_that_they_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Control:
        region = "eu-central"

        def __init__(self, _data: str, _region: str) -> None: ...

        def call(self, path: str, _body: Any = None) -> Any:
            if path == "/cells":
                raise KeyboardInterrupt
            return {"moves": [{"slot": "eu/de/main/3"}], "refused": {}, "already": {}}

    monkeypatch.setattr(cells, "Control", Control)

    done = runner.invoke(application(), ["cells", "move", "eu/de/main/3", "--to", "c2"])

    assert done.exit_code == 3
    assert "broken off here only (1 moves: they are asked for and go on: eisbach cells list" in done.output


def test_ctrl_c_before_control_was_asked_says_what_the_front_does_already_and_how_to_undo_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It said nothing, and the region stayed without weight."""

    class Broken(Supervisor):
        def post(self, path: str, body: Any) -> None:
            super().post(path, body)
            raise KeyboardInterrupt

    class Control:
        def __init__(self, _data: str, region: str) -> None:
            self.region = region

        def call(self, path: str, _body: Any = None, **_: Any) -> Any:
            if self.region == "eu-west":
                raise Unavailable("control of eu-west is dead")
            assert path == "/region/leave?to=eu-west"
            return {}

    monkeypatch.setattr(regions, "find", lambda _data: Broken())
    monkeypatch.setattr(regions, "Control", Control)

    done = runner.invoke(application(), ["regions", "evacuate", "eu-central"])

    assert done.exit_code == 3
    assert "the front sends nobody new to eu-central already" in done.output
    assert "eisbach regions return eu-central gives the weight back" in done.output
