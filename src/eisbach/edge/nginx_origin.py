"""The media origin's nginx configuration: files with a token in the path, manifests from the region's cells.

Promises: a path leads to a file that the packager wrote, to a manifest, or to a refusal; no token is ever in a log or
a cache key; a manifest comes from any living cell; a channel's playlist is fetched once a second, however many ask.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from eisbach.edge import fragments as nginx
from eisbach.edge.nginx_edge import Place, written
from eisbach.edge.rules import PATH, pool
from eisbach.kernel.limits import CONNECT_TIMEOUT, EDGE_READ_TIMEOUT
from eisbach.kernel.media_types import MEDIA_TYPES
from eisbach.kernel.slotmap import SlotMap

__all__ = ["KEYS_FILE", "SCRIPT_FILE", "OriginSite", "keys_json", "origin_config", "script", "token_codec"]

KEYS_FILE: Final = "keys.json"
"""Preloaded by njs; mode 0600."""
SCRIPT_FILE: Final = "media_token.js"
_NAME: Final = "[a-z0-9][a-z0-9._-]{0,63}"
_ID: Final = "[a-z0-9][a-z0-9_-]{0,63}"
_SEGMENT: Final = r"init\.mp4|[1-9][0-9]{0,6}\.m4s"
_WHOLE: Final = rf"{_ID}\.(?:m3u8|vtt)"
_IMAGE: Final = r"poster\.jpg|sprite\.jpg|thumbs\.vtt"
_FOR_LIFE: Final = "public, max-age=31536000, immutable"
_TYPES: Final = [
    "types {",
    *(f"  {kind.partition(';')[0]} {ending};" for ending, kind in MEDIA_TYPES.items()),
    "}",
    "charset utf-8;",
    "charset_types text/vtt application/vnd.apple.mpegurl;",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSite:
    """What an origin's configuration depends on besides the map."""

    region: str
    host: str
    port: int
    media: str
    """Absolute folder ``blobs/media``."""
    process: nginx.Process = field(default_factory=nginx.Process)


def keys_json(keys: Mapping[str, str]) -> bytes:
    """Content of ``KEYS_FILE``: kid -> hexadecimal key, both live ones."""
    return msgspec.json.encode(dict(keys), order="sorted")


def script() -> bytes:
    """Content of ``SCRIPT_FILE``."""
    return f"import crypto from 'crypto';\n\n{token_codec()}\n{_beside(SCRIPT_FILE)}".encode()


def token_codec() -> str:
    """The rule of media tokens in JavaScript: ``verify(keys, token, scope, now)``; needs ``crypto`` before it."""
    return _beside("media_codec.js")


@cache
def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def origin_config(site: OriginSite, slot_map: SlotMap) -> str:
    """The whole ``nginx.conf``.

    Raises:
        Invalid: a name, a path or an address cannot stand in a configuration.
    """
    http = [
        f"# slot map version {slot_map.version} of {nginx.word(slot_map.region)}",
        "js_path .;",
        f"js_import media_token from {SCRIPT_FILE};",
        f"js_preload_object media_keys from {KEYS_FILE};",
        "js_set $token media_token.judge;",
        *_TYPES,
        "open_file_cache max=2000 inactive=30s;",
        "open_file_cache_valid 5s;",
        "log_not_found off;",
        "recursive_error_pages on;",
        "proxy_cache_path cache levels=1:2 keys_zone=live:2m max_size=64m inactive=1m use_temp_path=off;",
        *_lanes(),
        *_cells(slot_map),
        *_server(site),
    ]
    # A message about a request quotes its first line, and with it the token: only what is about no request is logged.
    return nginx.main(site.process, http=http, error_level="alert")


def _lanes() -> list[str]:
    """``$lane``: method, then the path's one spelling, then the token; ``go`` when all are right."""
    guarded = [(f"~^(?!{PATH}(?:\\?|$))", "bad_path"), (r"~^/t/", "token")]
    rows = [
        ("~^OPTIONS:(?!bad_path)", "preflight"),
        ("~:bad_path:", "bad_path"),
        ("~^(?!GET:|HEAD:)", "bad_method"),
        ("~:token:ok$", "go"),
        ("~:token:", "refused"),
    ]
    return [
        *nginx.mapping("$request_uri", "guard", guarded, default="open"),
        # `$token` is asked only where it counts: njs runs for media, not for images.
        *nginx.mapping('"$guard"', "verdict", [("token", "$token")], default="none"),
        *nginx.mapping('"$request_method:$guard:$verdict"', "lane", rows, default="go"),
    ]


def _cells(slot_map: SlotMap) -> list[str]:
    servers = [
        f"server {nginx.address(slot_map.cells[cell].address)} max_fails=1 fail_timeout=1s;"
        for cell in pool(slot_map, None)
    ]
    return ["upstream cells {", *nginx.indented(["zone cells 64k;", *servers, "keepalive 16;"]), "}"]


def _server(site: OriginSite) -> list[str]:
    root = site.media.rstrip("/")
    health = f'{{"ok": true, "region": "{nginx.word(site.region)}"}}'
    seen = [("Eisbach-Region", nginx.word(site.region))]
    shown = nginx.headers(private=False, extra=[*seen, ("Cache-Control", _FOR_LIFE)])
    # Only what the packager writes has a path; `files.json` and whatever else lies there has none.
    media = rf"(?:vod|ch/{_NAME})/{_NAME}/(?:(?:{_WHOLE})|{_NAME}/(?:{_SEGMENT})|img/(?:{_IMAGE}))"
    live = rf"^/t/[^/]+/ch/(?<channel>{_ID})/(?<playlist>{_ID}\.m3u8)$"
    own = rf"^/t/(?<bearer>[^/]+)/(?<manifest>(?:vod|ch)/{_ID}/(?:master\.m3u8|manifest\.mpd))$"
    go = 'if ($lane != "go") { rewrite ^ /=$lane last; }'
    places: list[Place] = [
        ("location /", [go, "rewrite ^ /=not_found last;"]),
        ("location = /healthz", ["default_type application/json;", "access_log off;", f"return 200 '{health}';"]),
        (f'location ~ "{own}"', [go, *_manifest(seen),
                                 "proxy_pass http://cells/manifests/$manifest?t=$bearer;"]),
        (f'location ~ "{live}"', [go, *_manifest(seen), *_once_a_second(),
                                  "proxy_pass http://cells/manifests/ch/$channel/$playlist;"]),
        (f'location ~ "^/t/[^/]+/(?<file>{media})$"', [
            go, *shown, "error_page 404 403 = @not_found;", *nginx.protocol_pages(), f"root {nginx.quoted(root)};",
            "try_files /$file =404;"]),
        (f'location ~ "^/img/(?<asset>{_NAME})/(?<image>{_IMAGE})$"', [
            go, *nginx.headers(private=False, extra=[*seen, ("Cache-Control", "public, max-age=86400")]),
            "error_page 404 403 = @not_found;", *nginx.protocol_pages(), f"root {nginx.quoted(root)};",
            "try_files /vod/$asset/img/$image =404;"]),
        *_refusals(),
    ]  # fmt: skip
    top = [
        f"listen {nginx.address(f'{site.host}:{site.port}')} backlog=1024;",
        *nginx.protocol_pages(),
    ]
    return ["server {", *nginx.indented(top), *nginx.indented(written(places)), "}"]


def _manifest(seen: list[tuple[str, str]]) -> list[str]:
    ms = timedelta(milliseconds=1)
    return [
        *nginx.headers(private=False, extra=seen),
        *nginx.proxy(connect_ms=CONNECT_TIMEOUT // ms, read_ms=EDGE_READ_TIMEOUT // ms),
        "proxy_hide_header Eisbach-Region;",
        'proxy_set_header Authorization "";',
        'proxy_set_header Cookie "";',
        "proxy_next_upstream error timeout;",
        # Every cell, if need be: any of them has the answer, it costs microseconds, and reading is safe to repeat.
        "proxy_next_upstream_tries 0;",
        "proxy_next_upstream_timeout 3s;",
        "error_page 502 504 = @silent;",
        *nginx.protocol_pages(),
    ]


def _once_a_second() -> list[str]:
    """The cell's Cache-Control says for how long, fresh and stale; the key is the playlist, never the token."""
    return [
        "proxy_cache live;",
        "proxy_cache_key $channel/$playlist;",
        "proxy_cache_lock on;",
        "proxy_cache_lock_timeout 2s;",
    ]


def _refusals() -> list[Place]:
    def internal(*words: object, **more: object) -> list[str]:
        return ["internal;", *nginx.problem(*words, private=False, **more)]  # type: ignore[arg-type]

    spelling = "A path holds letters, digits and - . _ ~ : @, without empty or dotted segments."
    return [
        ("location = /=preflight", ["internal;", *nginx.preflight(
            private=False, allowed="Range, If-None-Match, If-Modified-Since", methods="GET, HEAD")]),
        ("location = /=bad_path", internal(400, "path", spelling)),
        *nginx.protocol_problems(private=False),
        ("location = /=bad_method", internal(405, "method", "Media are read with GET and HEAD.")),
        ("location = /=refused", internal(403, "$token", "This media token opens nothing here; start playback anew.")),
        ("location = /=not_found", internal(404, "not_found", "There is no such media file.")),
        ("location @not_found", nginx.problem(404, "not_found", "There is no such media file.", private=False)),
        ("location @silent", nginx.problem(
            502, "unavailable", "No cell of this region answered; the other region has this, too.",
            retry=True, private=False)),
    ]  # fmt: skip
