"""A user's own spokes: a file of ten lines is a spoke; a broken one stops nobody."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from eisbach.bootstrap.user_spokes import ENTRY_POINTS, UserSpokes, load_spokes
from eisbach.ports.spoke import SpokeSpec
from eisbach.testing.manual_clock import ManualClock

GOOD = """
from eisbach.hub.authoring import spoke

@spoke("notify", on="tv.catalog.title.published.v1", where={"market": "de"})
async def notify(event, effects):
    effects.put("last", event.subject.encode())
"""


def test_every_spoke_of_the_folder_is_found_and_broken_files_are_left_out_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "a_notify.py").write_text(GOOD)
    (tmp_path / "b_broken.py").write_text("import nothing_of_that_name")
    (tmp_path / "c_syntax.py").write_text("def (")
    (tmp_path / "d_bounds.py").write_text(GOOD.replace('"market"', '"colour"'))
    (tmp_path / "e_twice.py").write_text(GOOD)

    found = load_spokes(str(tmp_path))

    assert [(spec.name, dict(spec.where)) for spec in found.specs] == [("notify", {"market": "de"})]
    assert list(found.refused) == ["b_broken.py", "c_syntax.py", "d_bounds.py", "e_twice.py"]
    assert "nothing_of_that_name" in found.refused["b_broken.py"]
    assert "notify is taken" in found.refused["e_twice.py"]


def test_a_spokes_own_test_may_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "notify.py").write_text(GOOD)
    (tmp_path / "test_notify.py").write_text("from notify import notify")
    (tmp_path / "conftest.py").write_text("import nothing_of_that_name")

    found = load_spokes(str(tmp_path))

    assert ([spec.name for spec in found.specs], dict(found.refused)) == (["notify"], {})


def test_a_built_in_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD.replace('"notify"', '"transcode"'))

    found = load_spokes(str(tmp_path), taken=frozenset({"transcode"}))

    assert (list(found.specs), list(found.refused)) == ([], ["mine.py"])


def test_a_package_brings_its_spokes_by_entry_point_and_one_that_names_none_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an installer lays a package down: its modules, and what it names in ``dist-info``."""
    (tmp_path / "acme_spokes.py").write_text(GOOD.replace('"notify"', '"acme"') + "ALL = [notify]\nNONE = 3\n")
    about = tmp_path / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\nall = acme_spokes:ALL\nnone = acme_spokes:NONE\ngone = acme_spokes:GONE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    found = load_spokes("")

    assert [spec.name for spec in found.specs] == ["acme"]
    assert set(found.refused) == {"none", "gone"}
    assert "name a spoke or a list of spokes" in found.refused["none"]


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert load_spokes("").specs == load_spokes(str(tmp_path / "none")).specs == []


async def test_a_saved_file_replaces_its_spokes_within_a_second_and_a_deleted_one_ends_them(tmp_path: Path) -> None:
    clock, used = ManualClock(), []

    async def use(specs: Sequence[SpokeSpec]) -> None:
        used.append([(spec.name, spec.attempts_max) for spec in specs])

    own = UserSpokes(str(tmp_path), taken=frozenset(), use=use)
    watching = asyncio.create_task(own.run(clock))
    await clock.advance(1.5)

    file = tmp_path / "mine.py"
    file.write_text(GOOD)
    await clock.advance(1)
    file.write_text(GOOD.replace("market", "colour"))
    await clock.advance(1)
    broken = dict(own.refused)
    file.write_text(GOOD.replace('"de"}', '"de"}, attempts_max=3'))
    await clock.advance(5)
    file.unlink()
    await clock.advance(1)
    watching.cancel()

    assert used == [[], [("notify", 8)], [], [("notify", 3)], []]
    assert list(broken) == ["mine.py"]
    assert own.refused == {}
