"""A user's own spokes: a file of ten lines is a spoke; a broken one stops nobody."""

from pathlib import Path

from eisbach.bootstrap.spokes import load_spokes

GOOD = """
from eisbach.hub.authoring import spoke

@spoke("notify", on="tv.catalog.title.published.v1", where={"market": "de"})
async def notify(event, effects):
    effects.put("last", event.subject.encode())
"""


def test_every_spoke_of_the_folder_is_found_and_broken_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a_notify.py").write_text(GOOD)
    (tmp_path / "b_broken.py").write_text("import nothing_of_that_name")
    (tmp_path / "c_syntax.py").write_text("def (")
    (tmp_path / "d_bounds.py").write_text(GOOD.replace('"market"', '"colour"'))

    found = load_spokes(str(tmp_path))

    assert [(spec.name, dict(spec.where)) for spec in found] == [("notify", {"market": "de"})]


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert load_spokes("") == load_spokes(str(tmp_path / "none")) == []
