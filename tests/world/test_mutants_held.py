"""Bugs that the world does not meet, or seldom, are met by the test that ``mutants_held`` names: each is planted here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eisbach.testing.world.mutants import MUTANTS
from eisbach.testing.world.mutants_held import HELD_BY

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", ["not processes", pytest.param("processes", marks=pytest.mark.processes)])
def test_what_the_world_does_not_meet_is_held_by_the_test_that_is_named(tmp_path: Path, which: str) -> None:
    tests = sorted(set(HELD_BY.values()))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "EISBACH_HELD": str(tmp_path / "seen.json")}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "held_by", "-m", which, *tests], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == pytest.ExitCode.OK, done.stdout[-2000:] + done.stderr[-2000:]
    seen = json.loads((tmp_path / "seen.json").read_text())
    ran = set(seen["ran"])
    assert ran
    assert ran | set(seen["left_out"]) == set(tests)
    assert seen["broken"] == [], "they fail with nothing planted"
    assert set(HELD_BY) <= set(MUTANTS)
    missed = {name for name, test in HELD_BY.items() if test in ran} - set(seen["held"])
    assert missed == set(), "their tests pass with the bug that they are to hold"
