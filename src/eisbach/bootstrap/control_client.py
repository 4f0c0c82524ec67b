"""How a cell, and a restore of one, reach their region's control process for what moves have decided.

May not know: what is made of it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import aiohttp
import msgspec

from eisbach.control.evacuation import EvacuationRecord
from eisbach.control.moves import SlotRecord
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.slots import Slot

__all__ = ["HttpMoves", "told"]

_ANSWER_S: Final = 2.0
T = TypeVar("T")


class _Listed(msgspec.Struct):
    moves: list[SlotRecord]
    addresses: dict[str, str] | None = None
    """None: it is of an earlier version and does not say."""


class _Last(msgspec.Struct):
    last: EvacuationRecord | None


class _Problem(msgspec.Struct, frozen=True):
    detail: str


def told(said: bytes) -> str:
    """What an answer that is not what was asked for says: the detail of a problem, or as it is."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(said, type=_Problem).detail
    return said[:200].decode(errors="replace")


class HttpMoves:
    """``restore_owners.Decided`` over HTTP; a connection a call, since it is asked at most once a start."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._headers = url, {"Authorization": f"Bearer {token}"}

    async def records(self) -> Sequence[SlotRecord]:
        """See ``Moves``."""
        return (await self._told("/cells", _Listed)).moves

    async def abort(self, slot: Slot, reason: str) -> None:
        """See ``Moves``."""
        # Not in the body: one of an earlier version refuses what it does not know there, as it does what has ended.
        body = msgspec.json.encode({"slot": str(slot)})
        await self._ask("POST", "/moves/abort", body, query={"reason": reason})

    async def addresses(self) -> Mapping[str, str]:
        """See ``Decided``."""
        found = (await self._told("/cells", _Listed)).addresses
        if found is None:  # taken for no cells, each would be gone for good
            raise Unavailable("the control process was asked where cells are, and does not say: upgrade eisbach there")
        return found

    async def evacuation(self) -> EvacuationRecord | None:
        """See ``Decided``."""
        return (await self._told("/region", _Last)).last

    async def _told(self, path: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(await self._ask("GET", path, b""), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"the control process does not answer {path} as one does: {error}") from error

    async def _ask(self, method: str, path: str, body: bytes, *, query: Mapping[str, str] | None = None) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
                session.request(method, f"{self._url}{path}", data=body or None, params=query) as answer,
            ):
                said = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(
                f"the region's control process does not answer {path} ({type(error).__name__}: {error});"
                " start the region first"
            ) from error
        if answer.status == 200:
            return said
        refused = Invalid if 400 <= answer.status < 500 and answer.status not in (401, 403, 404, 429) else Unavailable
        raise refused(f"the control process answered {answer.status} to {path}: {told(said)}")
