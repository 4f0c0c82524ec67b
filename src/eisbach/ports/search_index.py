"""A search index of one cell: found anew from the catalogue whenever the process starts, never a source of truth."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

__all__ = ["Match", "SearchIndex", "WantedWord"]


class WantedWord(NamedTuple):
    """A word that must be found in some field."""

    text: str
    forms: Sequence[str]
    prefix: bool
    """The beginning of a word of a name is enough."""


class Match(NamedTuple):
    """A document that has every wanted word."""

    score: float
    """Higher is nearer; comparable within one state of the index."""
    id: str


class SearchIndex(Protocol):
    """Fields ``names``, ``genres`` (folded words), ``german``, ``english`` (text to be stemmed)."""

    async def update(self, documents: Iterable[tuple[str, tuple[str, str, str, str] | None]]) -> None:
        """Replace documents, or remove them (None), all at once; what makes them may take long, and is not awaited."""
        ...

    async def search(self, words: Sequence[WantedWord], *, limit: int) -> Sequence[Match]:
        """The best ``limit`` matches, best first, ties by id."""
        ...
