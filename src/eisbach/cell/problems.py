"""Problems: every failure as RFC 9457 JSON with a code that a program can act on.

One table from the error tree to HTTP. Never 403 for "not yet": what may succeed later is 429 or 503 with a jittered
``Retry-After``. A caller that was sent to the wrong cell is told the right one (421).
"""

import json
import random
from collections.abc import Mapping
from typing import Any

import msgspec

from eisbach.cell.routes import Answer
from eisbach.kernel.errors import (
    Corrupt,
    Denied,
    EisbachError,
    EpochStale,
    FileDamaged,
    Invalid,
    LeaseLost,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    Retryable,
    SlotMoved,
    Unavailable,
    VersionConflict,
)

__all__ = ["Problem", "Refused", "TooLarge", "Unauthorized", "problem_answer", "problem_of"]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457, with the members that Eisbach adds."""

    type: str
    """URI reference of the code's description."""
    title: str
    status: int
    code: str
    detail: str = ""
    retry_after_ms: int = 0
    """Wait at least this long; already jittered."""
    owner: str = ""
    """With 421: the cell to ask."""
    request_id: str = ""
    more: dict[str, Any] = {}
    """What the code says it has, e.g. ``conflicts`` of ``concurrency``."""


class Unauthorized(Rejected):
    """No token, or one that does not hold; sign in or refresh."""

    def __init__(self, message: str, *, code: str) -> None:
        """``code``: ``token_missing``, ``token_expired``, ``token_invalid`` or ``token_foreign``."""
        super().__init__(message)
        self.code = code


class TooLarge(Rejected):
    """The body is over its bound."""

    code = "body_too_large"


class Refused(Denied):
    """A denial with more to say than its code."""

    def __init__(self, message: str, *, code: str, status: int, more: Mapping[str, Any]) -> None:
        """``more``: members of the problem's ``more``."""
        super().__init__(message, code=code)
        self.status, self.more = status, dict(more)


_STATUS: tuple[tuple[type[EisbachError], int, str], ...] = (
    (Unauthorized, 401, "Sign in or refresh"),
    (TooLarge, 413, "Too large"),
    (SlotMoved, 421, "Another cell has this slot"),
    (Overloaded, 503, "Busy"),
    (OutcomeUnknown, 503, "Outcome unknown"),
    (Retryable, 503, "Not now"),
    (Invalid, 400, "Invalid"),
    (NotFound, 404, "Not found"),
    (Denied, 403, "Not allowed"),
    (VersionConflict, 409, "Changed meanwhile"),
    (LeaseLost, 409, "Lease lost"),
    (EpochStale, 421, "The slot has changed hands"),
    (Rejected, 409, "Refused"),
    (Corrupt, 500, "Corrupt"),
    (EisbachError, 500, "Error"),
)
"""From the special to the general; the first that fits counts."""


_DETAIL_CHARS = 150
"""Twelve bytes each, at most."""


def problem_of(error: EisbachError, *, rng: random.Random, request_id: str = "") -> Problem:
    """The problem that an expected failure is."""
    if isinstance(error, FileDamaged):  # the path is the operator's; the process ends, and the twin has everything
        error = Unavailable("this cell's file is damaged, and the cell ends; nothing was done, the twin serves")
    status, title = next((s, t) for kind, s, t in _STATUS if isinstance(error, kind))
    retry_after_ms = 0
    if isinstance(error, Retryable):
        # Full jitter above the least wait, so that refused callers do not come back as one wave.
        retry_after_ms = int(error.retry_after.total_seconds() * 1000 * (1 + rng.random()))
    return Problem(
        type=f"/docs/problems#{error.code}",
        title=title,
        status=error.status if isinstance(error, Refused) else status,
        code=error.code,
        detail=str(error),
        retry_after_ms=retry_after_ms,
        owner=(error.owner or "") if isinstance(error, SlotMoved) else "",
        request_id=request_id,
        more=error.more if isinstance(error, Refused) else {},
    )


def problem_answer(problem: Problem) -> Answer:
    """The problem as an answer, with ``Retry-After``, ``Eisbach-Owner`` and ``WWW-Authenticate`` where they belong.

    ``Eisbach-Code`` is for who sees the head only: a 503 does not say by itself whether it may be tried elsewhere.
    ``Eisbach-Problem`` is the whole of a 500, for an edge that cannot let the body pass where it looks at the status.
    """
    headers = [("Cache-Control", "no-store"), ("Eisbach-Code", problem.code)]
    if problem.status == 500:
        headers.append(("Eisbach-Problem", _in_a_header(problem)))
    if problem.retry_after_ms:
        headers.append(("Retry-After", str(-(-problem.retry_after_ms // 1000))))
    if problem.owner:
        headers.append(("Eisbach-Owner", problem.owner))
    if problem.status == 401:
        headers.append(("WWW-Authenticate", f'Bearer error="{problem.code}"'))
    return Answer(problem.status, msgspec.json.encode(problem), headers, content_type="application/problem+json")


def _in_a_header(problem: Problem) -> str:
    """ASCII, and short enough for a head that nginx takes (4 KiB with all the others)."""
    short = msgspec.structs.replace(problem, detail=problem.detail[:_DETAIL_CHARS], more={})
    return json.dumps(msgspec.to_builtins(short))
