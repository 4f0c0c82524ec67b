"""The cell's ASGI application: from the route table to checked calls, and from answers and failures to bytes.

In the order of what a refusal costs: class limit, caller, slot, body, position, then the handler. Routing is
Starlette's; everything in between is raw ASGI, because a framework's request object costs more than the whole call
(docs/figures.md). May not know: what any call does.
"""

import asyncio
import hmac
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Router
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eisbach.cell.identity import Tokens
from eisbach.cell.metrics import Metrics, RouteFigures
from eisbach.cell.ownership import Ownership
from eisbach.cell.position import Positions
from eisbach.cell.problems import Problem, TooLarge, Unauthorized, problem_answer, problem_of
from eisbach.cell.routes import Answer, Call, Importance, Route
from eisbach.kernel.errors import Denied, EisbachError, Invalid, Overloaded, SlotMoved
from eisbach.kernel.limits import CELL_CONNECTIONS_MAX
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import encode_position, merged

__all__ = ["EXPOSED_HEADERS", "Gate", "cell_app"]

SHARE: Final[Mapping[Importance, float]] = {"critical": 1.0, "degraded": 0.9, "best_effort": 0.75, "bulk": 0.75}
"""Of the calls in work at which a class is refused (design section 5); the edge refuses first, by the same shares."""
EXPOSED_HEADERS: Final = (
    "Eisbach-Cell", "Eisbach-Region", "Eisbach-Position", "Eisbach-Owner", "Eisbach-Age-Ms", "Eisbach-Durability",
    "Eisbach-Request-Id", "ETag", "Retry-After",
)  # fmt: skip
REQUEST_ID_CHARS_MAX: Final = 64

_logger = structlog.get_logger(__name__)


class Disconnected(Exception):
    """The caller hung up; nobody is left to answer."""


@dataclass(slots=True)
class Gate:
    """What every call passes: who serves here, who may come in, whose slots these are."""

    cell: str
    region: str
    tokens: Tokens
    ownership: Ownership
    positions: Positions
    bearers: Mapping[str, Sequence[str]]
    """Kind of caller -> the bearer tokens that are such a caller."""
    metrics: Metrics
    rng: random.Random
    in_work: int = 0

    def admit(self, importance: Importance) -> None:
        """Refuse what is too much.

        Raises:
            Overloaded: the class's share of calls in work is taken.
        """
        if self.in_work >= CELL_CONNECTIONS_MAX * SHARE[importance]:
            raise Overloaded(f"{self.in_work} calls are in work here, too many for class {importance}; try again later")

    def authenticate(self, route: Route, call: Call) -> None:
        """Fill in who calls and on which slot.

        Raises:
            Unauthorized: no token, or one that does not hold.
            SlotMoved: the slot is another cell's.
        """
        if route.caller == "anyone":
            return
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("this call needs 'Authorization: Bearer TOKEN'; sign in first", code="token_missing")
        if route.caller != "viewer":
            if not any(hmac.compare_digest(token.encode(), one.encode()) for one in self.bearers[route.caller]):
                raise Unauthorized(f"that is not a {route.caller} token of this region", code="token_invalid")
            return
        call.who = self.tokens.verify(token)
        call.on = self.check_slot(call, call.who.slot)

    def check_slot(self, call: Call, slot_text: str) -> Slot:
        """The slot of a token or signed session, checked against the header and against what is ours.

        Raises:
            SlotMoved: not this cell's.
            Denied: ``slot_mismatch``, the header names another slot than the token.
        """
        slot = self.ownership.slot(slot_text)
        self.ownership.check(slot)
        named = call.headers.get("eisbach-slot")
        if named is not None and named != slot_text:
            raise Denied(
                f"Eisbach-Slot is {named[:80]!r}, the token's is {slot_text!r}; send that", code="slot_mismatch"
            )
        return slot


class _Endpoint:
    """A route as a raw ASGI application."""

    def __init__(self, route: Route, gate: Gate) -> None:
        self._route, self._gate = route, gate
        self._decoder = msgspec.json.Decoder(route.body) if route.body else None
        self._figures: RouteFigures = gate.metrics.route(f"{route.method} {route.path}", route.importance)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate = self._gate
        loop = asyncio.get_running_loop()
        started = loop.time()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = headers.get("eisbach-request-id", "")
        if not request_id or len(request_id) > REQUEST_ID_CHARS_MAX or not request_id.isprintable():
            request_id = f"{gate.rng.getrandbits(64):016x}"
        call = Call(request_id, scope.get("path_params", {}), _query(scope), headers)
        gate.in_work += 1
        try:
            answer = await self._answer(call, receive)
        except Disconnected:
            return
        except EisbachError as error:
            answer = self._refusal(error, call)
        except Exception as error:  # a bug: the caller gets a problem, the log the trace, the count an alarm
            gate.metrics.bugs += 1
            _logger.exception("bug", route=self._route.path, request_id=request_id)
            bug = Problem(
                type="/docs/problems#bug", title="A bug", status=500, code="bug",
                detail=f"{type(error).__name__}; the log has it under {request_id}", request_id=request_id,
            )  # fmt: skip
            answer = problem_answer(bug)
        finally:
            gate.in_work -= 1
        self._figures.count(answer.status, loop.time() - started)
        await _send(answer, call, gate, send, head=scope["method"] == "HEAD")

    async def _answer(self, call: Call, receive: Receive) -> Answer:
        route, gate = self._route, self._gate
        # A peer's long poll waits without working; counting it would shed viewers.
        if route.caller != "peer":
            gate.admit("bulk" if call.headers.get("request-intent") == "prefetch" else route.importance)
        gate.authenticate(route, call)
        if route.streams:
            call.content = _pieces(call.headers, receive, route.body_bytes_max)
        elif route.method != "GET":
            call.raw = b"".join([piece async for piece in _pieces(call.headers, receive, route.body_bytes_max)])
            if self._decoder is not None:
                call.body = self._parse(call.raw)
        if (position := call.headers.get("eisbach-position")) is None:
            return await route.handler(call)
        age_ms = await gate.positions.wait(call, position, reading=route.method == "GET")
        try:
            answer = await route.handler(call)
        except EisbachError as error:
            if age_ms is None:
                raise
            answer = self._refusal(error, call)  # that something is not there may be old news too
        if age_ms is None:
            return answer
        return _with_headers(answer, [*answer.headers, ("Eisbach-Age-Ms", str(age_ms))])

    def _parse(self, raw: bytes) -> object:
        assert self._decoder is not None
        try:
            return self._decoder.decode(raw or b"{}")
        except msgspec.DecodeError as error:
            raise Invalid(f"the body is not what {self._route.method} {self._route.path} takes: {error}") from error

    def _refusal(self, error: EisbachError, call: Call) -> Answer:
        problem = problem_of(error, rng=self._gate.rng, request_id=call.request_id)
        if isinstance(error, Denied) and error.code == "slot_mismatch":
            problem = msgspec.structs.replace(problem, status=421)
        elif problem.status == 421 and not problem.owner and isinstance(error, SlotMoved):
            owner = self._gate.ownership.owner(Slot.parse(error.slot))
            problem = msgspec.structs.replace(problem, owner=owner or "")
        return problem_answer(problem)


def _with_headers(answer: Answer, headers: Sequence[tuple[str, str]]) -> Answer:
    """The same answer with other headers."""
    return Answer(answer.status, answer.body, headers, answer.content_type, answer.position)


def _query(scope: Scope) -> dict[str, str]:
    raw: bytes = scope["query_string"]
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=20)) if raw else {}


async def _pieces(headers: Mapping[str, str], receive: Receive, bytes_max: int) -> AsyncIterator[bytes]:
    """The body, refused as soon as it is known to be too large."""
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > bytes_max:
        raise TooLarge(f"the body has {declared} bytes; this call takes at most {bytes_max}")
    total = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        total += len(piece)
        if total > bytes_max:
            raise TooLarge(f"the body has more than {bytes_max} bytes, which is all this call takes")
        yield piece
        if not message.get("more_body", False):
            return


async def _send(answer: Answer, call: Call, gate: Gate, send: Send, *, head: bool) -> None:
    headers = [
        (b"eisbach-cell", gate.cell.encode()),
        (b"eisbach-region", gate.region.encode()),
        (b"eisbach-request-id", call.request_id.encode("latin-1", "replace")),
    ]
    if answer.status not in (204, 304):
        headers.append((b"content-type", answer.content_type.encode()))
        headers.append((b"content-length", str(len(answer.body)).encode()))
    if answer.position is not None:
        # Merged with what the caller sent, so that a client may simply keep the last value it was given.
        headers.append((b"eisbach-position", encode_position(merged(call.position, answer.position)).encode()))
    headers.extend((name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


class _TableRoute(StarletteRoute):
    """Refuses a wrong method as a problem, where Starlette would answer plain text."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            await self.app(scope, receive, send)
            return
        allowed = ", ".join(sorted(self.methods or ()))
        detail = f"{scope['path'][:200]!r} takes {allowed}, not {scope['method'][:16]!r}"
        problem = Problem(
            type="/docs/problems#method", title="Another method", status=405, code="method", detail=detail
        )
        await _refuse(problem, send, [(b"allow", allowed.encode())])


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    if scope["type"] != "http":
        return
    detail = f"{scope['method'][:16]} {scope['path'][:200]!r} is not a call; /v1/openapi.json lists them"
    await _refuse(
        Problem(
            type="/docs/problems#no_such_call", title="No such call", status=404, code="no_such_call", detail=detail
        ),
        send,
    )


async def _refuse(problem: Problem, send: Send, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """A refusal outside of any route: nobody's figures, no caller."""
    answer = problem_answer(problem)
    headers = [(n.lower().encode(), v.encode()) for n, v in answer.headers]
    headers += [(b"content-type", answer.content_type.encode()), (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": answer.body})


def cell_app(
    routes: Sequence[Route],
    gate: Gate,
    *,
    extra: Sequence[BaseRoute] = (),
    cors: bool = False,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> ASGIApp:
    """The application of a process.

    Args:
        routes: the table, hottest first (routing looks at them in order).
        gate: what every call passes.
        extra: Starlette routes of others, e.g. manifests and media; they check their own callers.
        cors: answer CORS here; only where no edge does.
        wrap: the outermost layer, e.g. the fault injection of a rehearsal.
    """
    table: list[BaseRoute] = [_TableRoute(r.path, _Endpoint(r, gate), methods=[r.method]) for r in routes]
    app: ASGIApp = Router(routes=[*table, *extra], redirect_slashes=False, default=_not_found)
    if cors:
        app = CORSMiddleware(
            app,
            allow_origins=["*"],
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=list(EXPOSED_HEADERS),
            max_age=86400,
        )
    return wrap(app)
