"""What ``eisbach restore cell/R/C`` says."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from eisbach.bootstrap.restore_cell import RestoredCell
from eisbach.cli import restore as verb
from eisbach.cli.app import application
from eisbach.control.slot_record import SlotRecord
from eisbach.deploy.laptop import restoring

ABORTED = SlotRecord(
    slot="eu/de/main/3", owner="c1", epoch=3, move=2, phase="settled", source="c1", target="c2", began_ms=0,
    outcome="aborted",
)  # fmt: skip
COMMITTED = SlotRecord(
    slot="eu/de/main/4", owner="c2", epoch=3, move=2, phase="settled", source="c1", target="c2", began_ms=0,
    outcome="committed",
)  # fmt: skip


UNDER_WAY = SlotRecord(
    slot="eu/de/main/5", owner="c2", epoch=3, move=2, phase="moving", source="c2", target="c1", began_ms=0,
)  # fmt: skip


@pytest.fixture
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cell that is down, with an empty disk, and two moves of which were under way."""
    process = SimpleNamespace(folder=str(tmp_path), region="eu-central", cell="c1", peers=[], backups="b")

    async def restore(
        _process: Any, _others: Any, _progress: Any, *, ended: Callable[[SlotRecord], None]
    ) -> RestoredCell:
        ended(ABORTED)
        ended(COMMITTED)
        return RestoredCell(slots=1, items=2, ops=3, older=0, epochs={"eu/de/main/3": 103})

    async def under_way(_process: Any) -> list[SlotRecord]:
        return [UNDER_WAY]

    status = {"processes": [{"target": "cell/eu-central/c1", "state": "down"}]}
    monkeypatch.setattr(verb, "find", lambda _: SimpleNamespace(get=lambda _: status))
    monkeypatch.setattr(restoring, "read_cell", lambda *_: process)
    monkeypatch.setattr(restoring, "other_cells", lambda *_, **__: {})
    monkeypatch.setattr(restoring, "restore", restore)
    monkeypatch.setattr(restoring, "moves_under_way", under_way)
    return tmp_path


def test_a_restore_names_the_slots_whose_moves_it_gave_up_and_whose_they_are(restored: Path) -> None:
    words = ["restore", "cell/eu-central/c1", "--yes", "--data", str(restored)]

    said = CliRunner().invoke(application(), words).output
    told = json.loads(CliRunner().invoke(application(), [*words, "--json"]).output)

    assert (
        "eu/de/main/3: its move from c1 to c2 is given up: it is c1's and is restored here; eisbach cells move"
        " eu/de/main/3 --to c2 --region eu-central begins it anew\n"
    ) in said
    assert (
        "eu/de/main/4: its move from c1 to c2 had committed before it could be given up: it is c2's and is not restored"
        " here\n"
    ) in said
    assert [(one["slot"], one["outcome"], one["owner"]) for one in told["moves"]] == [
        ("eu/de/main/3", "aborted", "c1"), ("eu/de/main/4", "committed", "c2"),
    ]  # fmt: skip


def test_a_dry_run_names_the_moves_that_would_be_given_up(restored: Path) -> None:
    words = ["restore", "cell/eu-central/c1", "--data", str(restored)]

    said = CliRunner().invoke(application(), words).output
    told = json.loads(CliRunner().invoke(application(), [*words, "--json"]).output)

    assert "would give up the move of eu/de/main/5 from c2 to c1, unless it commits before\n" in said
    assert [(one["slot"], one["source"], one["target"]) for one in told["moves"]] == [("eu/de/main/5", "c2", "c1")]
