"""``rules.decide`` in nginx's words: maps from a request's head to ``$lane``, ``$pool``, ``$residency``; upstreams.

Lane: class and repeatability, or a refusal. Pool: a cell, ``any`` or ``public_MARKET``. Residency: bounds which region
may stand behind the pool. One table, two readers: the patterns are those of ``rules``.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from eisbach.edge import fragments as nginx
from eisbach.edge.rules import BY_ITSELF, KEY, PATH, ROUTES, Region, beyond, markets, pool, studio_cell
from eisbach.kernel.slotmap import SlotMap

__all__ = ["routing", "upstreams"]

_FAILED_FOR: Final = timedelta(seconds=3)
"""How long a cell that was silent once is passed over before one call tries it again (and waits, if it hangs)."""
_IDLE: Final = timedelta(seconds=30)
"""Below the 75 s of a cell, so that a connection is never closed under a POST that may not be repeated."""
_SLOT: Final = "[a-z0-9-]{1,16}/[a-z0-9-]{1,16}/[a-z0-9-]{1,16}/(?:0|[1-9][0-9]{0,3})"
_SLOTTED: Final = "|".join(r.name for r in ROUTES if r.home == "slot")
_CACHED: Final = "|".join(r.name for r in ROUTES if r.cached)
_STUDIO: Final = "|".join(r.name for r in ROUTES if r.home == "studio")


def _whole(pattern: str) -> str:
    """A pattern over a path, as one over ``$request_uri``: it ends where the query begins."""
    inside = pattern.replace(".+", "[^?]+").replace("[^/]", "[^/?]")
    return rf"{inside}(?:\?|$)"


def routing(region: Region, slot_map: SlotMap) -> list[str]:
    """All maps; ``$lane`` is the result of the checks in the order of ``rules.decide``."""
    return [
        *nginx.doubt(), *_heads(slot_map), *_lanes(), *_places(region, slot_map), *_followed(region, slot_map),
        *_second_tries(region, slot_map),
    ]  # fmt: skip


def _heads(slot_map: SlotMap) -> list[str]:
    names = "|".join(map(nginx.word, markets(slot_map)))
    routes = [(rf"~^(?!{PATH}(?:\?|$))", "bad")]
    routes += [(f"~^{_whole(route.pattern.replace('MARKETS', names))}", route.name) for route in ROUTES]
    owners = [
        # Plain keys ignore case; the strict form before the colon does not.
        (f"good:{group}/{number}", nginx.word(cell))
        for group, cells in slot_map.groups.items()
        for number, cell in enumerate(cells)
    ]
    states = [("~^none", "none"), ("~^bad", "bad"), ("good:", "unknown")]
    importances = [("~:prefetch$", "bulk"), *((f"~^{r.name}:", r.importance) for r in ROUTES)]
    keyed = [("~^1", "keyed"), (f"~^{KEY}$", "keyed")]
    return [
        *nginx.mapping("$request_uri", "route", routes, default="none"),
        *nginx.mapping("$http_eisbach_slot", "slot_form", [("", "none"), (f"~^{_SLOT}$", "good")], default="bad"),
        *nginx.mapping('"$slot_form:$http_eisbach_slot"', "slot_cell", owners),
        *nginx.mapping('"$slot_form:$slot_cell"', "slot_state", states, default="known"),
        *nginx.mapping('"$route:$http_request_intent"', "importance", importances, default="degraded"),
        *nginx.mapping(
            '"$request_method $request_uri"', "by_itself", [(f"~^POST (?:{_whole(f'(?:{BY_ITSELF})')})", "1:")]
        ),
        *nginx.mapping('"$by_itself$http_idempotency_key"', "again", keyed, default="plain"),
    ]


def _lanes() -> list[str]:
    rows = [("~^[^:]*:bad:", "bad_path"), ("~^OPTIONS:", "preflight"), ("~^[^:]*:none:", "not_found")]
    rows += [(f"~^(?!(?:{'|'.join(route.methods)}):)[^:]*:{route.name}:", "bad_method") for route in ROUTES]
    rows += [
        ("~^[^:]*:health:", "health"),
        (f"~^[^:]*:(?:{_SLOTTED}):bad$", "bad_slot"),
        (f"~^[^:]*:(?:{_SLOTTED}):unknown$", "elsewhere"),
        ("~^[^:]*:upload:", "upload"),
        (f"~^[^:]*:(?:{_CACHED}):", "public_$importance"),
    ]
    return nginx.mapping('"$request_method:$route:$slot_state"', "lane", rows, default="call_$importance")


def _places(region: Region, slot_map: SlotMap) -> list[str]:
    pools = [
        (f"~^(?:{_STUDIO}):", nginx.word(studio_cell(slot_map) or "none")),
        (f"~^(?:{_SLOTTED}):known$", "$slot_cell"),
        (f"~^(?:{_CACHED}):", "public_$market"),
    ]
    residencies = [
        (f"~^(?:{_STUDIO}):", "any"),
        (f"~^(?:{_SLOTTED}):known:(?<slot_residency>[a-z0-9-]+)/", "$slot_residency"),
    ]
    in_path = [("~^(?:search|public):/v1/(?<market_in_path>[^/?]+)/", "$market_in_path")]
    doors = [
        (market, f"door_{there}")
        for market, groups in markets(slot_map).items()
        if (there := beyond(region, groups[0].residency))
    ]
    if there := beyond(region, region.residency):
        doors.append(("all", f"door_{there}"))
    return [
        *nginx.mapping('"$route:$slot_state"', "pool", pools, default="any"),
        *nginx.mapping(
            '"$route:$slot_state:$http_eisbach_slot"', "residency", residencies, default=nginx.word(region.residency)
        ),
        *nginx.mapping('"$route:$request_uri"', "market", in_path, default="all"),
        *nginx.mapping("$market", "public_door", doors),
    ]


def _followed(region: Region, slot_map: SlotMap) -> list[str]:
    """``Eisbach-Owner`` of a 421 -> upstream to ask; empty: not ours to follow (``rules.follow``), and then the answer
    is ``$unfollowed``: ``lost`` for ``rules.circular``.

    ``$followed`` is the upstream that an earlier 421 led to: a cell's has a dot in its name, a door's has none.
    """
    rows = [(name, cell) for cell in slot_map.cells for name in (cell, f"/{cell}", f"{region.name}/{cell}")]
    rows += [(f"~^{nginx.word(p.region)}(?:/[^/]+)?$", f"@{p.region}") for p in region.peers]
    reach = [
        (rf"~^(?:[^:]*\.[^:]*)?:{residency}:@{there}$", f"door_{there}")
        for residency in _residencies(region, slot_map)
        if (there := beyond(region, residency))
    ]
    back = (
        [(rf"~(?:^|[:, ])(?:{_doors(region)});{nginx.word(region.name)}(?:/[^/]*)?$", "lost")] if region.peers else []
    )
    cell = "(?<owner_cell>[^@].*)$"
    asked = '"$followed:$residency:$owner"'
    return [
        *nginx.mapping("$upstream_http_eisbach_owner", "owner", rows, volatile=True),
        *nginx.mapping(asked, "owner_public", [*reach, (f"~^:[^:]+:{cell}", "$owner_cell.$residency")], volatile=True),
        *nginx.mapping(asked, "owner_peer", [(f"~^:[^:]+:{cell}", "$owner_cell.local")], volatile=True),
        *nginx.mapping(
            '"$upstream_addr;$upstream_http_eisbach_owner"', "unfollowed", back, default="moved", volatile=True
        ),
    ]


def _doors(region: Region) -> str:
    return "|".join(re.escape(nginx.address(peer.door)) for peer in region.peers)


def _second_tries(region: Region, slot_map: SlotMap) -> list[str]:
    """``$next``: what follows on a first try without an answer (``rules.next_hop``, ``rules.doubtful``).

    Not nginx's own next upstream: between the tries we must see whether the first was sent, because then another's
    refusal is not the whole truth. What was tried is marked as failed, so the same upstream gives another server.
    """
    doors = _doors(region)
    several = "|".join(
        re.escape(f"{name}.{residency}") for name, residency, servers in _pools(region, slot_map) if len(servers) > 1
    )
    more = [(f"~[:, ](?:{doors})$", "")] if doors else []  # behind a door there is nothing left to try
    more += [(f"~^(?:{several}):", "1")] if several else []
    rows = [
        ("~^[A-Z]+;1;[a-z]+;;(?:.* )?-$", "second"),  # a read, or not sent
        ("~^(?:PUT|DELETE);1;[a-z]+;1;(?:.* )?-$", "doubtful"),
        ("~^[A-Z]+;1;keyed;1;(?:.* )?-$", "doubtful"),
        ("~^[A-Z]+;1?;[a-z]+;1;", "unknown"),
    ]
    tried = '"$request_method;$more;$again;$doubt;$upstream_header_time"'
    return [
        *nginx.mapping('"$to:$upstream_addr"', "more", more, volatile=True),
        *nginx.mapping(tried, "next", rows, default="lost", volatile=True),
    ]


def _residencies(region: Region, slot_map: SlotMap) -> list[str]:
    found = {group.partition("/")[0] for group in slot_map.groups}
    return sorted(found | {"any", region.residency})


def upstreams(region: Region, slot_map: SlotMap) -> list[str]:
    """``CELL.RESIDENCY`` with the other region's door behind it, ``CELL.local`` without; the same for ``any``;
    ``public.MARKET`` by URL; ``door_REGION``.

    No ``max_conns``: beside a ``backup`` it would send overload to the twin.
    """
    lines: list[str] = []
    for name, residency, servers in _pools(region, slot_map):
        lines += _upstream(f"{name}.{residency}", servers)
    for market in (None, *markets(slot_map)):
        lines += _upstream(
            f"public.{market or 'all'}", ["hash $request_uri;", *_servers(slot_map, pool(slot_map, market))]
        )
    for peer in region.peers:
        lines += _upstream(f"door_{nginx.word(peer.region)}", [f"server {nginx.address(peer.door)} max_fails=0;"])
    return lines


def _pools(region: Region, slot_map: SlotMap) -> list[tuple[str, str, list[str]]]:
    """(cell or ``any``, residency, servers in order) of every upstream for calls that are not cached."""
    doors = {peer.region: f"server {nginx.address(peer.door)}" for peer in region.peers}
    pools = {**{cell: [cell] for cell in slot_map.cells}, "any": pool(slot_map, None)}
    found = []
    for name, cells in pools.items():
        for residency in ("local", *_residencies(region, slot_map)):
            there = None if residency == "local" else beyond(region, residency)
            # A door is never passed over: behind it there is nothing left to try.
            behind = [f"{doors[there]} backup max_fails=0;"] if there else []
            found.append((nginx.word(name), residency, [*_servers(slot_map, cells), *behind]))
    return found


def _servers(slot_map: SlotMap, cells: Iterable[str]) -> list[str]:
    marked = f"max_fails=1 fail_timeout={int(_FAILED_FOR.total_seconds())}s"
    return [f"server {nginx.address(slot_map.cells[cell].address)} {marked};" for cell in cells]


def _upstream(name: str, servers: list[str]) -> list[str]:
    idle = f"keepalive_timeout {int(_IDLE.total_seconds())}s;"
    body = [f"zone {name.replace('.', '_')} 64k;", *servers, "keepalive 32;", idle]
    return [f"upstream {name} {{", *nginx.indented(body), "}"]
