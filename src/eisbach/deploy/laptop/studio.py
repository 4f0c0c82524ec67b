"""A client of a studio cell, for people's tools: uploads and the demo content.

Every call carries a key derived from what it does, so that a repeat after a lost answer has one effect.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import aiohttp
import msgspec

from eisbach.kernel.errors import EisbachError, Invalid, NotFound, OutcomeUnknown, Unavailable
from eisbach.kernel.ids import derived_id

__all__ = ["Studio", "is_published"]

_ANSWER_BYTES_MAX = 8 * 1024 * 1024


class Studio:
    """Calls of one studio; use as an async context manager."""

    def __init__(self, url: str, *, token: str) -> None:
        """``url``: of the studio cell or of an edge before it; ``token``: the operator's."""
        self._url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=60, connect=2),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        """One call with a JSON body; its JSON answer.

        Args:
            method: GET, POST ...
            path: from ``/studio`` on.
            body: what msgspec can encode.
            key: idempotency key; empty: derived from the call.

        Raises:
            Invalid, NotFound: refused, with the studio's words.
            Unavailable: it cannot be reached or is too busy; try again.
        """
        raw = b"" if body is None else msgspec.json.encode(body)
        key = key or derived_id("cli", method, path, raw.hex())
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return await self._request(method, path, raw, headers)

    async def upload(self, path: str, content: AsyncIterator[bytes], *, size: int) -> Any:
        """PUT a stream of ``size`` bytes; as ``call``."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return await self._request("PUT", path, content, headers)

    async def _request(self, method: str, path: str, data: Any, headers: dict[str, str]) -> Any:
        asked = f"{method} {self._url}{path}"
        try:
            async with self._session.request(method, f"{self._url}{path}", data=data, headers=headers) as answer:
                raw = await answer.content.read(_ANSWER_BYTES_MAX)
                if answer.status < 300:
                    return msgspec.json.decode(raw) if raw else None
                raise _refusal(asked, answer.status, raw)
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"{asked}: cannot be reached ({error}); is the platform running?") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OutcomeUnknown(f"{asked}: the answer was lost ({error!r}); repeat it") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{asked}: the answer is not JSON: {error}") from error


def is_published(title: Mapping[str, Any]) -> bool:
    """Whether a title document of the studio is published; documents leave out what has its default, as ``draft``."""
    return bool(title.get("state", "draft") == "published")


def _refusal(asked: str, status: int, raw: bytes) -> EisbachError:
    try:
        found = msgspec.json.decode(raw)
        detail = str(found.get("detail") or found.get("title"))
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
        detail = raw[:200].decode(errors="replace")
    if status == 404:
        return NotFound(f"{asked}: {detail}")
    if status in (408, 421, 425, 429) or status >= 500:
        return Unavailable(f"{asked}: answered {status}: {detail}")
    return Invalid(f"{asked}: answered {status}: {detail}")
