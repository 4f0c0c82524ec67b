"""The front's nginx configuration: one name for all regions, generated from ``kernel.routing.route``.

Promises: a call or a segment goes to the regions in the order that ``route`` gives, two at most, and never to one of
another residency; a region that refuses or is silent is passed over at once and for a while after. A 503 goes on to
the other region as ``rules.passed_on`` says: never one that sheds, and what is answered keeps the cell's code.
Behind a region that was silent and may have carried the call out a 503 is 504 ``outcome_unknown``, as at the edge.
Stands outside all regions: knows their public addresses, weights and health, no slot map and no key.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from eisbach.edge import fragments as nginx
from eisbach.edge.nginx_edge import UNKNOWN, Place, silent, written
from eisbach.edge.rules import BY_ITSELF, ELSEWHERE, KEY
from eisbach.kernel.limits import BODY_BYTES_MAX, MIB, TRIES_MAX, UPLOAD_BYTES_MAX
from eisbach.kernel.routing import Kind, RegionState, route
from eisbach.kernel.slots import STUDIO_GROUP, Group

__all__ = ["FrontRegion", "FrontSite", "front_config"]

_CONNECT_MS: Final = 100
_READ_MS: Final = 1000
"""Below the edges' own 1.5 s: here a slow answer may come from the other region instead, and the first call of a page
that is opened while a region hangs must not take longer."""
_SEGMENT_BYTES_MAX: Final = 16 * MIB
_PASSED_OVER: Final = "max_fails=1 fail_timeout=5s"
_TYPES: Final = [
    "types {",
    "  text/html html;",
    "  text/css css;",
    "  text/javascript js mjs;",
    "  application/json json map;",
    "  application/manifest+json webmanifest;",
    "  image/svg+xml svg;",
    "  image/png png;",
    "  image/jpeg jpg;",
    "  image/webp webp;",
    "  image/x-icon ico;",
    "  font/woff2 woff2;",
    "  text/plain txt;",
    "  application/wasm wasm;",
    "}",
    "charset utf-8;",
    "charset_types text/css text/javascript text/plain;",
]
_SLOT: Final = "(?:[a-z0-9-]{1,16})/[a-z0-9-]{1,16}/[a-z0-9-]{1,16}/(?:0|[1-9][0-9]{0,3})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRegion:
    """A region, as the front sees it."""

    edge: str
    """Public URL of its edge."""
    origin: str
    """Public URL of its media origin."""
    state: RegionState


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSite:
    """What the front's configuration depends on; written anew when weights or health change."""

    listens: tuple[str, ...]
    """``host:port``; ``[::1]:8000`` where there is IPv6."""
    static: str
    """Absolute folder of the built pages: ``index.html``, ``assets/``."""
    regions: Mapping[str, FrontRegion]
    preferred: Mapping[str, Sequence[str]]
    """Group -> preferred region of slot 0, 1, 2 ..."""
    console: str
    """``host:port`` of the supervisor's API."""
    place: str = "de"
    """Where a caller is who does not say it with ``Eisbach-Place``."""
    process: nginx.Process = field(default_factory=nginx.Process)

    def order(self, *, place: str, kind: Kind, residency: str, preferred: str = "") -> str:
        """The regions to try as one word: ``first`` or ``first__second``."""
        states = {name: region.state for name, region in self.regions.items()}
        hops = route(states, place=place, kind=kind, residency=residency, preferred=preferred or None)
        return "__".join(nginx.word(hop.region) for hop in hops[:TRIES_MAX])


def front_config(site: FrontSite) -> str:
    """The whole ``nginx.conf``.

    Raises:
        Invalid: a name, a path or an address cannot stand in a configuration.
    """
    http = [
        "client_body_buffer_size 64k;",
        "recursive_error_pages on;",
        *_TYPES,
        "log_not_found off;",
        f"js_path {nginx.quoted(str(Path(__file__).parent))};",
        "js_import media_whole from media_whole.js;",
        f"subrequest_output_buffer_size {_SEGMENT_BYTES_MAX};",
        *nginx.doubt(),
        *_heads(site),
        *_orders(site),
        *_upstreams(site),
        *_server(site),
    ]
    # As at an origin: media tokens pass here, and a message about a request would quote them.
    return nginx.main(site.process, http=http, error_level="alert")


def _residency_of_place(site: FrontSite, place: str) -> str:
    """Of the region that is nearest: whoever has no account yet has one there, and its first call says who they are."""
    nearest = min(site.regions, key=lambda name: (site.regions[name].state.distance.get(place, 1000), name))
    return site.regions[nearest].state.residency


def _places(site: FrontSite) -> list[str]:
    found = {place for region in site.regions.values() for place in region.state.distance}
    return sorted(nginx.word(place) for place in found | {site.place})


def _heads(site: FrontSite) -> list[str]:
    """What the head says: place, slot's group and preferred region, market, repeatability."""
    preferred = [
        # By place where a market is in the path: the answer is the same for all, whoever asks.
        (f":good:{group}/{number}", nginx.word(region))
        for group, regions in site.preferred.items()
        for number, region in enumerate(regions)
    ]
    markets = {Group.parse(g).market: Group.parse(g).residency for g in site.preferred if g != str(STUDIO_GROUP)}
    public = [(f"~^/v1/{nginx.word(market)}/", nginx.word(residency)) for market, residency in markets.items()]
    asked = [
        ("~^[a-z0-9-]+:(?<of_market>[a-z0-9-]+):", "$of_market"),
        ("~^(?<of_slot>[a-z0-9-]+):", "$of_slot"),
    ]
    by_itself = BY_ITSELF.replace("[^/]", "[^/?]")
    repeatable = [
        ("~^(?:GET|HEAD|PUT|DELETE) ", "keyed"),
        (rf"~^POST (?:{by_itself})(?:\?|:|$)", "keyed"),
        (f"~:{KEY}$", "keyed"),
    ]
    return [
        *nginx.mapping("$http_eisbach_place", "place", [(place, place) for place in _places(site)], default=site.place),
        *nginx.mapping("$http_eisbach_slot", "slot_form", [(f"~^{_SLOT}$", "good")], default="none"),
        *nginx.mapping("$request_uri", "market_residency", public),
        *nginx.mapping('"$market_residency:$slot_form:$http_eisbach_slot"', "preferred", preferred),
        *nginx.mapping(
            '"$slot_form:$http_eisbach_slot"', "slot_residency",
            [("~^good:(?<slots_own>[a-z0-9-]+)/", "$slots_own")], default="any",
        ),
        *nginx.mapping('"$slot_residency:$market_residency:$request_uri"', "residency", asked, default="any"),
        *nginx.mapping('"$request_method $request_uri:$http_idempotency_key"', "again", repeatable, default="plain"),
    ]  # fmt: skip


def _orders(site: FrontSite) -> list[str]:
    """``$calls`` and ``$media``: the regions to try, from ``route`` for every place, residency and preference."""
    residencies = sorted({region.state.residency for region in site.regions.values()} | {"any"})
    rows: list[tuple[str, str]] = []
    for place in _places(site):
        for residency in residencies:
            bound = _residency_of_place(site, place) if residency == "any" else residency
            for region in ("", *site.regions):
                kind: Kind = "private" if region else "public"
                rows.append((f"{place}:{residency}:{region}", site.order(
                    place=place, kind=kind, residency=bound, preferred=region)))  # fmt: skip
    media = [(place, site.order(place=place, kind="playback", residency="any")) for place in _places(site)]
    return [
        *nginx.mapping('"$place:$residency:$preferred"', "calls", [row for row in rows if row[1]]),
        *nginx.mapping('"$place"', "media", media),
        *nginx.mapping(
            "$media",
            "turned",
            [("~^(?<one_of_two>.+)__(?<two_of_two>.+)$", "${two_of_two}__$one_of_two")],
            default="$media",
        ),
        *nginx.mapping("$residency", "foreign", [(residency, "0") for residency in residencies], default="1"),
        *nginx.mapping("$calls", "second", [("~__(?<after_first>.+)$", "$after_first")]),
        *nginx.mapping(
            "$upstream_http_eisbach_code",
            "refused_code",
            [("~^(?<told_code>[a-z_]{1,40})$", "$told_code")],
            default="unavailable",
        ),
        *nginx.mapping(
            "$refused_code",
            "refused_why",
            [
                ("overloaded", "The region takes no more of these calls now; wait before the next try."),
                ("outcome_unknown", UNKNOWN),
            ],
            default="The region cannot do this now; wait before the next try.",
        ),
        # ``rules.passed_on``. A second status: both regions were asked, and this is the last word.
        *nginx.mapping(
            '"$upstream_status;$again;$upstream_http_eisbach_code;$upstream_http_retry_after"',
            "refusal",
            [(f"~^[0-9]+;[a-z]+;(?:{'|'.join(ELSEWHERE)});", "elsewhere"), ("503;keyed;;", "dead")],
            default="answer",
        ),
        *nginx.mapping(
            '"$refusal;$second"',
            "after_refusal",
            [("dead;", "lost"), ("elsewhere;", "refused"), ("~^answer;", "refused")],
        ),
    ]


def _upstreams(site: FrontSite) -> list[str]:
    names = sorted(site.regions)
    orders = [*names, *(f"{a}__{b}" for a in names for b in names if a != b)]
    lines: list[str] = []
    for order in orders:
        first, *rest = order.split("__")
        for kind in ("calls", "media"):
            addresses = [
                nginx.address(site.regions[name].edge if kind == "calls" else site.regions[name].origin)
                for name in (first, *rest)
            ]
            servers = [
                f"server {addresses[0]} {_PASSED_OVER};",
                *(f"server {a} backup max_fails=0;" for a in addresses[1:]),
            ]
            body = [f"zone {kind}_{order} 64k;", *servers, "keepalive 16;", "keepalive_timeout 30s;"]
            lines += [f"upstream {kind}.{order} {{", *nginx.indented(body), "}"]
    return lines


def _server(site: FrontSite) -> list[str]:
    top = [
        *(f"listen {nginx.address(listen)} backlog=1024;" for listen in site.listens),
        f"root {nginx.quoted(site.static)};",
        "client_max_body_size 64k;",
        *nginx.protocol_pages(),
        "error_page 403 404 = /=not_found;",
    ]
    places = [*_pages(site), *_calls(), *_media(), *_refusals()]
    return ["server {", *nginx.indented(top), *nginx.indented(written(places)), "}"]


def _pages(site: FrontSite) -> list[Place]:
    """The viewer's files, with ``index.html`` for the app's own routes; console and demo at the supervisor."""
    plain = ['add_header X-Content-Type-Options "nosniff" always;', 'add_header Referrer-Policy "no-referrer" always;']
    return [
        ("location /", [*plain, 'add_header Cache-Control "no-cache" always;', "try_files $uri /index.html =404;"]),
        ("location /assets/", [
            *plain, 'add_header Cache-Control "public, max-age=31536000, immutable";', "try_files $uri =404;"]),
        ("location = /healthz", ["access_log off;", "default_type application/json;", "return 200 '{\"ok\": true}';"]),
        (r"location ~ ^/(?:console|demo|ops)(?:/|$)", [
            "proxy_http_version 1.1;",
            'proxy_set_header Connection "";',
            "proxy_set_header Host $http_host;",
            "proxy_connect_timeout 1s;",
            "proxy_read_timeout 1h;",  # server-sent events, with a comment line every 10 s
            "proxy_buffering off;",
            "error_page 502 504 = @no_console;",
            *nginx.protocol_pages(),
            f"proxy_pass http://{nginx.address(site.console)};"]),
    ]  # fmt: skip


def _passed(read_ms: int = _READ_MS) -> list[str]:
    return [
        "proxy_http_version 1.1;",
        'proxy_set_header Connection "";',
        "proxy_set_header Host $host;",
        "proxy_set_header Eisbach-Request-Id $rid;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        f"proxy_connect_timeout {_CONNECT_MS}ms;",
        f"proxy_read_timeout {read_ms}ms;",
        f"proxy_next_upstream_tries {TRIES_MAX};",
        "error_page 502 504 = @silent;",
        "error_page 413 = @too_large;",  # where a location has error pages of its own, the server's do not count
    ]


def _calls() -> list[Place]:
    guard = 'if ($foreign) { rewrite ^ /=elsewhere last; } if ($calls = "") { rewrite ^ /=lost last; }'
    lanes: list[Place] = []
    for again in ("plain", "keyed"):
        also = " non_idempotent" if again == "keyed" else ""
        lanes.append((f"location = /=call_{again}", [
            "internal;",
            guard,
            *_passed(),
            f"client_max_body_size {BODY_BYTES_MAX};",
            f"proxy_next_upstream error timeout{also};",
            "proxy_intercept_errors on;",
            "error_page 503 = @another;",
            "proxy_pass http://calls.$calls$request_uri;"]))  # fmt: skip
    return [
        (r"location ~ ^/studio/uploads/[^/]+/content$", [
            guard,
            *_passed(60_000),
            *nginx.protocol_pages(),
            f"client_max_body_size {UPLOAD_BYTES_MAX};",
            "proxy_request_buffering off;",
            "proxy_next_upstream off;",
            "proxy_pass http://calls.$calls$request_uri;"]),
        (r"location ~ ^/(?:v1/|steer$|studio/)", ["client_max_body_size 0;", "rewrite ^ /=call_$again last;"]),
        *lanes,
        ("location @another", [
            # Of the first region: the second one's refusal is no word on that.
            "if ($doubt) { rewrite ^ /=unknown last; }",
            'if ($after_refusal != "") { rewrite ^ /=$after_refusal last; }',
            *_passed(),
            "proxy_next_upstream off;",
            "proxy_pass http://calls.$second$request_uri;"]),
    ]  # fmt: skip


def _media() -> list[Place]:
    """For plain clients; players go to the origins themselves. Reading is always safe to repeat."""
    from_origin = [
        *_passed(),
        *nginx.protocol_pages(),
        "proxy_buffers 16 64k;",
        "proxy_max_temp_file_size 0;",
        # 404: this region may not have its copy yet.
        "proxy_next_upstream error timeout http_500 http_502 http_503 http_504 http_404;",
    ]
    return [
        (r"location ~ ^/t/.+\.(?:m4s|mp4)$", ["client_max_body_size 1;", "js_content media_whole.segment;"]),
        (
            "location ~ ^/(?:t|img)/",
            ["client_max_body_size 1;", *from_origin, "proxy_pass http://media.$media$request_uri;"],
        ),
        ("location = /=media", ["internal;", *from_origin, "proxy_pass http://media.$media$request_uri;"]),
        ("location = /=media_first", ["internal;", *from_origin, "proxy_pass http://media.$media$request_uri;"]),
        ("location = /=media_second", ["internal;", *from_origin, "proxy_pass http://media.$turned$request_uri;"]),
    ]


def _refusals() -> list[Place]:
    def page(status: int, code: str, detail: str, extra: Iterable[tuple[str, str]] = ()) -> list[str]:
        return nginx.problem(status, code, detail, retry=status >= 500, private=False, extra=list(extra))

    return [
        ("location @too_large", page(413, "too_large", f"A call has at most {BODY_BYTES_MAX // 1024} KiB of body.")),
        *silent("No region that may answer this was reached; try again.", private=False),
        *nginx.protocol_problems(private=False),
        ("location = /=not_found", ["internal;", *page(404, "not_found", "Nothing has this path.")]),
        ("location = /=elsewhere", ["internal;", *page(
            421, "slot_elsewhere", "No region behind this name has this slot; ask one that sign-in named.")]),
        ("location @no_console", page(502, "unavailable", "The supervisor does not answer; is eisbach up running?")),
        ("location = /=refused", ["internal;", *page(
            503, "$refused_code", "$refused_why")]),
    ]  # fmt: skip
