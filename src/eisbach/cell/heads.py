"""Heads of answers as HTTP/1.1 bytes: what answers have in common is joined once, not once an answer.

Promises: the same fields in the same order as the ASGI door; a field with a line end is a bug that raises.
May not know: calls, routes, what is answered.
"""

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final

__all__ = ["Heads", "header_field"]

_BODILESS: Final = (204, 304)
_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class Heads:
    """Of one process."""

    def __init__(self, who_answers: Sequence[tuple[bytes, bytes]]) -> None:
        """``who_answers``: fields of every answer."""
        who = b"".join(_line(*field) for field in who_answers)
        self._starts = {status: line + who + b"eisbach-request-id: " for status, line in _STATUS_LINES.items()}

    def head(
        self,
        status: int,
        more: Sequence[tuple[str, str]],
        *,
        request_id: bytes,
        content: tuple[str, int],
        position: bytes,
    ) -> bytes:
        """Status line and fields, without the empty line that ends them.

        Args:
            status: of the answer.
            more: its own fields.
            request_id: printable.
            content: type and length, not sent where a status has no body.
            position: ``kernel.versions.position_bytes``, or empty.
        """
        parts = [self._starts[status], request_id]
        if status in _BODILESS:
            parts.append(b"\r\n")
        else:
            parts += (_typed(content[0]), b"%d\r\n" % content[1])
        if position:
            parts += (b"eisbach-position: ", position, b"\r\n")
        for header in more:
            parts.append(_named(header))
        return b"".join(parts)


@lru_cache(maxsize=1024)
def header_field(name: str, value: str) -> tuple[bytes, bytes]:
    """As it is sent; most answers carry one of a few."""
    return name.lower().encode(), value.encode("latin-1")


@lru_cache(maxsize=64)
def _typed(content_type: str) -> bytes:
    """From the end of the request id to the value of ``content-length``."""
    return b"\r\n" + _line(b"content-type", content_type.encode()) + b"content-length: "


@lru_cache(maxsize=1024)
def _named(header: tuple[str, str]) -> bytes:
    return _line(*header_field(*header))


def _line(name: bytes, value: bytes) -> bytes:
    field = b"%b: %b" % (name, value)
    if b"\n" in field or b"\r" in field:
        raise AssertionError(f"a header holds a line end: {field!r}")
    return field + b"\r\n"
