"""The status document: a figure that nobody could read is none, never a guess."""

from pathlib import Path
from typing import Any

from eisbach.deploy.laptop.impact import Summary
from eisbach.deploy.laptop.status import Observed, Status, build_status

from .conftest import spec

BASE = {"stage": "regions", "front": "", "rehearsal": True, "now_ms": 1, "started_ms": 0, "demo": {}, "regions": []}


def status_of(root: Path, *twins: dict[str, Any]) -> Status:
    """Of as many cells of eu-central as there are ``twins``: what each says of eu-west."""
    observed = [
        Observed(
            spec=spec(root, f"cell/eu-central/c{n}", 9000 + n), state="ready", pid=1, since_ms=0, restarts=0,
            figures={"replication": [{"from": "eu-west", **said}], "digests": [{"region": "eu-west", "differing": []}]},
        )
        for n, said in enumerate(twins)
    ]  # fmt: skip
    return build_status(observed, Summary(sentence="", hurt=[], next=""), [], [], BASE)


def test_a_region_that_one_cell_does_not_hear_is_an_unknown_number_of_ops_ahead(tmp_path: Path) -> None:
    heard, unheard = {"lag_ms": 5, "ops_behind": 2}, {"lag_ms": 90_000, "ops_behind": None}

    (row,) = status_of(tmp_path, heard, unheard).replication

    assert (row.lag_ms, row.ops_behind, row.differing) == (90_000, None, None)


def test_what_all_cells_know_is_added_up(tmp_path: Path) -> None:
    (row,) = status_of(tmp_path, {"lag_ms": 5, "ops_behind": 2}, {"lag_ms": 7, "ops_behind": 1}).replication

    assert (row.lag_ms, row.ops_behind, row.differing) == (7, 3, 0)
