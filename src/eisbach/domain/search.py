"""What search compares: words of titles and of queries, brought to one form. Pure.

German and English: case and accents do not count; an umlaut is found by both of its spellings (``ü`` as ``u`` and as
``ue``), since keyboards and ears differ. May not know: indexes, scores.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

from eisbach.domain.catalog import Title
from eisbach.kernel.errors import Invalid

__all__ = ["QUERY_CHARS_MAX", "TERMS_MAX", "SearchText", "Term", "search_text", "terms_of"]

QUERY_CHARS_MAX: Final = 100
TERMS_MAX: Final = 8
"""Further words of a query are not looked at."""
_WORD: Final = re.compile(r"[^\W_]+")
_SPELLED: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa"})
_WORDS_MAX: Final = 5_000
"""Of one title."""


class Term(NamedTuple):
    """A word of a query."""

    text: str
    """Lower case, as typed: what a stemmer takes."""
    forms: tuple[str, ...]
    """Folded spellings, one or two."""
    last: bool
    """Still being typed: its beginning is enough."""


class SearchText(NamedTuple):
    """What is indexed of a title."""

    names: str
    """Folded words of every name, each spelling, between blanks."""
    genres: str
    german: str
    """Names and synopses, to be stemmed."""
    english: str


def terms_of(query: str) -> Sequence[Term]:
    """The words of a query, in order.

    Raises:
        Invalid: over 100 characters, or no word in it.
    """
    if len(query) > QUERY_CHARS_MAX:
        raise Invalid(f"q has {len(query)} characters; send at most {QUERY_CHARS_MAX}")
    words = _words(query)[:TERMS_MAX]
    if not words:
        raise Invalid(f"q {query[:40]!r} has no letter or digit; send a word")
    # A blank at the end says that the last word is whole.
    typing = not query[-1:].isspace()
    return [Term(word, _forms(word), typing and place == len(words) - 1) for place, word in enumerate(words)]


def search_text(title: Title) -> SearchText:
    """What can be found of a title; other languages are found by the words of their names."""
    names = [form for name in title.names.values() for word in _words(name)[:_WORDS_MAX] for form in _forms(word)]
    genres = [form for genre in title.genres for word in _words(genre) for form in _forms(word)]

    def told(language: str) -> str:
        return f"{title.names.get(language, '')} {title.synopses.get(language, '')}".lower()

    return SearchText(" ".join(names), " ".join(genres), told("de"), told("en"))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def _forms(word: str) -> tuple[str, ...]:
    bare = "".join(c for c in unicodedata.normalize("NFKD", word.replace("ß", "ss")) if not unicodedata.combining(c))
    return tuple(dict.fromkeys((bare, word.translate(_SPELLED))))
