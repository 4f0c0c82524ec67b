"""Words of titles and queries come to one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.domain.catalog import Title
from eisbach.domain.search import QUERY_CHARS_MAX, TERMS_MAX, search_text, terms_of
from eisbach.kernel.errors import Invalid


def test_an_umlaut_has_both_of_its_spellings_and_case_and_accents_do_not_count() -> None:
    forms = [term.forms for term in terms_of("MÜNCHNER Straße café Öl2")]

    assert forms == [("munchner", "muenchner"), ("strasse",), ("cafe", "café"), ("ol2", "oel2")]


def test_the_last_word_is_still_being_typed_unless_a_blank_follows() -> None:
    assert [term.last for term in terms_of("big buck bun")] == [False, False, True]
    assert [term.last for term in terms_of("big buck bunny ")] == [False, False, False]


@pytest.mark.parametrize("query", ["", "   ", "?!-_*", "x" * (QUERY_CHARS_MAX + 1)])
def test_a_query_without_a_word_or_too_long_is_refused(query: str) -> None:
    with pytest.raises(Invalid, match="q "):
        terms_of(query)


@given(st.text(max_size=QUERY_CHARS_MAX))
def test_whatever_is_typed_becomes_few_words_of_letters_and_digits_or_is_refused(query: str) -> None:
    try:
        terms = terms_of(query)
    except Invalid:
        return

    assert 1 <= len(terms) <= TERMS_MAX
    assert all(form.isalnum() for term in terms for form in term.forms if form.isascii())


def test_names_of_every_language_are_words_and_german_and_english_texts_are_stemmed() -> None:
    title = Title(
        id="w", revision=1, names={"de": "Größe", "en": "Size", "fr": "Taille"}, genres=["Doku"],
        synopses={"de": "Über Wellen"},
    )  # fmt: skip

    found = search_text(title)

    assert found.names == "grosse groesse size taille"
    assert (found.genres, found.german, found.english) == ("doku", "größe über wellen", "size ")
