"""Cells of the own region over HTTP, for moves: the real ``SlotSource`` and ``MoveCells``.

Promises: a cell's refusal comes back as the error it was; silence and nonsense are ``Unavailable``.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from eisbach.cell.losses import AskHeard, AskReturned, Heard, Returned
from eisbach.cell.move_calls import AllSlots, SlotRef
from eisbach.cell.moving import Freeze, Frozen, LeaseView, LeftBehind, Settle, StandAside, StoodAside
from eisbach.cell.problems import Problem
from eisbach.cell.slot_imports import ExportRequest, ImportProgress, PrepareImport
from eisbach.cell.unreached import unreached
from eisbach.kernel.errors import (
    EisbachError,
    EpochStale,
    Invalid,
    LogGap,
    OutcomeUnknown,
    SlotMoved,
    Unavailable,
)
from eisbach.ports.moves import SlotChunk

__all__ = ["ANSWER_S", "HttpCells"]

ANSWER_S: Final = 5.0
_CONNECT_S: Final = 0.2
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_KINDS: Final[Mapping[str, type[EisbachError]]] = {
    kind.code: kind for kind in (EpochStale, Invalid, LogGap, OutcomeUnknown, Unavailable)
}
T = TypeVar("T")


class HttpCells:
    """Made once per process; ``aclose`` at the end."""

    def __init__(self, addresses: Mapping[str, str], *, token: str) -> None:
        """``addresses``: cell -> ``host:port``, empty in a cell; ``token``: the region's service token."""
        self._addresses, self.headers = addresses, {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    def address(self, cell: str) -> str:
        """See ``MoveCells``."""
        if cell not in self._addresses:
            raise Invalid(f"cell {cell[:40]!r} is none of this region's: {', '.join(sorted(self._addresses))}")
        return self._addresses[cell]

    async def look(self, cell: str, slot: str) -> LeaseView:
        """See ``MoveCells``."""
        return await self._send(self.address(cell), "look", SlotRef(slot=slot), LeaseView)

    async def all_leases(self, cell: str) -> dict[str, LeaseView]:
        """See ``lost_moves.AskedCells``."""
        return await self._send(self.address(cell), "leases", AllSlots(), dict[str, LeaseView])

    async def prepare(self, cell: str, asked: PrepareImport) -> ImportProgress:
        """See ``MoveCells``."""
        return await self._send(self.address(cell), "prepare", asked, ImportProgress)

    async def freeze(self, cell: str, asked: Freeze) -> Frozen:
        """See ``MoveCells``."""
        return await self._send(self.address(cell), "freeze", asked, Frozen)

    async def drain(self, cell: str, asked: Freeze) -> bool:
        """See ``MoveCells``."""
        return await self._send(self.address(cell), "drain", asked, bool)

    async def settle(self, cell: str, asked: Settle) -> LeaseView:
        """See ``MoveCells``."""
        return await self._send(self.address(cell), "settle", asked, LeaseView)

    async def discard(self, cell: str, asked: Settle) -> bool:
        """See ``MoveCells``."""
        return await self._send(self.address(cell), "discard", asked, bool)

    async def stand_aside(self, cell: str, asked: StandAside) -> StoodAside:
        """See ``RegionCells``."""
        return await self._send(self.address(cell), "aside", asked, StoodAside)

    async def vectors(self, cell: str, asked: StandAside) -> StoodAside:
        """See ``RegionCells``."""
        return await self._send(self.address(cell), "vectors", asked, StoodAside)

    async def heard(self, cell: str, asked: AskHeard) -> Heard:
        """See ``LossCells``."""
        return await self._send(self.address(cell), "heard", asked, Heard)

    async def returned(self, cell: str, asked: AskReturned) -> Returned:
        """See ``LossCells``."""
        return await self._send(self.address(cell), "returned", asked, Returned)

    async def left(self, cell: str, asked: ExportRequest) -> LeftBehind:
        """See ``bootstrap.restore_kept.Keepers``."""
        return await self._send(self.address(cell), "left", asked, LeftBehind)

    async def export(self, source: str, request: ExportRequest) -> SlotChunk:
        """See ``SlotSource``."""
        return await self._send(source, "export", request, SlotChunk)

    async def digest(self, source: str, slot: str) -> list[str]:
        """See ``SlotSource``."""
        return await self._send(source, "digest", SlotRef(slot=slot), list[str])

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, address: str, call: str, body: msgspec.Struct, answer: type[T]) -> T:
        url = f"http://{address}/moves/{call}"
        try:
            status, raw = await self._post(url, msgspec.msgpack.encode(body))
            if status != 200:
                raise _refusal(url, status, raw, slot=getattr(body, "slot", ""))
            return msgspec.msgpack.decode(raw, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{url} did not answer as a cell does: {error}") from error

    async def _post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Status and body; the simulated world has another way to the same routes."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self.headers)
        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=_CONNECT_S)
        try:
            async with self._session.post(url, data=body, timeout=timeout) as response:
                if (response.content_length or 0) > _ANSWER_BYTES_MAX:
                    raise Unavailable(f"{url} sends {response.content_length} bytes; that is no piece of a slot")
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{url} cannot be reached: {unreached(error)}") from error


def _refusal(url: str, status: int, raw: bytes, *, slot: Any) -> EisbachError:
    try:
        problem = msgspec.json.decode(raw, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unavailable(f"{url} answered {status}: {raw[:200].decode(errors='replace')}")
    if problem.code == SlotMoved.code:
        return SlotMoved(str(slot), asked=url, owner=problem.owner or None, epoch=0)
    return _KINDS.get(problem.code, Unavailable)(f"{url}: {problem.detail or problem.code}")
