"""``GET /v1/{mkt}/search``: titles that may be offered now, best first, page by page.

Promises: what is shown is what the catalogue in memory offers in the market at this moment, whatever the index still
has; the index is made when the first search comes and follows the catalogue beside the requests; while it is not up to
date the answer says ``degraded`` and is not kept by caches for longer than a second. The cursor is a key (score, id),
not an offset: a title that comes or goes moves no other between pages. May not know: how words are found.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from eisbach.cell.routes import Answer, Call, Route
from eisbach.cell.surface import SearchPage
from eisbach.domain.accounts import AGE_BANDS
from eisbach.domain.catalog import Card, Catalogue, Title, title_card
from eisbach.domain.rights import is_offered
from eisbach.domain.search import search_text, terms_of
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.ports.clock import Clock
from eisbach.ports.search_index import Match, SearchIndex, WantedWord

__all__ = ["SearchCalls"]

_PAGE: Final = 20
_DEEP: Final = 400
"""Matches that are looked at; who pages further should type another word."""
_FIRST_WAIT_S: Final = 0.4
_FRESH_S: Final = 30
_TYPES: Final = ("movie", "series", "episode")


class _After(NamedTuple):
    score: float
    id: str


class SearchCalls:
    """One a process."""

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        open_index: Callable[[], SearchIndex],
        *,
        markets: Sequence[str],
        clock: Clock,
    ) -> None:
        """``open_index``: called at the first search, so that a cell that nobody searches pays nothing."""
        self._catalogue, self._open = catalogue, open_index
        self._markets, self._clock = frozenset(markets), clock
        self._index: SearchIndex | None = None
        self._indexed = Catalogue()
        self._following: asyncio.Task[None] | None = None

    def routes(self) -> Sequence[Route]:
        """This feature's part of the table."""
        return [
            Route(
                method="GET", path="/v1/{mkt}/search", handler=self.search, importance="best_effort",
                summary="Titles by words: q, type, age, cursor", answer=SearchPage, caller="anyone",
            )
        ]  # fmt: skip

    async def search(self, call: Call) -> Answer:
        """A page of cards.

        Raises:
            Invalid: a parameter that is none; names it.
            NotFound: no such market here.
        """
        began = self._clock.monotonic_ms()
        market = call.params["mkt"]
        if market not in self._markets:
            raise NotFound(f"market {market[:16]!r} is not served here; this platform serves {sorted(self._markets)}")
        kind, age = _kind(call.query.get("type", "")), _age(call.query.get("age", str(max(AGE_BANDS))))
        after = _after(call.query.get("cursor", ""))
        words = [WantedWord(term.text, term.forms, term.last) for term in terms_of(call.query.get("q", ""))]
        catalogue, now_ms = self._catalogue(), self._clock.wall_ms()
        current = await self._follow(catalogue)
        matches = await self._index.search(words, limit=_DEEP) if self._index else []

        def shown(match: Match) -> bool:
            title = catalogue.titles.get(match.id)
            if title is None or not title.asset or (kind and title.type != kind):
                return False
            beyond = after is None or (-match.score, match.id) > (-after.score, after.id)
            return beyond and is_offered(title, market=market, age_max=age, at_ms=now_ms)

        left = [match for match in matches if shown(match)]
        hits = [_card(catalogue, match.id) for match in left[:_PAGE]]
        more = left[_PAGE - 1] if len(left) > _PAGE else None
        page = SearchPage(
            hits=hits, cursor=_cursor(more), took_ms=self._clock.monotonic_ms() - began, degraded=not current
        )
        fresh = _FRESH_S if current else 1
        stamp = hashlib.blake2b(msgspec.json.encode((hits, page.cursor)), digest_size=8).hexdigest()
        cache = f"public, max-age=0, s-maxage={fresh}, stale-while-revalidate=60, stale-if-error=600"
        headers = [("ETag", f'"{stamp}"'), ("Cache-Control", cache)]
        if call.header(b"if-none-match") == f'"{stamp}"':
            return Answer(304, b"", headers)
        return Answer(200, msgspec.json.encode(page), headers)

    async def _follow(self, catalogue: Catalogue) -> bool:
        """Bring the index to the catalogue beside the requests; whether it is there already."""
        if catalogue is self._indexed:
            return True
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._bring(catalogue), name="search index follows")
        # Not for long: an answer that says it is behind is better than one that comes too late.
        await asyncio.wait([self._following], timeout=_FIRST_WAIT_S)
        return catalogue is self._indexed

    async def _bring(self, catalogue: Catalogue) -> None:
        index = self._index or self._open()
        await index.update(_changed(self._indexed.titles, catalogue.titles))
        self._index, self._indexed = index, catalogue


def _changed(
    before: Mapping[str, Title], after: Mapping[str, Title]
) -> Iterator[tuple[str, tuple[str, str, str, str] | None]]:
    for identity, title in after.items():
        if title is not before.get(identity):
            yield identity, search_text(title)
    for identity in before:
        if identity not in after:
            yield identity, None


def _card(catalogue: Catalogue, identity: str) -> Card:
    title = catalogue.titles[identity]
    return title_card(title, catalogue.assets.get(title.asset or ""))


def _kind(text: str) -> str:
    if text and text not in _TYPES:
        raise Invalid(f"type {text[:16]!r} is not one of {_TYPES}")
    return text


def _age(text: str) -> int:
    if not text.isdigit() or int(text[:3]) not in AGE_BANDS:
        raise Invalid(f"age {text[:8]!r} is not one of {AGE_BANDS}")
    return int(text)


def _cursor(match: Match | None) -> str | None:
    if match is None:
        return None
    return base64.urlsafe_b64encode(msgspec.json.encode(match)).decode().rstrip("=")


def _after(text: str) -> _After | None:
    """What a cursor says.

    Raises:
        Invalid: it is none of ours.
    """
    if not text:
        return None
    try:
        raw = base64.b64decode(text[:200] + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=_After)
    except (ValueError, msgspec.DecodeError) as error:
        raise Invalid(f"cursor {text[:40]!r} is none; take the one of the page before") from error
