"""Another region over HTTP, through its peer door: the real ``PeerTransport``.

One connection pool a region. Promises: every failure of the network is ``Unavailable``; an answer that is not what a
peer sends is ``Unavailable`` too (the next one may be), never a crash; a link that says nothing is given up in seconds,
one that carries little is not, so that the largest transaction crosses it. May not know: what is pulled.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import aiohttp
import msgspec

from eisbach.cell.pace import Pace
from eisbach.cell.pull_messages import ANEW, AT_MOST, FAR_BEHIND
from eisbach.cell.puller import PullAnswer, PullRequest
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.limits import MIB
from eisbach.kernel.slotmap import SlotMap

__all__ = ["HttpPeer", "fetch_map"]

CONNECT_S: Final = 2.0
"""A wide-area link is not a region's own network: its round trip alone may take half of this."""
ANSWER_S: Final = 8.0
"""Of silence: before the answer begins, beyond the time that the question may be held and takes on its way at
``BYTES_PER_S_MIN``, and between any two of its bytes."""
BYTES_PER_S_MIN: Final = 10_000
"""Less than a link that is used for this may carry."""
LONGEST_S: Final = 300.0
"""From an answer's first byte to its last: the largest transaction at ``BYTES_PER_S_MIN``, 20 items of 64 KiB with an
event each. Ops are asked for in answers of about two seconds (``cell.pace``)."""
PATIENCE: Final = 8
"""How much slower a link may have become than what was asked for tells of it before an answer is given up: after 27 s
of 4 MiB, which it carried in two; what is asked for next is small. An answer of at most 64 KiB has ``LONGEST_S``."""
ANSWER_BYTES_MAX: Final = 64 * MIB
"""512 ops of at most 64 KiB, a transaction more, and their envelopes."""


class _SignedMap(msgspec.Struct):
    map: SlotMap


class _Patience(NamedTuple):
    begins_s: float
    """Until an answer begins, beyond the way of the question's own bytes."""
    lasts_s: float
    """From its first byte to its last."""


class HttpPeer:
    """Made once per region and process; ``aclose`` at the end."""

    far_behind = FAR_BEHIND

    def __init__(self, door: str, *, token: str) -> None:
        """``door``: URL of that region's peer door; ``token``: the peers' own."""
        self._door, self._headers = door.rstrip("/"), {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def owners(self) -> Mapping[str, Sequence[str]]:
        """See ``PeerTransport``. Its signature is that region's own; here the map is only a hint whom to ask."""
        raw = await self._send("GET", f"{self._door}/peer/map", None, patience=_Patience(ANSWER_S, LONGEST_S))
        try:
            return msgspec.json.decode(raw, type=_SignedMap).map.groups
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{self._door}/peer/map is not a slot map: {error}") from error

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        """See ``PeerTransport``."""
        url = f"{self._door}/peer/cells/{cell}/pull"
        seconds = request.wait_ms / 1000 + ANSWER_S
        headers = {ANEW: "1"} if request.anew else {}
        if request.bytes_max:
            headers[AT_MOST] = str(request.bytes_max)
        body = msgspec.msgpack.encode(msgspec.structs.replace(request, anew=False, bytes_max=0))
        patience = _Patience(seconds, _longest(request.bytes_max))
        raw = await self._send("POST", url, body, patience=patience, headers=headers)
        try:
            return msgspec.msgpack.decode(raw, type=PullAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{url} did not answer with ops: {error}") from error

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        *,
        patience: _Patience,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers)
        seconds = patience.begins_s + len(body or b"") / BYTES_PER_S_MIN
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        try:
            async with (
                asyncio.timeout(seconds) as limit,
                self._session.request(method, url, data=body, timeout=limits, headers=headers) as response,
            ):
                raw = await _bounded(response, limit, patience.lasts_s)
                if response.status != 200:
                    raise Unavailable(f"{url} answered {response.status}: {raw[:200].decode(errors='replace')}")
                return raw
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{url} cannot be reached ({type(error).__name__}: {error})") from error


def _longest(bytes_max: int) -> float:
    """How long an answer may come in: ``bytes_max`` is what the link carried in the aim's time, the largest transaction
    may come on top of it.
    """
    if not bytes_max:
        return LONGEST_S
    largest = LONGEST_S * BYTES_PER_S_MIN
    return min(LONGEST_S, PATIENCE * Pace.AIM_MS / 1000 * (1 + largest / bytes_max))


async def _bounded(response: aiohttp.ClientResponse, limit: asyncio.Timeout, lasts_s: float) -> bytes:
    pieces: list[bytes] = []
    total = 0
    now = asyncio.get_running_loop().time
    latest = now() + lasts_s
    limit.reschedule(min(now() + ANSWER_S, latest))
    async for piece in response.content.iter_chunked(256 * 1024):
        limit.reschedule(min(now() + ANSWER_S, latest))
        total += len(piece)
        if total > ANSWER_BYTES_MAX:
            raise Unavailable(f"{response.url} sends more than {ANSWER_BYTES_MAX} bytes; that is no peer's answer")
        pieces.append(piece)
    return b"".join(pieces)


async def fetch_map(session: aiohttp.ClientSession, url: str, *, token: str) -> bytes:
    """The signed slot map of this region, from its agent.

    Raises:
        Unavailable: not reachable now; keep the last good one.
    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=2)) as response:
            if response.status != 200:
                raise Unavailable(f"{url} answered {response.status}")
            return await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"{url} cannot be reached ({type(error).__name__}: {error})") from error
