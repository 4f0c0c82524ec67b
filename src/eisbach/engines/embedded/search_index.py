"""``ports.search_index`` with tantivy, in memory: stems of German and English, beginnings, one typing mistake.

Points for each word: 4 in a name as it is, 2 as a stem of a name or synopsis, 2 as the beginning of a word of a name,
1 as a genre, a half as a near miss. Not BM25: its scores change with every title that comes or goes, and pages that
follow each other by score would miss some.
May not know: titles.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import tantivy
from tantivy import Occur, Query

from eisbach.engines.embedded.disk import Disk, inline
from eisbach.ports.search_index import Match, WantedWord

__all__ = ["TantivyIndex"]

_HEAP_BYTES: Final = 15_000_000
"""Of the writer while it writes; tantivy's least."""
_FUZZY_FROM: Final = 5
"""Shorter words have too many neighbours at a distance of one."""
_PREFIX_FROM: Final = 2
_STEMS: Final = {"german": "stem_de", "english": "stem_en"}


class TantivyIndex:
    """One a cell."""

    def __init__(self, *, disk: Disk = inline) -> None:
        """``disk``: where work that takes long runs; in the order in which it was asked for."""
        self._disk = disk
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("id", stored=True, tokenizer_name="raw")
        for name in ("names", "genres"):
            builder.add_text_field(name, tokenizer_name="words")
        for language, name in _STEMS.items():
            builder.add_text_field(language, tokenizer_name=name)
        self._index = tantivy.Index(builder.build())
        words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer("words", words)
        self._stemmers = {language: _stemmer(language) for language in _STEMS}
        for language, name in _STEMS.items():
            self._index.register_tokenizer(name, self._stemmers[language])

    async def update(self, documents: Iterable[tuple[str, tuple[str, str, str, str] | None]]) -> None:
        """See ``SearchIndex``."""
        await self._disk(lambda: self._update(documents))

    async def search(self, words: Sequence[WantedWord], *, limit: int) -> Sequence[Match]:
        """See ``SearchIndex``."""
        return await self._disk(lambda: self._search(words, limit))

    def _update(self, documents: Iterable[tuple[str, tuple[str, str, str, str] | None]]) -> None:
        writer = self._index.writer(_HEAP_BYTES, 1)
        for identity, fields in documents:
            writer.delete_documents_by_term("id", identity)
            if fields is not None:
                names, genres, german, english = fields
                writer.add_document(
                    tantivy.Document(id=identity, names=names, genres=genres, german=german, english=english)
                )
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()

    def _search(self, words: Sequence[WantedWord], limit: int) -> Sequence[Match]:
        searcher = self._index.searcher()
        query = Query.boolean_query([(Occur.Must, self._anywhere(word)) for word in words])
        hits = searcher.search(query, limit, count=False).hits
        found = [Match(round(score, 4), str(searcher.doc(address)["id"][0])) for score, address in hits]
        return sorted(found, key=lambda match: (-match.score, match.id))

    def _anywhere(self, word: WantedWord) -> Query:
        return Query.boolean_query([(Occur.Should, query) for query in self._ways(word)])

    def _ways(self, word: WantedWord) -> Iterator[Query]:
        schema = self._index.schema
        for form in word.forms:
            yield Query.const_score_query(Query.term_query(schema, "names", form), 4.0)
            yield Query.const_score_query(Query.term_query(schema, "genres", form), 1.0)
            if word.prefix and len(form) >= _PREFIX_FROM:
                yield Query.const_score_query(Query.regex_query(schema, "names", f"{re.escape(form)}.*"), 2.0)
            if len(form) >= _FUZZY_FROM:
                yield Query.const_score_query(Query.fuzzy_term_query(schema, "names", form, distance=1), 0.5)
        for language, stemmer in self._stemmers.items():
            for stem in stemmer.analyze(word.text):
                yield Query.const_score_query(Query.term_query(schema, language, stem), 2.0)


def _stemmer(language: str) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    return builder.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.stemmer(language)).build()
