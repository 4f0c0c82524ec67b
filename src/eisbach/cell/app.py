"""The cell's application: from the route table to checked calls, and from answers and failures to bytes.

In the order of what a refusal costs: class limit, caller, slot, body, position, then the handler. Two doors lead in:
ASGI, for tests, for what is wrapped and for streams; and ``CellApp.direct``, by which a server that has a whole small
request gets the answer's bytes: ASGI's messages cost more than the call (docs/figures.md).
May not know: what any call does, which server calls.
"""

import asyncio
import contextlib
import hmac
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eisbach.cell.adaptive_limit import AdaptiveLimit
from eisbach.cell.dispatch import Table
from eisbach.cell.heads import Heads, header_field
from eisbach.cell.identity import Tokens
from eisbach.cell.metrics import Metrics, RouteFigures
from eisbach.cell.ownership import Ownership
from eisbach.cell.position import Positions
from eisbach.cell.problems import Problem, TooLarge, Unauthorized, problem_answer, problem_of
from eisbach.cell.routes import Answer, Call, Importance, Route
from eisbach.kernel.errors import Denied, EisbachError, Invalid, Overloaded, SlotMoved
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, merged, position_bytes

__all__ = ["EXPOSED_HEADERS", "CellApp", "Endpoint", "Gate", "cell_app"]

EXPOSED_HEADERS: Final = (
    "Eisbach-Cell", "Eisbach-Region", "Eisbach-Position", "Eisbach-Owner", "Eisbach-Age-Ms", "Eisbach-Durability",
    "Eisbach-Request-Id", "ETag", "Retry-After",
)  # fmt: skip
REQUEST_ID_CHARS_MAX: Final = 64
_ONCE: Final = (b"authorization", b"eisbach-slot", b"eisbach-position", b"idempotency-key", b"request-intent")
"""Headers that decide something: two of one are refused, or edge and cell might each believe another."""

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
    """Long polls of peers left out: they wait without working, and counting them would shed viewers."""
    limit: AdaptiveLimit = field(default_factory=lambda: AdaptiveLimit(lambda: 0.0))
    who_answers: tuple[tuple[bytes, bytes], ...] = ()
    """Headers of every answer."""
    heads: Heads = field(default_factory=lambda: Heads(()))

    def __post_init__(self) -> None:
        self.who_answers = ((b"eisbach-cell", self.cell.encode()), (b"eisbach-region", self.region.encode()))
        self.heads = Heads(self.who_answers)

    def admit(self, importance: Importance) -> None:
        """Refuse what is too much.

        Raises:
            Overloaded: the class's share of the limit is taken, or the cell is late and the class is not important.
        """
        if not self.limit.admits(importance, in_work=self.in_work):
            raise Overloaded(
                f"{self.in_work} calls are in work here, pressure {self.limit.pressure:.1f}: too much for class"
                f" {importance}; try again later"
            )

    def measure(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """See how late the loop is: when what is ready now gets its turn, or how long it has not had it by now."""
        if self.limit.begin(now):
            loop.call_soon(lambda: self.limit.end(loop.time()))

    def authenticate(self, route: Route, call: Call) -> None:
        """Fill in who calls and on which slot.

        Raises:
            Unauthorized: no token, or one that does not hold.
            SlotMoved: the slot is another cell's.
        """
        if route.caller == "anyone":
            return
        given = call.headers.get(b"authorization", b"")
        token = given[7:].decode("latin-1")
        if given[:7].lower() != b"bearer " or not token:
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
        named = call.header(b"eisbach-slot")
        if named is not None and named != slot_text:
            raise Denied(
                f"Eisbach-Slot is {named[:80]!r}, the token's is {slot_text!r}; send that", code="slot_mismatch"
            )
        return slot


class Endpoint:
    """A route behind its gate."""

    def __init__(self, route: Route, gate: Gate) -> None:
        self._route, self._gate = route, gate
        self._decoder = msgspec.json.Decoder(route.body) if route.body and not route.streams else None
        self._figures: RouteFigures = gate.metrics.route(f"{route.method} {route.path}", route.importance)
        self.body_bytes_max = 0 if route.streams else route.body_bytes_max
        """Of what ``direct`` takes."""

    async def __call__(self, params: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an ASGI request."""
        call = self._call(dict(scope["headers"]), params, _query(scope))
        if len(call.headers) != len(scope["headers"]):
            call.doubled = _doubled(scope["headers"])
        with contextlib.suppress(Disconnected):
            answer = await self._answered(call, receive)
            await send({"type": "http.response.start", "status": answer.status, "headers": self._head(answer, call)})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def direct(self, headers: dict[bytes, bytes], params: dict[str, str], body: bytes) -> tuple[bytes, bytes]:
        """Answer a whole request: the head as HTTP/1.1, without its empty line, and the body."""
        call = self._call(headers, params, {})
        call.raw = body
        answer = await self._answered(call, None)
        found = answer.body
        head = self._gate.heads.head(
            answer.status,
            answer.headers,
            request_id=call.request_id.encode("latin-1", "replace"),
            content=(answer.content_type, len(found)),
            position=b"" if answer.position is None else self._position(answer.position, call),
        )
        return head, found

    def _call(self, headers: dict[bytes, bytes], params: dict[str, str], query: dict[str, str]) -> Call:
        request_id = headers.get(b"eisbach-request-id", b"").decode("latin-1")
        if not request_id or len(request_id) > REQUEST_ID_CHARS_MAX or not request_id.isprintable():
            request_id = f"{self._gate.rng.getrandbits(64):016x}"
        return Call(request_id, params, query, headers)

    async def _answered(self, call: Call, receive: Receive | None) -> Answer:
        """Whatever happens, an answer; counted.

        Raises:
            Disconnected: nobody is left to answer.
        """
        gate, loop = self._gate, asyncio.get_running_loop()
        started, works = loop.time(), self._route.caller != "peer"
        gate.in_work += works
        gate.measure(loop, started)
        try:
            if receive is None and b"eisbach-position" not in call.headers:  # as most come; one coroutine less
                self._enter(call)
                if self._decoder is not None:
                    call.body = self._parse(call.raw)
                answer = await self._route.handler(call)
            else:
                answer = await self._answer(call, receive)
        except Disconnected:
            raise
        except EisbachError as error:
            answer = self._refusal(error, call)
        except Exception as error:  # a bug: the caller gets a problem, the log the trace, the count an alarm
            gate.metrics.bugs += 1
            _logger.exception("bug", route=self._route.path, request_id=call.request_id)
            bug = Problem(
                type="/docs/problems#bug", title="A bug", status=500, code="bug",
                detail=f"{type(error).__name__}; the log has it under {call.request_id}", request_id=call.request_id,
            )  # fmt: skip
            answer = problem_answer(bug)
        finally:
            gate.in_work -= works
        self._figures.count(answer.status, loop.time() - started)
        return answer

    async def _answer(self, call: Call, receive: Receive | None) -> Answer:
        route, gate = self._route, self._gate
        self._enter(call)
        if receive is not None:
            if route.streams:
                call.content = _pieces(call, receive, route.body_bytes_max)
            elif route.method != "GET":
                call.raw = await self._whole(call, receive)
        if self._decoder is not None:
            call.body = self._parse(call.raw)
        if (position := call.header(b"eisbach-position")) is None:
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

    def _enter(self, call: Call) -> None:
        """Refuse what is too much, what says a thing twice, and who may not call."""
        route, gate = self._route, self._gate
        if route.caller != "peer":
            gate.admit("bulk" if call.headers.get(b"request-intent") == b"prefetch" else route.importance)
        if call.doubled:
            raise Invalid(f"{call.doubled} comes twice; send it once")
        gate.authenticate(route, call)

    async def _whole(self, call: Call, receive: Receive) -> bytes:
        """The body; who sends it slowly is no work meanwhile, or a few that trickle would shed everybody."""
        gate, works = self._gate, self._route.caller != "peer"
        gate.in_work -= works
        try:
            return b"".join([piece async for piece in _pieces(call, receive, self._route.body_bytes_max)])
        finally:
            gate.in_work += works

    def _head(self, answer: Answer, call: Call) -> list[tuple[bytes, bytes]]:
        gate = self._gate
        headers = [*gate.who_answers, (b"eisbach-request-id", call.request_id.encode("latin-1", "replace"))]
        if answer.status not in (204, 304):
            headers.append((b"content-type", answer.content_type.encode()))
            headers.append((b"content-length", b"%d" % len(answer.body)))
        if answer.position is not None:
            headers.append((b"eisbach-position", self._position(answer.position, call)))
        headers += [header_field(name, value) for name, value in answer.headers]
        return headers

    def _position(self, written: Mapping[str, Mark], call: Call) -> bytes:
        """Merged with what the caller sent, so that a client may simply keep the last value it was given."""
        return position_bytes(merged(call.position, written) if call.position else written)

    def _parse(self, raw: bytes) -> object:
        assert self._decoder is not None
        try:
            return self._decoder.decode(raw or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"the body is not what {self._route.method} {self._route.path} takes: {error}") from error

    def _refusal(self, error: EisbachError, call: Call) -> Answer:
        problem = problem_of(error, rng=self._gate.rng, request_id=call.request_id)
        if isinstance(error, Denied) and error.code == "slot_mismatch":
            problem = msgspec.structs.replace(problem, status=421)
        elif problem.status == 421 and not problem.owner and isinstance(error, SlotMoved):
            owner = self._gate.ownership.owner(Slot.parse(error.slot))
            problem = msgspec.structs.replace(problem, owner=owner or "")
        return problem_answer(problem)


def _doubled(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """A header that decides something and is there more than once; empty: none."""
    names = [name for name, _ in headers]
    return next((name.decode() for name in _ONCE if names.count(name) > 1), "")


def _with_headers(answer: Answer, headers: Sequence[tuple[str, str]]) -> Answer:
    """The same answer with other headers."""
    return Answer(answer.status, answer.body, headers, answer.content_type, answer.position)


def _query(scope: Scope) -> dict[str, str]:
    raw: bytes = scope["query_string"]
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=20)) if raw else {}


async def _pieces(call: Call, receive: Receive, bytes_max: int) -> AsyncIterator[bytes]:
    """The body, refused as soon as it is known to be too large."""
    declared = call.header(b"content-length") or "0"
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


class CellApp:
    """The table's calls, and behind them the routes of others."""

    def __init__(self, routes: Sequence[Route], gate: Gate, others: ASGIApp) -> None:
        self._table: Table[Endpoint] = Table()
        for route in routes:
            self._table.add(route.method, route.path, Endpoint(route, gate))
        self.direct = self._table.find
        """(method, path) -> (endpoint, path's parameters), for a server that hands over whole requests."""
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            if (found := self._table.find(method, path)) is not None:
                await found[0](found[1], scope, receive, send)
                return
            if methods := self._table.methods(path):
                allowed = ", ".join(methods)
                detail = f"{path[:200]!r} takes {allowed}, not {method[:16]!r}"
                problem = Problem(
                    type="/docs/problems#method", title="Another method", status=405, code="method", detail=detail
                )
                await _refuse(problem, send, [(b"allow", allowed.encode())])
                return
        await self._others(scope, receive, send)


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
        routes: the table.
        gate: what every call passes.
        extra: Starlette routes of others, e.g. manifests and media; they check their own callers.
        cors: answer CORS here; only where no edge does.
        wrap: the outermost layer, e.g. the fault injection of a rehearsal.
    """
    app: ASGIApp = CellApp(routes, gate, Router(routes=extra, redirect_slashes=False, default=_not_found))
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
