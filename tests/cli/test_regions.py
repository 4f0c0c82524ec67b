"""What ``eisbach regions`` and ``cells`` say when the control process refuses: whose refusal it is, and what to do."""

import json
import urllib.error
import urllib.request
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from eisbach.cli import cells, regions
from eisbach.cli.cells import Control
from eisbach.cli.shared import Shared
from eisbach.kernel.errors import EisbachError, Invalid, Unavailable

FULL = "writing control store /d/control.db: SQLite refused (FullError: full); nothing was written; free space there"


class FakeSupervisor:
    token = "t"

    def __init__(self) -> None:
        self.weights = {"eu-central": 100, "eu-west": 100}

    def get(self, path: str) -> Any:
        if path == "/ops/weights":
            return {"weights": dict(self.weights)}
        process = {"target": "control/eu-central", "region": "eu-central", "url": "http://127.0.0.1:1"}
        return {"regions": [{"name": name} for name in self.weights], "processes": [process]}

    def post(self, _: str, body: Any) -> Any:
        self.weights = {**self.weights, body["region"]: body["weight"]}


def refusing(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> FakeSupervisor:
    supervisor = FakeSupervisor()

    def urlopen(request: urllib.request.Request, **_: Any) -> Any:
        raise urllib.error.HTTPError(request.full_url, status, "", Message(), BytesIO(body))

    for module in (cells, regions):
        monkeypatch.setattr(module, "find", lambda _: supervisor)
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return supervisor


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (
            409,
            json.dumps({"detail": FULL, "code": "unavailable"}).encode(),
            Unavailable,
            f"control of eu-central: {FULL}",
        ),
        (400, b'{"detail": "no such slot", "code": "invalid"}', Invalid, "no such slot"),
        (
            500,
            b"Internal Server Error",
            Unavailable,
            "control of eu-central answered 500 to /region and did not say why",
        ),
    ],
)
def test_a_refusal_names_the_process_and_a_full_disk_is_not_the_callers_mistake(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, error: type[EisbachError], said: str
) -> None:
    refusing(monkeypatch, status, body)

    with pytest.raises(error) as refused:
        Control("/d", "eu-central").call("/region")

    assert str(refused.value).startswith(said)


def test_an_evacuation_that_a_full_disk_stops_says_what_the_front_does_already(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = refusing(monkeypatch, 409, json.dumps({"detail": FULL, "code": "unavailable"}).encode())

    with pytest.raises(Unavailable) as refused:
        regions._perform(Shared(data=Path("/d"), as_json=False), "eu-central", "evacuate")

    assert FULL in str(refused.value)
    assert "the front sends nobody new to eu-central already" in str(refused.value)
    assert supervisor.weights["eu-central"] == 0
