"""Search in a composed cell: German and English, prefixes, mistakes, pages; only what is offered is found."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from kit import asset, catalogue_envelope, opened, title, until

from eisbach.bootstrap.cell import OpenCell
from eisbach.domain.catalog import RightsWindow
from eisbach.testing.asgi_client import AsgiClient

TITLES = {
    "surfer": {"names": {"de": "Münchner Surfer", "en": "Surfers of Munich"},
               "synopses": {"de": "Die Häuser am Eisbach und ihre Wellen.", "en": "Waves in the middle of a city."}},
    "bunny": {"names": {"en": "Big Buck Bunny", "de": "Der große Hase"}, "genres": ["Animation"]},
    "thriller": {"names": {"en": "Night Train", "de": "Nachtzug"}, "age": 16},
    "austria": {"names": {"en": "Alps of Munich"}, "rights": [RightsWindow(markets=["at"])]},
    "gone": {"names": {"en": "Munich Gone"}, "rights": [RightsWindow(markets=["de"], to_ms=1)]},
    "draft": {"names": {"en": "Munich Draft"}, "state": "draft"},
    "news": {"names": {"en": "Munich News"}, "type": "episode"},
}  # fmt: skip


@contextlib.asynccontextmanager
async def searched(folder: Path, *more: str) -> AsyncIterator[tuple[OpenCell, AsgiClient]]:
    """A cell with the titles above, and further ones of these names."""
    titles = [title(name, **fields) for name, fields in TITLES.items()]
    titles += [title(f"t{n:03d}", names={"en": name}) for n, name in enumerate(more)]
    async with opened(folder, demo=False) as cell:
        documents = [document for one in titles for document in (one, asset(one.id))]
        await cell.event_log.append(catalogue_envelope(*documents[:60]), expected=0)
        await cell.event_log.append(catalogue_envelope(*documents[60:], hlc=2, lsn=2), expected=1) if documents[
            60:
        ] else None
        assert cell.catalogue is not None
        await until(lambda: len(cell.catalogue.snapshot().titles) == len(titles))
        yield cell, AsgiClient(cell.app)


async def found(client: AsgiClient, query: str, more: str = "", *, market: str = "de") -> list[str]:
    answer = await client.send("GET", f"/v1/{market}/search?q={quote(query)}{more}")
    assert answer.status == 200, answer.body
    assert not answer.json()["degraded"]
    return [card["id"] for card in answer.json()["hits"]]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("surfer", "surfer"),
        ("MÜNCHNER", "surfer"),
        ("munchner", "surfer"),
        ("muenchner", "surfer"),
        ("surf", "surfer"),
        ("big bu", "bunny"),
        ("haus", "surfer"),
        ("Häusern", "surfer"),
        ("welle", "surfer"),
        ("wave", "surfer"),
        ("cities", "surfer"),
        ("hasen", "bunny"),
        ("grosse hase", "bunny"),
        ("animation", "bunny"),
        ("bunni", "bunny"),
        ("nachtzug", "thriller"),
    ],
)
async def test_german_and_english_words_their_forms_beginnings_and_near_misses_are_found(
    tmp_path: Path, query: str, first: str
) -> None:
    async with searched(tmp_path) as (_, client):
        assert (await found(client, query))[:1] == [first]


async def test_every_word_counts_and_only_what_is_offered_here_now_is_found(tmp_path: Path) -> None:
    async with searched(tmp_path) as (_, client):
        assert await found(client, "munich") == ["news", "surfer"]
        assert await found(client, "munich", market="at") == ["austria", "news", "surfer"]
        assert await found(client, "munich bunny") == []
        assert await found(client, "munich", "&type=episode") == ["news"]
        assert await found(client, "train", "&age=12") == []
        assert await found(client, "train", "&age=16") == ["thriller"]


async def test_pages_follow_each_other_without_gap_or_repeat_while_titles_come_and_go(tmp_path: Path) -> None:
    async with searched(tmp_path, *[f"Kitten {n}" for n in range(22)]) as (cell, client):
        first = (await client.send("GET", "/v1/de/search?q=kitten")).json()
        gone = first["hits"][0]["id"]
        change = catalogue_envelope(title(gone, state="unpublished", revision=2), hlc=9, lsn=9)
        await cell.event_log.append(change, expected=(await cell.event_log.last("eu-central/studio")).sequence)
        assert cell.catalogue is not None
        await until(lambda: cell.catalogue.snapshot().titles[gone].state == "unpublished")
        second = (await client.send("GET", f"/v1/de/search?q=kitten&cursor={first['cursor']}")).json()

    ids = [card["id"] for page in (first, second) for card in page["hits"]]
    assert len(ids) == len(set(ids)) == 22
    assert "cursor" not in second


async def test_a_new_title_is_found_and_one_that_was_renamed_is_not_found_by_its_old_name(tmp_path: Path) -> None:
    async with searched(tmp_path) as (cell, client):
        await found(client, "surfer")
        renamed = catalogue_envelope(title("bunny", revision=2, names={"en": "Hare"}), title("fresh"), asset("fresh"),
                                     hlc=9, lsn=9)  # fmt: skip
        await cell.event_log.append(renamed, expected=1)
        assert cell.catalogue is not None
        await until(lambda: "fresh" in cell.catalogue.snapshot().titles)

        assert await found(client, "fresh") == ["fresh"]
        assert await found(client, "hare") == ["bunny"]
        assert await found(client, "buck") == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "q ''"), ("q=%20", "no letter"), ("q=" + "x" * 101, "101 characters"), ("q=a&type=film", "type 'film'"),
        ("q=a&age=7", "age '7'"), ("q=a&cursor=zzz", "cursor"), ("q=a&cursor=W10", "cursor"),
        ("q=a&cursor=" + "A" * 500, "cursor"),
    ],
)  # fmt: skip
async def test_a_parameter_that_is_none_is_refused_by_its_name(tmp_path: Path, query: str, says: str) -> None:
    async with searched(tmp_path) as (_, client):
        answer = await client.send("GET", f"/v1/de/search?{query}")

    assert answer.status == 400
    assert says in answer.json()["detail"]


async def test_query_syntax_and_patterns_are_words_like_others(tmp_path: Path) -> None:
    async with searched(tmp_path) as (_, client):
        for query in (".*", "(a|b)+$", 'names:"x" OR *', "[a-z]{9}", "\\", "буни кролик", "日本", "a" * 100):
            answer = await client.send("GET", f"/v1/de/search?q={quote(query)}")
            assert answer.status in (200, 400), query
            assert answer.status == 400 or answer.json()["hits"] == []


async def test_many_who_ask_at_once_of_a_cell_that_has_just_started_are_answered(tmp_path: Path) -> None:
    async with searched(tmp_path) as (_, client):
        answers = await asyncio.gather(*[client.send("GET", "/v1/de/search?q=surfer") for _ in range(30)])

    assert {answer.status for answer in answers} == {200}
    assert all("s-maxage=30" in answer.headers["cache-control"] for answer in answers if not answer.json()["degraded"])
