"""``cost capture`` counts what a running platform wrote, and ``--measured`` prices it."""

import json
import subprocess
from pathlib import Path

import pytest

from .platform import EISBACH, running
from .viewer import Viewer

EXAMPLE = Path(__file__).parents[2] / "examples/cost/broadcaster.toml"
WRITES = 20


@pytest.mark.processes
def test_what_viewers_wrote_between_two_readings_is_counted_and_priced(tmp_path: Path) -> None:
    with running(tmp_path / "data", stage="hub", network="127.0.56", arguments=("--no-demo",)) as platform:
        viewer = Viewer(str(platform.status()["regions"][0]["edge"]), "dev-cost").sign_in()
        run = tmp_path / "run.json"
        words = [EISBACH, "cost", "capture", str(run), "4", "--json"]
        counting = subprocess.Popen(words, env=platform.environment, stdout=subprocess.DEVNULL)
        while counting.poll() is None:  # the capture bounds it: 4 s
            assert viewer.write(), viewer.last
        assert counting.returncode == 0
        found = json.loads(run.read_text())
        priced = platform.eisbach("cost", str(EXAMPLE), "--measured", str(run))

    (cell,) = found["cells"]
    assert cell["units"]["items_written"] >= WRITES
    assert cell["units"]["requests"] >= WRITES
    assert {line["item"] for line in priced["lines"]} >= {"writes, translated", "calls"}
    assert float(priced["total"]) > 0
