"""What the edge does with a call: one pure function, ``decide``, and what it does when a hop fails, ``next_hop``.

``nginx_edge`` generates the real edge from the same tables, a conformance test drives both over one list of calls, and
the simulated edge calls these functions. Knows the slot map and what stands in a request's head; never a body, a store
or a clock.

A caller is never told that nothing was done when that is not known (``doubtful``).
Shed is not dead (design section 5): an answer, 429 and 503 included, is never tried elsewhere; only silence is, and
only a call that may be repeated once it was sent. Between regions the front tries some refusals again (``passed_on``).
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import (
    BODY_BYTES_MAX,
    CELL_CONNECTIONS_MAX,
    IDEMPOTENCY_KEY_CHARS_MAX,
    TRIES_MAX,
    UPLOAD_BYTES_MAX,
)
from eisbach.kernel.slotmap import SlotMap
from eisbach.kernel.slots import STUDIO_GROUP, Group, Slot

__all__ = [
    "BY_ITSELF",
    "ELSEWHERE",
    "KEY",
    "PATH",
    "ROUTES",
    "SHARES",
    "Answer",
    "Call",
    "Forward",
    "Importance",
    "Outcome",
    "Peer",
    "Refuse",
    "Region",
    "Route",
    "beyond",
    "circular",
    "decide",
    "doubtful",
    "follow",
    "markets",
    "next_hop",
    "passed_on",
    "pool",
    "studio_cell",
]

Importance = Literal["critical", "degraded", "best_effort", "bulk"]
SHARES: Final[dict[Importance, int]] = {"critical": 100, "degraded": 90, "best_effort": 75, "bulk": 75}
"""Percent of a cell's connections at which calls of a class are refused (design section 5)."""

PATH: Final = r"(?:/[A-Za-z0-9_:@~-][A-Za-z0-9._:@~-]*)+/?"
"""The one spelling of a path that passes: nothing to decode, no empty or dotted segment, so that edge and cell can
never read two different paths out of the same bytes."""
KEY: Final = rf"[A-Za-z0-9_-]{{1,{IDEMPOTENCY_KEY_CHARS_MAX}}}"
BY_ITSELF: Final = r"/v1/playback/sessions/[^/]+/(?:heartbeat|token)|/v1/drm/clearkey"
"""POSTs that may be repeated without a key: (sid, seq) is monotonic, and the others write nothing."""
READS: Final = ("GET", "HEAD")
REFUSALS: Final = (421, 429, 502, 503)
"""Answers that promise that nothing was done, by who gives them; 502 is another edge that reached nobody."""
ELSEWHERE: Final = ("slot_frozen", "unavailable")
"""Codes of a 503 that say that nothing was done, and not for load: what a cell cannot do now (its clock, its disk, the
cut of a move), its twin may."""
METHODS: Final = (*READS, "POST", "PUT", "PATCH", "DELETE")
_REPEATABLE: Final = (*READS, "PUT", "DELETE")
"""RFC 9110 section 9.2.2; also what nginx repeats without ``non_idempotent``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A row of the route table; the first row whose pattern fits counts."""

    name: str
    pattern: str
    """Regular expression over the whole path, in the dialect that ``re`` and PCRE share; ``MARKETS`` stands for the
    markets of the map."""
    home: Literal["slot", "market", "any", "studio", "edge"]
    """Where it goes: to the slot's owner, to the market's cells by URL, to any cell, to the studio, nowhere."""
    importance: Importance
    methods: tuple[str, ...] = METHODS
    cached: bool = False
    streamed: bool = False
    """The body goes straight through: it is sent once, to the one cell that knows of it."""
    body_max: int = BODY_BYTES_MAX


ROUTES: Final = (
    Route(name="health", pattern="/healthz", home="edge", importance="critical", methods=READS),
    Route(name="upload", pattern="/studio/uploads/[^/]+/content", home="studio", importance="bulk", methods=("PUT",),
          streamed=True, body_max=UPLOAD_BYTES_MAX),
    Route(name="studio", pattern="/studio/.+", home="studio", importance="degraded"),
    Route(name="steer", pattern="/steer", home="any", importance="critical", methods=READS),
    Route(name="openapi", pattern=r"/v1/openapi\.json", home="market", importance="degraded", methods=READS,
          cached=True),
    Route(name="playback", pattern="/v1/playback/.+", home="slot", importance="critical"),
    Route(name="drm", pattern="/v1/drm/.+", home="slot", importance="critical"),
    Route(name="auth", pattern="/v1/auth/.+", home="slot", importance="critical"),
    Route(name="me", pattern="/v1/me(?:/.+)?", home="slot", importance="degraded"),
    Route(name="telemetry", pattern="/v1/telemetry", home="slot", importance="bulk"),
    Route(name="search", pattern="/v1/(?:MARKETS)/search", home="market", importance="best_effort", methods=READS,
          cached=True),
    Route(name="public", pattern="/v1/(?:MARKETS)/.+", home="market", importance="degraded", methods=READS,
          cached=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another region, as an edge sees it."""

    region: str
    residency: str
    door: str
    """``host:port`` that leads to its peer door."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The region an edge stands in."""

    name: str
    residency: str
    peers: tuple[Peer, ...] = ()
    """In the order in which they stand in for this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The head of a request, as far as it decides anything."""

    method: str
    target: str
    """Path with query, as sent."""
    slot: str = ""
    """``Eisbach-Slot``; empty: absent."""
    key: str = ""
    """``Idempotency-Key``."""
    intent: str = ""
    """``Request-Intent``: ``prefetch`` lowers the class to bulk; nothing raises it."""
    door: Literal["public", "peer"] = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Pass the call on."""

    route: str
    importance: Importance
    cells: tuple[str, ...]
    """Cells to try, first first; for ``any`` every order is right."""
    beyond: str | None
    """The region whose peer door comes after the cells; None: this call goes no further."""
    repeatable: bool
    """It may be sent again although it was sent."""
    reads: bool
    """It changes nothing, so that a refusal is the whole truth."""
    followed: bool
    """A 421 is followed; every cell has what is cached, and a streamed body is gone."""
    moved: bool = False
    """It was followed to a cell of this region: what is followed now leads to another region only."""
    cached: bool
    connections_max: int
    """Of the cell (or pool), all classes together, at which this call is refused with 503."""
    body_max: int
    any: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with a problem at once."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer at once: a preflight (204) or the edge's own health (200)."""

    status: int


Outcome = Literal["refused", "silent"] | int
"""Of one try: connection refused (nothing was sent), sent but no answer, or a status."""


def markets(slot_map: SlotMap) -> dict[str, list[Group]]:
    """Market -> its groups, of everything that viewers use."""
    return _markets(tuple(slot_map.groups))


@lru_cache(maxsize=16)
def _markets(groups: tuple[str, ...]) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in sorted(map(Group.parse, groups)):
        if group != STUDIO_GROUP:
            found.setdefault(group.market, []).append(group)
    return found


def studio_cell(slot_map: SlotMap) -> str | None:
    """The cell that hosts the studio; it answers 421 for what another has."""
    return slot_map.owner(str(STUDIO_GROUP), 0)


def pool(slot_map: SlotMap, market: str | None) -> list[str]:
    """Cells that may answer what no slot decides, of one market or of all; quarantined ones only as the last."""
    wanted = [g for m, groups in markets(slot_map).items() if market in (None, m) for g in groups]
    cells = sorted({cell for group in wanted for cell in slot_map.groups[str(group)]})
    healthy = [cell for cell in cells if slot_map.cells[cell].state != "quarantined"]
    return healthy or cells


def beyond(region: Region, residency: str) -> str | None:
    """The region that stands in for this one where data of ``residency`` are concerned."""
    return next((p.region for p in region.peers if residency in ("any", p.residency)), None)


def by_url(cells: Sequence[str], target: str) -> list[str]:
    """Cells in the order of nginx's ``hash``: ``(crc32(key) >> 16) & 0x7fff``, as Cache::Memcached does it."""
    first = (zlib.crc32(target.encode()) >> 16 & 0x7FFF) % len(cells)
    return [*cells[first:], *cells[:first]]


@lru_cache(maxsize=16)
def _patterns(groups: tuple[str, ...]) -> list[tuple[re.Pattern[str], Route]]:
    """The routes' patterns for a map with these groups."""
    names = "|".join(_markets(groups))
    return [(re.compile(route.pattern.replace("MARKETS", names), re.ASCII), route) for route in ROUTES]


def decide(call: Call, *, region: Region, slot_map: SlotMap) -> Forward | Refuse | Answer:
    """What happens to a call that has just arrived. The order of the checks is part of the contract."""
    path = call.target.partition("?")[0]
    if re.fullmatch(PATH, path, re.ASCII) is None:
        return Refuse(400, "path")
    if call.method == "OPTIONS":
        return Answer(204)
    route = next((r for pattern, r in _patterns(tuple(slot_map.groups)) if pattern.fullmatch(path)), None)
    if route is None:
        return Refuse(404, "not_found")
    if call.method not in route.methods:
        return Refuse(405, "method")
    if route.home == "edge":
        return Answer(200)
    return _place(call, route, region, slot_map)


def _place(call: Call, route: Route, region: Region, slot_map: SlotMap) -> Forward | Refuse:
    cells: list[str] = []
    residency = region.residency
    any_cell = False
    if route.home == "slot" and call.slot:
        try:
            slot = Slot.parse(call.slot)
        except Invalid:
            return Refuse(400, "slot")
        owner = slot_map.owner(str(slot.group), slot.number)
        if owner is None:
            return Refuse(421, "slot_elsewhere")
        cells, residency = [owner], slot.group.residency
    elif route.home == "studio":
        cells, residency = [c for c in (studio_cell(slot_map),) if c], "any"
    elif route.home == "market":
        market = None if route.name == "openapi" else call.target.split("/")[2]
        cells = by_url(pool(slot_map, market), call.target)
        if market is not None:
            residency = markets(slot_map)[market][0].residency
    else:
        cells, any_cell = pool(slot_map, None), True
    if not cells:
        return Refuse(404, "not_found")
    importance: Importance = "bulk" if call.intent == "prefetch" else route.importance
    return Forward(
        route=route.name,
        importance=importance,
        cells=tuple(cells),
        beyond=None if route.streamed or call.door == "peer" else beyond(region, residency),
        repeatable=not route.streamed and _repeatable(call),
        reads=call.method in READS,
        followed=not route.streamed and not route.cached,
        cached=route.cached,
        connections_max=CELL_CONNECTIONS_MAX * SHARES[importance] // 100,
        body_max=route.body_max,
        any=any_cell,
    )


def _repeatable(call: Call) -> bool:
    if call.method in _REPEATABLE or re.fullmatch(KEY, call.key, re.ASCII):
        return True
    path = call.target.partition("?")[0]
    return call.method == "POST" and re.fullmatch(BY_ITSELF, path, re.ASCII) is not None


def next_hop(forward: Forward, tried: Sequence[str], outcome: Outcome) -> str | None:
    """Where to try again after the last of ``tried`` ended with ``outcome``; None: the caller gets that outcome.

    Hops are cells, and ``@region`` for another region's peer door.
    """
    if isinstance(outcome, int) or (outcome == "silent" and not forward.repeatable):
        return None
    cells = [cell for cell in forward.cells if cell not in tried]
    door = f"@{forward.beyond}"
    tries_max = TRIES_MAX
    if forward.cached:
        # The region's own cells have their two tries; another region then answers what no cache has.
        tries_max += 1
        cells = cells[: max(0, TRIES_MAX - len(tried))]
    if len(tried) >= tries_max:
        return None
    return cells[0] if cells else door if forward.beyond and door not in tried else None


def doubtful(forward: Forward, outcomes: Sequence[Outcome]) -> bool:
    """Whether the caller is told that the outcome is unknown (504), in place of the last of ``outcomes``.

    A hop that was silent may have carried the call out. What another one answers is the answer, because who repeats a
    call gets the effect once; but its refusal says that nothing was done, and it speaks for itself alone.
    """
    last = outcomes[-1]
    return not forward.reads and "silent" in outcomes and (not isinstance(last, int) or last in REFUSALS)


def passed_on(code: str, *, waits: bool, repeatable: bool) -> bool:
    """Whether the front asks the other region after a 503; else that is the answer.

    With ``code`` (``Eisbach-Code``) it is a cell's own word: ``ELSEWHERE`` or not. Shed (``overloaded``) is not, nor
    what may have been carried out (``outcome_unknown``). Without a code something stands in a region's place: one that
    ``waits`` (``Retry-After``) is believed, one that does not is dead, and what it did with the call is not known.
    """
    return code in ELSEWHERE if code else repeatable and not waits


def follow(forward: Forward, owner: str, *, region: Region, slot_map: SlotMap) -> Forward | None:
    """The call as it is sent after a 421 with ``Eisbach-Owner``, by every method, because nothing was done.

    ``owner`` is a cell of this region, with or without the region's name before it, or another region with or without
    a cell. At most once each, and the cell first: whoever was asked without a slot names the slot's cell, which alone
    knows that the region has left the slot. None: not ours to follow; the caller gets the 421,
    unless it is ``circular``.
    """
    if not forward.followed:
        return None
    name, _, cell = owner.rpartition("/")
    if not forward.moved and name in ("", region.name) and cell in slot_map.cells:
        return replace(forward, cells=(cell,), any=False, moved=True)
    there = name or cell
    if forward.beyond is not None and there == forward.beyond:
        return replace(forward, cells=(f"@{there}",), beyond=None, any=False, followed=False)
    return None


def circular(hop: str, owner: str, *, region: Region) -> bool:
    """Whether a 421 of ``hop`` that is not followed leads nowhere: another region, which names this one.

    It was asked because this region's cell did not answer, or has left the slot to it. Nobody has the slot now, and
    nothing was done: the caller is told as if nobody had been reached (502 ``unavailable``).
    """
    return hop.startswith("@") and region.name in (owner, owner.rpartition("/")[0])
