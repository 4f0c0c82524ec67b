"""Heads as bytes: nothing that an answer carries can begin a line of its own."""

import pytest

from eisbach.cell.heads import Heads

WHO = [(b"eisbach-cell", b"c1"), (b"eisbach-region", b"eu-central")]


def head(status: int, *more: tuple[str, str]) -> bytes:
    return Heads(WHO).head(status, more, request_id=b"r-1", content=("application/json", 2), position=b'{"a":[1,2]}')


def test_a_head_names_who_answered_the_content_and_the_place_of_the_write() -> None:
    assert head(201, ("Cache-Control", "no-store")) == (
        b"HTTP/1.1 201 Created\r\neisbach-cell: c1\r\neisbach-region: eu-central\r\neisbach-request-id: r-1\r\n"
        b'content-type: application/json\r\ncontent-length: 2\r\neisbach-position: {"a":[1,2]}\r\n'
        b"cache-control: no-store\r\n"
    )


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_says_nothing_of_one(status: int) -> None:
    assert b"content" not in head(status)


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\ny", "a\r"])
def test_a_field_with_a_line_end_is_a_bug_that_raises(value: str) -> None:
    with pytest.raises(AssertionError, match="line end"):
        head(200, ("X-Name", value))
