"""The hub sends a spoke of the studio nothing of the viewers' cells, and what such a spoke handles no cell publishes."""

from pathlib import Path
from typing import Any, cast

from eisbach.bootstrap.spokes import of_the_studio
from eisbach.engines.embedded.clock import SystemClock
from eisbach.spokes.audit import audit
from eisbach.spokes.ingest import INGEST_SPOKES
from eisbach.spokes.media_copies import MediaCopies
from eisbach.spokes.upload_copies import upload_copies

OF_CELLS = ("tv.account.", "tv.playback.", "tv.watchlist.")
SOURCES = Path(__file__).parents[2] / "src/eisbach"
STUDIO = (
    "studio",
    "studio_items",
    "studio_jobs",
    "studio_recovery",
    "studio_snapshot",
    "studio_titles",
    "studio_uploads",
)
ANY = cast("Any", None)


def test_spokes_that_are_sent_the_studios_events_alone_want_no_other() -> None:
    copies = MediaCopies(ANY, sources=ANY, studio=ANY, region="eu-central", clock=SystemClock())
    specs = [*INGEST_SPOKES, audit, copies.spoke(), upload_copies(ANY, ANY, region="eu-central")]
    narrowed = {spec.name for spec in specs if not any(type_.startswith(OF_CELLS) for type_ in spec.types)}

    assert of_the_studio("eu-central") == dict.fromkeys(narrowed, "eu-central/studio")
    assert narrowed == {spec.name for spec in specs} - {"audit"}


def test_what_viewers_cells_publish_is_of_these_kinds() -> None:
    cells = [p for p in (SOURCES / "cell").glob("*.py") if p.stem not in STUDIO]
    named = {
        word for path in [*cells, SOURCES / "domain/accounts.py", SOURCES / "domain/playback.py"]
        for word in path.read_text().split('"') if word.startswith("tv.")
    }  # fmt: skip

    assert named
    assert all(word.startswith(OF_CELLS) for word in named), named
