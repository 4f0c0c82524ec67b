"""The joint of a cell's surface: a call, an answer, and the route that says everything about it.

A route is a record: path, handler, class, who may call, what goes in and out. Admission, authentication, ownership,
parsing, metrics and the OpenAPI document all read the same table, so none of them can disagree with another.
Routes come as lists from the features (``PlaybackCalls(...).routes()``); ``bootstrap`` concatenates them.
May not know: how a request arrived, which features there are.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from eisbach.domain.accounts import Identity
from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import BODY_BYTES_MAX, IDEMPOTENCY_KEY_CHARS_MAX
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark

__all__ = ["Answer", "Call", "Caller", "Handler", "Importance", "Route", "json_answer", "no_content"]

Importance = Literal["critical", "degraded", "best_effort", "bulk"]
Caller = Literal["anyone", "viewer", "service", "operator", "peer"]
"""``anyone``; ``viewer``: an access token; ``service``: spokes and operators; ``peer``: another region."""

_encoder = msgspec.json.Encoder()
_KEY_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class Call(msgspec.Struct):
    """One request, parsed and checked as its route says."""

    request_id: str
    params: Mapping[str, str]
    """Of the path."""
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    """As they came; lower-case names. ``header`` reads one."""
    raw: bytes = b""
    body: Any = None
    """An instance of the route's ``body``; typed by the handler."""
    who: Identity | None = None
    on: Slot | None = None
    """Where the caller's account lives; this cell owns it."""
    position: dict[str, Mark] = {}
    """What the caller has seen or written."""
    doubled: str = ""
    """A header that must be there once and is there twice."""
    content: AsyncIterator[bytes] | None = None
    """The body in pieces, for routes with ``streams``."""

    @property
    def identity(self) -> Identity:
        """The caller, on routes for viewers."""
        assert self.who is not None, "only routes with caller='viewer' have an identity"
        return self.who

    @property
    def slot(self) -> Slot:
        """The caller's slot, on routes for viewers."""
        assert self.on is not None, "only routes with caller='viewer' have a slot"
        return self.on

    def header(self, name: bytes) -> str | None:
        """The value of a header by its lower-case name; few are ever looked at, so only those are decoded."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def idempotency_key(self) -> str:
        """The client's key of this call.

        Raises:
            Invalid: absent or malformed.
        """
        key = self.header(b"idempotency-key") or ""
        if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or not _KEY_CHARACTERS.issuperset(key):
            raise Invalid(f"Idempotency-Key {key[:80]!r} is not one; send 1 to 64 of A-Z, a-z, 0-9, '_', '-'")
        return key


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What goes back; the app adds who answered."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "application/json"
    position: Mapping[str, Mark] | None = None
    """Where the write of this call lies, for the caller's next read."""


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call of the surface."""

    method: str
    path: str
    """Starlette's template, e.g. ``/v1/me/progress/{title}``."""
    handler: Handler
    importance: Importance
    summary: str
    caller: Caller = "viewer"
    body: type[msgspec.Struct] | None = None
    """Parsed strictly; None: the body is left in ``Call.raw``."""
    answer: Any = None
    """Type of the JSON answer, for the OpenAPI document; None: no JSON."""
    status: int = 200
    """Of the normal answer."""
    body_bytes_max: int = BODY_BYTES_MAX
    streams: bool = False
    """The handler reads ``Call.content`` itself, bounded by ``body_bytes_max``."""
    codes: tuple[str, ...] = ()
    """Problem codes of its own, beside those that any call may answer."""
    keyed: bool = False
    """Takes ``Idempotency-Key``."""
    listed: bool = True
    """Whether viewers' OpenAPI document shows it."""


def json_answer(value: object, *, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """``value`` as JSON; private calls are never cached unless ``headers`` says otherwise."""
    return Answer(status, _encoder.encode(value), headers)


def no_content(*, position: Mapping[str, Mark] | None = None, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """204: done, nothing to say but where it lies in the log."""
    return Answer(204, b"", headers, position=position)
