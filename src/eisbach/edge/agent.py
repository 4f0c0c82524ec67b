"""The agent of a region's edge and origin: takes signed slot maps, keeps the last good one, reloads nginx on change.

Promises (P7, P8): a map that is older, partial, empty, unsigned, of another region or refused by nginx changes nothing;
what is in force is on disk before nginx hears of it, so a restart never goes back; with the control process dead - or
the agent itself - nginx goes on as it is. Safe to ``activate`` at any time, any number of times.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import structlog

from eisbach.edge.nginx_edge import PEER_TOKEN_FILE, EdgeSite, edge_config, peer_token_map
from eisbach.edge.nginx_origin import KEYS_FILE, SCRIPT_FILE, OriginSite, keys_json, origin_config, script
from eisbach.edge.nginx_prefix import CONFIG, write_whole
from eisbach.kernel.errors import EisbachError
from eisbach.kernel.slotmap import SlotMap, decode_signed, judge
from eisbach.ports.clock import Clock

__all__ = ["MAP_FILE", "Agent", "AgentKeys", "Prefix"]

MAP_FILE: Final = "map.json"
"""In the edge's prefix: the signed map in force; also what ``GET /peer/map`` serves."""
_GO_ON: Final = "viewers go on by what edge and origin have, slots that move are not routed to their new cells"
Files = Mapping[str, bytes]
_logger = structlog.get_logger(__name__)


class Prefix(Protocol):
    """An nginx's folder, as ``nginx_prefix.NginxPrefix`` keeps it."""

    reloads: int

    @property
    def running(self) -> bool:
        """Whether an nginx runs on it."""
        ...

    def holds(self, files: Mapping[str, bytes]) -> bool:
        """Whether nginx was told exactly these files."""
        ...

    async def check(self, files: Mapping[str, bytes]) -> None:
        """Raise ``Invalid`` if nginx would not take these files."""
        ...

    def put(self, files: Mapping[str, bytes]) -> None:
        """Move checked files in and reload."""
        ...

    def rotate_logs(self) -> None:
        """Bound the logs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKeys:
    """The part of a region's secrets that edge and origin need."""

    map_key: bytes
    media_keys: Mapping[str, str]
    """kid -> hexadecimal key."""
    peer_token: str


class _Refusal(NamedTuple):
    """Of every map since one was taken last."""

    since_ms: int
    why: str
    """Of the last one."""


class Agent:
    """One a region."""

    def __init__(
        self,
        *,
        sites: tuple[EdgeSite, OriginSite],
        prefixes: tuple[Prefix, Prefix],
        map_file: Path,
        slot_counts: Mapping[str, int],
        keys: Callable[[], AgentKeys],
        clock: Clock,
    ) -> None:
        """Compose.

        Args:
            sites: of the edge and of the origin.
            prefixes: of the edge and of the origin.
            map_file: where the map in force is kept.
            slot_counts: group -> slots, fixed for life.
            keys: reads the keys anew, so that a rotation needs no restart.
            clock: for the status.
        """
        self._sites, self._prefixes, self._map_file = sites, prefixes, map_file
        self._slot_counts, self._keys, self._clock = slot_counts, keys, clock
        self._lock = asyncio.Lock()
        self.document: bytes | None = None
        """The signed map in force; None before the first."""
        self._current: SlotMap | None = None
        self._rendered: tuple[bytes, AgentKeys, tuple[Files, Files]] | None = None
        """Of the last map and keys: looked at every second or two, changed every day or two."""
        self._written = False
        self._refused = self._fetch_failures = 0
        self._last_failure = ""
        self._refusal: _Refusal | None = None
        self._wanted: bytes | None = None
        """The last map that was heard of: in force, or refused; what is tried while control says nothing."""
        self._last_reload_ms: int | None = None

    @property
    def missing(self) -> str | None:
        """Why edge and origin cannot be started yet; None once their files are written and tested."""
        if self._written:
            return None
        why = "; ".join(filter(None, (self._refusal and self._refusal.why, self._last_failure)))
        return f"no configuration yet: {why or 'no slot map'}"

    async def load(self) -> None:
        """Take up the last good map from the disk: what a start with the control process dead lives on."""
        try:
            document = self._map_file.read_bytes()
        except FileNotFoundError:
            return
        await self.take(document)

    async def activate(self, fetch: Callable[[], Awaitable[bytes]]) -> None:
        """Fetch the map and make everything follow it; a failure is counted and changes nothing."""
        document = self._wanted
        try:
            document = await fetch()
        except EisbachError as error:
            self._fetch_failures += 1
            if str(error) != self._last_failure:
                _logger.warning("slot_map_unavailable", error=str(error))
            self._last_failure = str(error)
        else:
            self._last_failure = ""
        if document is not None:
            await self.take(document)
        for prefix in self._prefixes:
            prefix.rotate_logs()

    async def take(self, document: bytes) -> bool:
        """Judge a signed map and put it in force; whether it is (again: whether it already was)."""
        async with self._lock:
            self._wanted = document
            try:
                keys = self._keys()
                candidate = self._current
                if candidate is None or document != self.document:
                    candidate = decode_signed(document, keys.map_key)
                    judge(candidate, self._current, region=self._sites[0].region.name, slot_counts=self._slot_counts)
                await self._put(document, candidate, keys)
            except (EisbachError, OSError) as error:  # a full disk, too, leaves what is in force
                self._refuse(_words(error))
                return False
            self._refusal = None
            return True

    async def _put(self, document: bytes, slot_map: SlotMap, keys: AgentKeys) -> None:
        rendered = self._rendered
        if rendered is None or rendered[:2] != (document, keys):
            rendered = self._rendered = (document, keys, self._files(slot_map, keys))
        wanted = rendered[2]
        changed = [(p, files) for p, files in zip(self._prefixes, wanted, strict=True) if not p.holds(files)]
        for prefix, files in changed:
            await prefix.check(files)
        if document != self.document:
            # On disk before nginx hears of it: a crash in between is made good from here, and never backwards.
            self._map_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._map_file, document)
            self.document, self._current = document, slot_map
        for prefix, files in changed:
            prefix.put(files)
            self._last_reload_ms = self._clock.wall_ms()
            _logger.info("nginx_configured", map_version=slot_map.version)
        self._written = True

    def _files(self, slot_map: SlotMap, keys: AgentKeys) -> "tuple[Files, Files]":
        edge, origin = self._sites
        return (
            {CONFIG: edge_config(edge, slot_map).encode(), PEER_TOKEN_FILE: peer_token_map(keys.peer_token).encode()},
            {
                CONFIG: origin_config(origin, slot_map).encode(),
                KEYS_FILE: keys_json(keys.media_keys),
                SCRIPT_FILE: script(),
            },
        )

    def _refuse(self, why: str) -> None:
        self._refused += 1
        before = self._refusal
        if before is None or why != before.why:
            _logger.error("slot_map_refused", error=why, in_force=self._current and self._current.version)
        self._refusal = _Refusal(before.since_ms if before else self._clock.wall_ms(), why)

    def _refuses(self) -> Mapping[str, Any]:
        """For people, while there is something that viewers go on by; before that nothing is ready."""
        if self._refusal is None or not self._written:
            return {}
        why = f"{self._refusal.why}; {_GO_ON}"
        return {"since_ms": self._refusal.since_ms, "why": why, "unknown": False}

    def status(self) -> dict[str, Any]:
        """For ``/status``."""
        edge, origin = self._prefixes
        return {
            "map_version": self._current.version if self._current else None,
            "maps_refused": self._refused,
            "last_refusal": self._refusal.why if self._refusal else "",
            "refuses": self._refuses(),
            "fetch_failures": self._fetch_failures,
            "last_failure": self._last_failure,
            "reloads": {"edge": edge.reloads, "origin": origin.reloads},
            "last_reload_ms": self._last_reload_ms,
            "running": {"edge": edge.running, "origin": origin.running},
        }


def _words(error: EisbachError | OSError) -> str:
    """Ours says what to do."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    to_do = "free space on that disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that disk"
    return f"the disk refused {error.filename} ({error.strerror}); {to_do}, and it follows by itself"
