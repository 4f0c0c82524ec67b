"""The edge's nginx configuration, generated from ``rules`` and one slot map: public server and peer door.

How a call finds its way: maps (``nginx_routing``) name its lane, one rewrite leads to the lane's location, which holds
what nginx takes no variables for: tries, limits, body size. Cells get the URI exactly as it came.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from eisbach.edge import fragments as nginx
from eisbach.edge.nginx_routing import routing, upstreams
from eisbach.edge.rules import METHODS, SHARES, Importance, Region
from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import (
    BODY_BYTES_MAX,
    CELL_CONNECTIONS_MAX,
    CONNECT_TIMEOUT,
    EDGE_READ_TIMEOUT,
    MIB,
    TRIES_MAX,
    UPLOAD_BYTES_MAX,
)
from eisbach.kernel.slotmap import SlotMap

__all__ = [
    "ALLOWED_HEADERS",
    "PEER_TOKEN_FILE",
    "UNKNOWN",
    "EdgeSite",
    "Place",
    "edge_config",
    "peer_token_map",
    "silent",
    "written",
]

PEER_TOKEN_FILE: Final = "peer_token.map"  # noqa: S105 - a file name
"""Included by the configuration; mode 0600, so that the token stands in no configuration text."""
UNKNOWN: Final = "The call may have been carried out; repeat it with the same Idempotency-Key to learn the answer."
"""What ``outcome_unknown`` says to who gets it."""
ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, Eisbach-Slot, Eisbach-Position, Eisbach-Request-Id, Eisbach-Deadline,"
    " Idempotency-Key, If-Match, If-None-Match, Request-Intent, Range"
)
_PULL_WAIT: Final = timedelta(seconds=40)
_PULL_BYTES_MAX: Final = 2 * MIB
"""A pull carries the vectors of every slot that two cells share."""
_STANDING_WAIT: Final = timedelta(seconds=4)
"""A lease is looked at for each slot of the region."""
_UPLOAD_WAIT: Final = timedelta(seconds=60)
_TOLD: Final = "if ($told) { rewrite ^ /=told last; }"
"""A 500 is the cell's answer; else it is nginx's own, which is as good as silence."""
_IMPORTANCES: Final[tuple[Importance, ...]] = ("critical", "degraded", "best_effort", "bulk")

Place = tuple[str, list[str]]
"""Head and body of a location."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSite:
    """What an edge's configuration depends on besides the map."""

    region: Region
    host: str
    port: int
    peer_port: int
    media: str
    """Absolute folder ``blobs/media``, which other regions copy from; ``uploads`` and ``claims`` lie beside it."""
    origins: tuple[str, ...] = ()
    """Web origins whose scripts may call, beside any port of ``localhost`` and 127.0.0.1."""
    connections_max: int = CELL_CONNECTIONS_MAX
    control: str = ""
    """``host:port`` of the region's control process, which other regions may ask whether this one serves; empty: there
    is none to ask."""
    process: nginx.Process = field(default_factory=nginx.Process)


def peer_token_map(token: str) -> str:
    """Content of ``PEER_TOKEN_FILE``: a regular expression, because plain keys of a ``map`` ignore case."""
    if not token.replace("-", "").replace("_", "").isalnum() or not token.isascii():
        raise Invalid("peer token holds characters besides letters, digits, '-' and '_'; make a new one")
    return f'"~^Bearer {token}$" 1;\n'


def edge_config(site: EdgeSite, slot_map: SlotMap) -> str:
    """The whole ``nginx.conf``.

    Raises:
        Invalid: a name or an address in the map cannot stand in a configuration.
    """
    http = [
        f"# slot map version {slot_map.version} of {nginx.word(slot_map.region)}",
        "client_body_buffer_size 64k;",
        "limit_conn_zone $pool zone=calls:2m;",
        "limit_conn_status 529;",  # our own refusal, apart from a cell's 503, which passes through unchanged
        "proxy_cache_path cache levels=1:2 keys_zone=public:8m max_size=256m inactive=24h use_temp_path=off;",
        # Of cached pages, too; nginx knows by a number of its own when a page was renewed.
        "open_file_cache max=4096 inactive=60s;",
        "recursive_error_pages on;",
        "map $http_authorization $is_peer {",
        f'  default "";\n  include {PEER_TOKEN_FILE};',
        "}",
        *_allowed_origins(site),
        *routing(site.region, slot_map),
        *upstreams(site.region, slot_map),
        *_server(site, slot_map, peer=False),
        *_server(site, slot_map, peer=True),
    ]
    return nginx.main(site.process, http=http)


def _allowed_origins(site: EdgeSite) -> list[str]:
    rows = [(nginx.quoted(origin)[1:-1], "$http_origin") for origin in site.origins]
    rows.append((r"~^http://(?:localhost|127\.0\.0\.1)(?::[0-9]{1,5})?$", "$http_origin"))
    return nginx.mapping("$http_origin", "cors_origin", rows)


def _server(site: EdgeSite, slot_map: SlotMap, *, peer: bool) -> list[str]:
    top = [
        f"listen {nginx.address(f'{site.host}:{site.peer_port if peer else site.port}')} backlog=1024;",
        "client_max_body_size 0;",  # the lane's location decides
        *nginx.protocol_pages(),
    ]
    places = [
        ("location /", ["rewrite ^ /=$lane last;"]),
        *(_peer_places(site, slot_map) if peer else []),
        *_refusals(site, slot_map),
    ]
    return ["server {", *nginx.indented(top), *nginx.indented(written(places)), *_lanes(site, peer=peer), "}"]


@lru_cache(maxsize=16)
def _lanes(site: EdgeSite, *, peer: bool) -> Sequence[str]:
    """Where calls go on to; the same in every map."""
    places = [
        *(_call(site, importance, peer) for importance in _IMPORTANCES),
        *_again(peer),
        _upload(),
        *(_public(site, importance, peer) for importance in _IMPORTANCES),
        *([] if peer else [_public_beyond()]),
    ]
    return tuple(nginx.indented(written(places)))


def written(places: list[Place]) -> list[str]:
    """Locations as lines."""
    return [line for head, body in places for line in (f"{head} {{", *nginx.indented(body), "}")]


def _refusals(site: EdgeSite, slot_map: SlotMap) -> list[Place]:
    """Everything that the edge answers by itself."""
    slot_shape = "Eisbach-Slot is not residency/market/cohort/number, e.g. eu/de/main/17; send the one from sign-in."
    here: list[tuple[str, tuple[int, str, str]]] = [
        ("bad_path", (400, "path", "A path holds letters, digits and - . _ ~ : @, without empty or dotted segments.")),
        ("not_found", (404, "not_found", "Nothing has this path.")),
        ("bad_method", (405, "method", "This path does not take $request_method.")),
        ("bad_slot", (400, "slot", slot_shape)),
        (
            "elsewhere",
            (421, "slot_elsewhere", "No cell of this region has this slot; ask a region that sign-in named."),
        ),
    ]
    full = "This cell takes no more calls of this class now; wait before the next try."
    health = f'{{"ok": true, "region": "{nginx.word(site.region.name)}", "map": {slot_map.version}}}'
    return [
        ("location = /=preflight", ["internal;", *nginx.preflight(
            private=True, allowed=ALLOWED_HEADERS, methods=", ".join(METHODS))]),
        ("location = /=health", ["internal;", "default_type application/json;", "access_log off;",
                                 *nginx.headers(private=True), f"return 200 '{health}';"]),
        *((f"location = /={name}", ["internal;", *nginx.problem(*why)]) for name, why in here),
        *nginx.protocol_problems(private=True),
        ("location @too_large", nginx.problem(
            413, "too_large", f"A call has at most {BODY_BYTES_MAX // 1024} KiB of body.")),
        ("location @shed", nginx.problem(503, "overloaded", full, retry=True)),
        ("location = /=moved", ["internal;", *nginx.problem(
            421, "slot_moved", "Another cell owns this slot; ask the one in Eisbach-Owner, or sign in again.",
            extra=[("Eisbach-Owner", "$upstream_http_eisbach_owner")])]),
        *silent("Nobody who can answer this was reached; try again.", private=True, first=[_TOLD]),
        _told(),
    ]  # fmt: skip


def silent(lost: str, *, private: bool, first: Sequence[str] = ()) -> list[Place]:
    """``@silent``: what a call is told that nobody answered; with ``$doubt`` it may have been carried out."""
    return [
        ("location @silent", [
            *first,
            "if ($doubt) { rewrite ^ /=unknown last; }",
            "rewrite ^ /=lost last;"]),
        ("location = /=lost", ["internal;", *nginx.problem(502, "unavailable", lost, retry=True, private=private)]),
        ("location = /=unknown", ["internal;", *nginx.problem(
            504, "outcome_unknown", UNKNOWN, retry=True, private=private)]),
    ]  # fmt: skip


def _told() -> Place:
    """A cell's 500 in its own words, from a header: who looks at a 421 can let no body of a 500 pass."""
    passed = [f"Eisbach-{name}" for name in ("Problem", "Code", "Cell", "Region")]
    kind, *heads, mute = nginx.problem(
        500,
        "internal",
        "The cell that was asked does not say more; its log does.",
        extra=[(name, f"$upstream_http_{name.lower().replace('-', '_')}") for name in passed],
    )
    problem = "$upstream_http_eisbach_problem"
    return "location = /=told", [
        "internal;", kind, *heads, f'if ({problem} = "") {{ {mute} }}', f"return 500 {problem};",
    ]  # fmt: skip


def _timeouts(read: timedelta = EDGE_READ_TIMEOUT) -> list[str]:
    ms = timedelta(milliseconds=1)
    return [
        *nginx.proxy(connect_ms=CONNECT_TIMEOUT // ms, read_ms=read // ms),
        "proxy_set_header X-Forwarded-For $remote_addr;",
    ]


def _tries() -> list[str]:
    """Of public pages: silence only, never an answer."""
    return ["proxy_next_upstream error timeout;", f"proxy_next_upstream_tries {TRIES_MAX};"]


def _limits(site: EdgeSite, importance: Importance, silent: str = "@silent") -> list[str]:
    return [
        f"limit_conn calls {max(1, site.connections_max * SHARES[importance] // 100)};",
        f"client_max_body_size {BODY_BYTES_MAX};",
        "error_page 413 = @too_large;",
        "error_page 529 = @shed;",
        f"error_page 500 502 504 = {silent};",
    ]


def _call(site: EdgeSite, importance: Importance, peer: bool) -> Place:
    behind = "local" if peer else "$residency"
    return f"location = /=call_{importance}", [
        "internal;",
        f'set $to $pool.{behind}; set $followed "";',
        *_limits(site, importance, "@next"),
        *_passed(),
        "error_page 421 = @follow;",
    ]


def _passed() -> list[str]:
    """One try at ``$to``; the next is a location of its own (``nginx_routing``).

    A caller that gives up first (the front does, and another edge waits no longer than this one) does not end the try:
    nginx would count no failure, and ask a cell that hangs again and again.
    """
    return [
        *nginx.headers(private=True),
        *_timeouts(),
        "proxy_ignore_client_abort on;",
        "proxy_next_upstream off;",
        "proxy_intercept_errors on;",
        "proxy_pass http://$to$request_uri;",
    ]


def _again(peer: bool) -> list[Place]:
    """The second try after silence, and the places that 421s name: a cell, then another region.

    ``doubtful``: who was silent may have carried it out, so a refusal of the second is no word on the call.
    """
    owner = "$owner_peer" if peer else "$owner_public"
    return [
        ("location @next", [_TOLD, "rewrite ^ /=$next last;"]),
        ("location @unknown", [_TOLD, "rewrite ^ /=unknown last;"]),
        ("location = /=second", [
            "internal;", *_passed(), "error_page 421 = @follow;", "error_page 500 502 504 = @silent;"]),
        ("location = /=doubtful", ["internal;", *_passed(), "error_page 421 429 500 502 503 504 = @unknown;"]),
        ("location @follow", [
            f'if ({owner} = "") {{ rewrite ^ /=$unfollowed last; }}',
            f"set $to {owner}; set $followed $to;",
            *_passed(),
            "error_page 421 = @follow;",
            "error_page 500 502 504 = @next;"]),
    ]  # fmt: skip


def _upload() -> Place:
    """Bytes go straight through: neither buffered here nor sent anywhere else."""
    return "location = /=upload", [
        "internal;",
        *nginx.headers(private=True),
        f"client_max_body_size {UPLOAD_BYTES_MAX};",
        "client_body_timeout 60s;",
        "error_page 413 = @too_large;",
        "error_page 500 502 504 = @silent;",
        *nginx.protocol_pages(),
        *_timeouts(_UPLOAD_WAIT),
        "proxy_next_upstream off;",
        "proxy_request_buffering off;",
        "proxy_pass http://$pool.local$request_uri;",
    ]


def _cache() -> list[str]:
    """One fetch a key; how long an answer is fresh, and how long it may be stale, the cell says in Cache-Control."""
    return [
        "proxy_cache public;",
        "proxy_cache_key $request_uri;",
        "proxy_cache_lock on;",
        "proxy_cache_lock_timeout 3s;",
        "proxy_cache_background_update on;",
        "proxy_cache_revalidate on;",
        # For a cell that is silent, stale-if-error counts; for one that sheds or fails nginx wants it said here.
        "proxy_cache_use_stale http_500 http_502 http_503 http_504 http_429;",
        *(f'proxy_set_header {name} "";' for name in (
            "Authorization", "Cookie", "Eisbach-Slot", "Eisbach-Position", "Idempotency-Key", "Accept-Encoding")),
    ]  # fmt: skip


def _public(site: EdgeSite, importance: Importance, peer: bool) -> Place:
    """A 500 of nginx's own (no file or connection is left) counts as silence; a cell's passes as it is."""
    silent = "@silent" if peer else "@public_beyond"
    return f"location = /=public_{importance}", [
        "internal;",
        *nginx.headers(private=False, extra=[("Eisbach-Cache", "$upstream_cache_status")]),
        *_limits(site, importance, silent),
        *nginx.protocol_pages(),
        *_timeouts(),
        *_tries(),
        *_cache(),
        "proxy_pass http://public.$market$request_uri;",
    ]


def _public_beyond() -> Place:
    """No cell of the market answers and no cache has it: the other region's door, where the market's data may be."""
    return "location @public_beyond", [
        'if ($public_door = "") { rewrite ^ /=lost last; }',
        *nginx.headers(private=False, extra=[("Eisbach-Cache", "$upstream_cache_status")]),
        "error_page 500 502 504 = @silent;",
        *nginx.protocol_pages(),
        *_timeouts(),
        *_tries(),
        *_cache(),
        "proxy_pass http://$public_door$request_uri;",
    ]


def _peer_places(site: EdgeSite, slot_map: SlotMap) -> list[Place]:
    """What regions ask each other; everything else passes as at the public door, without a further region behind it."""
    cells = "|".join(map(nginx.word, slot_map.cells))
    guard = 'if ($is_peer = "") { rewrite ^ /=denied last; }'
    return [
        ("location /peer/", ["rewrite ^ /=not_found last;"]),
        ("location = /=denied", ["internal;", *nginx.problem(
            403, "peer_token", "This door takes the peer token of the regions.")]),
        ("location = /peer/map", [guard, "open_file_cache off;", "default_type application/json;", "alias map.json;"]),
        ("location ^~ /peer/media/vod/", [guard, f"alias {nginx.quoted(f'{site.media}/vod/')};"]),
        ('location ~ "^/peer/(?<shared>uploads/[a-z0-9][a-z0-9_-]*|claims/[0-9-]+/[0-9a-f]+)$"', [
            guard, f"alias {nginx.quoted(f'{PurePosixPath(site.media).parent}/')[:-1]}$shared\";"]),
        (f'location ~ "^/peer/cells/(?<pulled>{cells})/pull$"', [
            guard,
            f"client_max_body_size {_PULL_BYTES_MAX};",
            "error_page 502 504 = @silent;",
            *nginx.protocol_pages(),
            *_timeouts(_PULL_WAIT),
            "proxy_next_upstream off;",
            "proxy_pass http://$pulled.local$request_uri;"]),
        *([("location = /peer/standing", [
            guard,
            "client_max_body_size 1k;",
            "error_page 502 504 = @silent;",
            *nginx.protocol_pages(),
            *_timeouts(_STANDING_WAIT),
            f"proxy_pass http://{nginx.address(site.control)}/region/standing;"])] if site.control else []),
    ]  # fmt: skip
