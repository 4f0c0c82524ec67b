"""The smaller stages: what dying shows in each (design section 7)."""

from pathlib import Path

import pytest

from .platform import Platform, running
from .viewer import Viewer

pytestmark = pytest.mark.processes


def reads(viewer: Viewer) -> bool:
    try:
        return viewer.ask("GET", "/v1/me/rails")[0] == 200
    except OSError:
        return False


def edge(platform: Platform) -> str:
    return str(platform.status()["regions"][0]["edge"])


def test_in_stage_cells_a_dead_cell_hurts_exactly_its_slots(tmp_path: Path) -> None:
    with running(tmp_path / "data", stage="cells", network="127.0.43", arguments=("--no-demo",)) as platform:
        viewers = [Viewer(edge(platform), f"dev-cells-{n}").sign_in() for n in range(12)]
        home = {v.device: v.ask("GET", "/v1/me/rails")[1]["eisbach-cell"] for v in viewers}
        assert set(home.values()) == {"c1", "c2"}
        for viewer in viewers:
            assert viewer.write(), viewer.last

        platform.fault("down", "cell/eu-central/c1")
        served = {v.device: reads(v) for v in viewers}

        assert served == {device: cell != "c1" for device, cell in home.items()}
        platform.heal()
        assert all(v.missing() == {} for v in viewers)


def test_in_stage_hub_a_dead_spoke_is_not_noticed_and_a_dead_cell_is_everything(tmp_path: Path) -> None:
    with running(tmp_path / "data", stage="hub", network="127.0.44", arguments=("--no-demo",)) as platform:
        viewers = [Viewer(edge(platform), f"dev-hub-{n}").sign_in() for n in range(4)]
        cell = next(p["target"] for p in platform.status()["processes"] if p["kind"] == "cell")

        platform.fault("down", "spoke/eu-central/transcode")
        assert all(v.write() and reads(v) for v in viewers)
        platform.fault("down", cell)
        assert not any(reads(v) for v in viewers)

        platform.heal()
        assert all(v.missing() == {} for v in viewers)


def test_in_stage_single_everything_is_gone_and_everything_acknowledged_comes_back(tmp_path: Path) -> None:
    with running(tmp_path / "data", stage="single", network="127.0.45", arguments=("--no-demo",)) as platform:
        viewers = [Viewer(edge(platform), f"dev-single-{n}").sign_in() for n in range(4)]
        assert all(v.write() for v in viewers)
        target = next(p["target"] for p in platform.status()["processes"] if p["kind"] in ("single", "cell"))

        platform.fault("down", target)
        assert not any(reads(v) for v in viewers)

        platform.heal()
        assert all(v.missing() == {} for v in viewers)


@pytest.mark.parametrize(("stage", "network", "removed"), [
    ("cells", "127.0.63", {
        "cell/eu-central/c1": "cells/c1/store.db",
        "control/eu-central": "control/control.db",
        "spokes/eu-central": "spokes/spokes.db",
    }),
    ("single", "127.0.64", {"single": "cells/c1/store.db"}),
])  # fmt: skip
def test_a_process_whose_store_is_removed_ends_and_says_why(
    tmp_path: Path, stage: str, network: str, removed: dict[str, str]
) -> None:
    """It would acknowledge into a file that nobody sees again."""
    with running(tmp_path / "data", stage=stage, network=network, arguments=("--no-demo",)) as platform:
        for name in removed.values():
            file = platform.data / "regions/eu-central" / name
            for path in file.parent.glob(f"{file.name}*"):
                path.unlink()

        def ended(target: str) -> str:
            changes = platform.eisbach("why", target)["changes"]
            return next((c["why"] for c in changes if "was removed or replaced" in c["why"]), "")

        for target in removed:
            why = platform.until(f"{target} has ended", lambda target=target: ended(target), 20)

            assert "this process writes no more" in why
            assert "Traceback" not in why
