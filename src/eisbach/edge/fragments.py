"""Pieces of nginx configuration that edge, media origin and front share: process, logs, problem pages, CORS.

Text in, text out. Whatever comes from a map or a document passes ``word``, ``address`` or ``quoted`` first, so that no
value can add a directive.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from eisbach.kernel.errors import Invalid

__all__ = [
    "EXPOSED",
    "Process",
    "address",
    "doubt",
    "headers",
    "indented",
    "main",
    "mapping",
    "preflight",
    "problem",
    "protocol_pages",
    "protocol_problems",
    "proxy",
    "quoted",
    "word",
]

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-f:]+\]):[1-9][0-9]{0,4}", re.ASCII)
_QUOTABLE = re.compile(r"[^\x00-\x1f\x7f\"'\\${};]*")
EXPOSED: Final = (
    "Eisbach-Cell, Eisbach-Region, Eisbach-Position, Eisbach-Age-Ms, Eisbach-Durability, Eisbach-Owner,"
    " Eisbach-Request-Id, Eisbach-Cache, Retry-After, ETag, Age, Date, Content-Length, Content-Range"
)
"""What scripts of other origins may read of an answer."""
_PREFLIGHT_S: Final = 7200
"""The longest that Chromium keeps a preflight."""
_REQUEST_ID: Final = [("~^[A-Za-z0-9_-]{8,64}$", "$http_eisbach_request_id")]
_LOGGED_PATH: Final = [
    # A media token may be in the path and is never written down.
    ("~^/t/[^/?]*(?<after_token>/[^?]*)?", "/t/-$after_token"),
    ("~^(?<before_query>[^?]*)", "$before_query"),
]
_MILLISECONDS: Final = [
    (r"~^0\.0*(?<ms_below_1s>[0-9]+)$", "$ms_below_1s"),
    (r"~^(?<ms_seconds>[0-9]+)\.(?<ms_rest>[0-9]+)$", "$ms_seconds$ms_rest"),
]
_TITLES: Final = {
    400: "Bad request", 403: "Forbidden", 404: "Not found", 405: "Method not allowed", 408: "Request timeout",
    412: "Precondition failed", 413: "Content too large", 414: "URI too long", 416: "Range not satisfiable",
    421: "Misdirected request", 431: "Request header fields too large", 500: "Internal server error",
    501: "Not implemented", 502: "Bad gateway", 503: "Service unavailable", 504: "Gateway timeout",
    505: "HTTP version not supported",
}  # fmt: skip
_PROTOCOL: Final = {
    400: ("bad_request", 400, "bad_request", "This is not an HTTP request that can be read."),
    405: ("refused_method", 405, "method", "This path does not take $request_method."),
    408: ("slow_request", 408, "slow_request", "The request did not arrive in time."),
    412: ("bad_precondition", 412, "precondition_failed", "What is here is not what the condition names."),
    413: ("large_body", 413, "too_large", "This path takes no body of this length."),
    414: ("long_uri", 414, "uri_too_long", "The URI is longer than 8 KiB."),
    416: ("bad_range", 416, "range", "This ends before the range begins."),
    494: ("long_headers", 431, "headers_too_large", "The headers are larger than 32 KiB."),
    500: ("broken", 500, "internal", "This could not be carried out here; the log of this server says why."),
    501: ("unknown_coding", 501, "not_implemented", "Of transfer codings only chunked is known here."),
    505: ("unknown_version", 505, "http_version", "Spoken here are HTTP/1.0 and HTTP/1.1."),
}
"""nginx's own refusals, which would be HTML: status there -> (location, status here, code, detail)."""
_ASKED_MAX: Final = 6
"""Two cells and two doors, at most, and two more."""
_FACTS: Final = (
    '"t":$msec,"method":"$request_method","path":"$logged_path","status":$status,"bytes":$body_bytes_sent,'
    '"ms":$request_time_ms,"rid":"$rid","upstream":"$upstream_addr","upstream_status":"$upstream_status",'
    '"cache":"$upstream_cache_status"'
)
"""One JSON line a request; no address of a person, no query, no token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """How an nginx runs."""

    user: str = ""
    """Account of the workers; needed when the master is root, refused otherwise. ``user`` or ``user group``."""
    workers: int = 1
    connections: int = 2048


def word(text: str) -> str:
    """A name of ours (cell, region, market) that may stand bare in a configuration."""
    if _WORD.fullmatch(text) is None:
        raise Invalid(f"{text[:80]!r} cannot be a name in an nginx configuration; use letters, digits, '-' and '_'")
    return text


def address(text: str) -> str:
    """``host:port``, with or without ``http://`` before it."""
    bare = text.removeprefix("http://").rstrip("/")
    if _ADDRESS.fullmatch(bare) is None:
        raise Invalid(f"{text[:80]!r} is not 'host:port'")
    return bare


def quoted(text: str) -> str:
    """A path or origin in double quotes."""
    if _QUOTABLE.fullmatch(text) is None:
        raise Invalid(f"{text[:80]!r} holds a character that nginx would read as its own")
    return f'"{text}"'


def indented(lines: Iterable[str], by: int = 2) -> list[str]:
    """Lines, moved to the right."""
    return [f"{' ' * by}{line}" for line in lines]


def mapping(
    source: str, target: str, rows: Sequence[tuple[str, str]], *, default: str = "", volatile: bool = False
) -> list[str]:
    """A ``map``; rows whose key starts with ``~`` are regular expressions, tried in order after all plain ones.

    ``volatile``: looked up each time, not once a request.
    """
    body = [*(["volatile;"] if volatile else []), *(f'"{key}" "{value}";' for key, value in rows)]
    return [f"map {source} ${target} {{", *indented([f'default "{default}";', *body]), "}"]


def main(process: Process, *, http: Iterable[str], error_level: str = "error") -> str:
    """The whole file around the ``http`` block. Paths are relative to the prefix (``nginx -p``)."""
    user = [f"user {process.user};"] if process.user else []
    lines = [
        "# Written by Eisbach; changes here are lost.",
        "daemon off;",
        *user,
        f"worker_processes {process.workers};",
        "worker_shutdown_timeout 10s;",
        "pid n.pid;",
        f"error_log error.log {error_level};",
        f"events {{ worker_connections {process.connections}; }}",
        "http {",
        *_http_basics(),
        *indented(http),
        "}",
    ]
    return "\n".join(lines) + "\n"


@cache
def _http_basics() -> Sequence[str]:
    return indented([
        "server_tokens off;",
        "default_type application/octet-stream;",
        "sendfile on;",
        "tcp_nopush on;",
        "keepalive_timeout 60s;",
        "keepalive_requests 10000;",
        # A client that dribbles its request holds a connection, not a worker, and not for long.
        "client_header_timeout 10s;",
        "client_body_timeout 10s;",
        "send_timeout 20s;",
        "reset_timedout_connection on;",
        "large_client_header_buffers 4 8k;",
        "map_hash_bucket_size 128;",
        "map_hash_max_size 65536;",
        "variables_hash_max_size 2048;",
        *(f"{kind}_temp_path tmp_{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        *mapping("$http_eisbach_request_id", "rid", _REQUEST_ID, default="$request_id"),
        # Jitter: clients that were refused together do not come back together.
        'split_clients "$request_id" $retry_after { 34% 1; 33% 2; * 3; }',
        *mapping("$retry_after", "retry_after_ms", [("1", "1000"), ("2", "2000")], default="3000"),
        *mapping("$request_uri", "logged_path", _LOGGED_PATH),
        *mapping("$request_time", "request_time_ms", _MILLISECONDS, default="0"),
        f"log_format facts escape=json '{{{_FACTS}}}';",
        "access_log access.log facts buffer=32k flush=200ms;",
    ])  # fmt: skip


def headers(*, private: bool, extra: Sequence[tuple[str, str]] = ()) -> list[str]:
    """``add_header`` lines of a location; nginx inherits none once a location has its own.

    Public answers are the same for every origin, so they carry no ``Vary`` that would split caches; private ones name
    the asking origin if it is allowed (``$cors_origin``).
    """
    origin = [("Access-Control-Allow-Origin", "$cors_origin"), ("Vary", "Origin")] if private else [
        ("Access-Control-Allow-Origin", "*"), ("Timing-Allow-Origin", "*")]  # fmt: skip
    lines = [
        *origin,
        ("Access-Control-Expose-Headers", EXPOSED),
        ("Eisbach-Request-Id", "$rid"),
        ("X-Content-Type-Options", "nosniff"),
        *extra,
    ]
    return [f'add_header {name} "{value}" always;' for name, value in lines]


def doubt() -> list[str]:
    """``$doubt``: a write with "1" may have been carried out by one of those who were asked (``rules.doubtful``).

    Each place of nginx's lists is one of them. It was sent the call, and no head of an answer came, or one that says
    that the outcome is not known; who answered anything else speaks for itself, and a refused connection did nothing.
    And ``$told``: the last of them answered 500; without it, a 500 is nginx's own, and nothing could be opened to ask.
    """
    places = [f"(?:[^,:;]+[,:] ){{{before}}}" for before in range(_ASKED_MAX)]
    rows = [(rf"~^WRITE;{at}[0-9]*[1-9][^;]*;(?:{at}-[ ,;]|[^;]*;{at}504(?:[ ,]|$))", "1") for at in places]
    asked = '"$writes;$upstream_bytes_sent;$upstream_header_time;$upstream_status"'
    return [
        *mapping("$request_method", "writes", [("GET", "READ"), ("HEAD", "READ")], default="WRITE"),
        *mapping(asked, "doubt", rows, volatile=True),
        *mapping("$upstream_status", "told", [("~(?:^|[ ])500$", "1")], volatile=True),
    ]


def preflight(*, private: bool, allowed: str, methods: str) -> list[str]:
    """Body of a location that answers a preflight (Fetch standard, CORS-preflight) for two hours."""
    extra = [
        ("Access-Control-Allow-Methods", methods),
        ("Access-Control-Allow-Headers", allowed),
        ("Access-Control-Max-Age", str(_PREFLIGHT_S)),
    ]
    return [*headers(private=private, extra=extra), "return 204;"]


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    retry: bool = False,
    extra: Sequence[tuple[str, str]] = (),
    private: bool = True,
) -> list[str]:
    """Body of a location that answers problem+json (RFC 9457); ``code`` and ``detail`` may hold nginx variables.

    The first line is the only one that may not stand in an ``if``.
    """
    title = _TITLES[status]
    body = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, "request": "$rid"}
    text = json.dumps(body)
    if retry:
        text = f'{text[:-1]}, "retry_after_ms": $retry_after_ms}}'
    waits = [("Retry-After", "$retry_after"), ("Eisbach-Code", code)] if retry and status == 503 else []
    return [
        "types {} default_type application/problem+json;",  # also of a path that ends in .jpg
        *headers(private=private, extra=[("Cache-Control", "no-store"), *waits, *extra]),
        f"return {status} '{text}';",
    ]


def protocol_pages() -> list[str]:
    """``error_page`` lines of a server, and of a location with one of its own, which has only those; after these, since
    the first that fits counts. Not where answers are looked at (``proxy_intercept_errors``): they would take the place
    of a cell's problems.
    """
    # Not named locations: at this point there may be no URI yet.
    return [f"error_page {status} = /={name};" for status, (name, *_) in _PROTOCOL.items()]


@cache
def protocol_problems(*, private: bool) -> Sequence[tuple[str, list[str]]]:
    """The locations that ``protocol_pages`` names."""
    return [
        (f"location = /={name}", ["internal;", *problem(status, code, detail, private=private)])
        for name, status, code, detail in _PROTOCOL.values()
    ]


def proxy(*, connect_ms: int, read_ms: int) -> list[str]:
    """What every proxied location has in common."""
    return [
        "proxy_http_version 1.1;",
        'proxy_set_header Connection "";',
        "proxy_set_header Host $host;",
        "proxy_set_header Eisbach-Request-Id $rid;",
        "proxy_hide_header Eisbach-Request-Id;",
        "proxy_hide_header Access-Control-Allow-Origin;",
        "proxy_hide_header Access-Control-Expose-Headers;",
        "proxy_hide_header Timing-Allow-Origin;",
        "proxy_hide_header X-Content-Type-Options;",
        f"proxy_connect_timeout {connect_ms}ms;",
        f"proxy_send_timeout {read_ms}ms;",
        f"proxy_read_timeout {read_ms}ms;",
    ]
