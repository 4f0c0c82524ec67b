"""The catalogue a cell knows: the newest version of each document, whatever the order of events."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.domain.catalog import Asset, Catalogue, Title, changes_of, decode_change, home_rails, title_card
from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import Event


def event(kind: str, document: msgspec.Struct | bytes, *, hlc: int = 1, origin: str = "eu-central") -> Event:
    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return Event(
        id="x", source="//eu-central/studio", type=f"tv.{kind}.v1", subject="x", time="", slot="any/all/studio/1",
        origin=origin, epoch=1, seq=hlc, prev=0, hlc=hlc, data=msgspec.Raw(data),
    )  # fmt: skip


def title(revision: int, name: str = "Tears", **fields: object) -> Title:
    return Title(id="tears", revision=revision, names={"en": name}, **fields)  # type: ignore[arg-type]


def test_an_older_revision_that_arrives_later_changes_nothing() -> None:
    newer = Catalogue().evolve(changes_of(event("catalog.title.upserted", title(2, "new"), hlc=2)))

    same = newer.evolve(changes_of(event("catalog.title.published", title(1, "old"), hlc=9)))

    assert newer is same
    assert same.titles["tears"].names["en"] == "new"


def test_an_asset_that_is_ready_is_in_the_region_that_made_it_and_in_those_that_copied_it() -> None:
    asset = Asset(id="a1", duration_ms=1000, tracks=[])
    made = changes_of(event("package.asset.ready", asset))
    copied = changes_of(event("package.asset.copied", b'{"asset":"a1","region":"eu-west"}', origin="eu-west"))

    assert frozenset({"eu-central", "eu-west"}) == Catalogue().evolve(made).evolve(copied).regions["a1"]


def test_an_event_of_a_newer_cell_with_an_unknown_field_is_read() -> None:
    raw = msgspec.json.encode({"id": "tears", "revision": 1, "names": {"en": "T"}, "mood": "sad"})

    assert changes_of(event("catalog.title.upserted", raw))[0].id == "tears"


def test_a_payload_that_is_no_document_is_poison() -> None:
    with pytest.raises(Invalid, match="Title"):
        changes_of(event("catalog.title.upserted", b'{"id": 7}'))


def test_viewers_events_are_none_of_its_business() -> None:
    assert changes_of(event("playback.progress.recorded", b"{}")) == ()


def test_what_a_projection_kept_comes_back_equal() -> None:
    (change,) = changes_of(event("catalog.title.upserted", title(3)))

    assert change == decode_change(change.kind, change.id, change.version, msgspec.json.encode(change.body))


@given(st.permutations([(r, h) for r in (1, 2, 3) for h in (1, 2)]))
def test_the_order_of_events_does_not_matter_and_equal_content_has_an_equal_version(
    order: list[tuple[int, int]],
) -> None:
    catalogue = Catalogue()
    for revision, hlc in order:
        change = changes_of(event("catalog.title.upserted", title(revision, f"{revision}.{hlc}"), hlc=hlc))
        catalogue = catalogue.evolve(change)
    straight = Catalogue().evolve(changes_of(event("catalog.title.upserted", title(3, "3.2"), hlc=2)))

    assert catalogue.titles["tears"].names["en"] == "3.2"
    assert straight.version == catalogue.version


def test_the_home_page_has_no_empty_rail_and_a_lane_per_genre_of_two() -> None:
    titles = [
        Title(id=f"t{n}", revision=1, names={"en": "T"}, genres=["drama"] if n < 2 else ["solo"], published_ms=n)
        for n in range(3)
    ]

    rails = home_rails(titles, {}, [])

    assert [rail.id for rail in rails] == ["hero", "new", "genre-drama"]
    assert [card.id for card in rails[0].items] == ["t2", "t1", "t0"]


def test_a_card_without_an_asset_has_no_picture() -> None:
    assert title_card(title(1), None).image == ""
