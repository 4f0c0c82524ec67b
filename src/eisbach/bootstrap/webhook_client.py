"""Calls of webhooks: a client that resolves names itself and connects to public addresses only.

The check stands in the resolver, between the name and the connection, so that a name cannot change its answer after it
was judged (DNS rebinding); every redirect goes through the same checks. No proxy, no cookies, bounded in time and size.
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.spokes.webhooks import check_url, is_public

__all__ = ["WebhookClient"]

_REDIRECTS_MAX: Final = 3
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
_TRY_AGAIN: Final = frozenset({408, 425, 429})


class _PublicOnly(AbstractResolver):
    def __init__(self, inner: AbstractResolver, allowed: Callable[[str], bool]) -> None:
        self._inner, self._allowed = inner, allowed

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)  # type: ignore[arg-type]  # aiohttp's own enum of families
        if refused := [one["host"] for one in found if not self._allowed(one["host"])]:
            raise Invalid(f"{host} is {', '.join(refused)}, not a public address; nothing was sent")
        return found

    async def close(self) -> None:
        await self._inner.close()


def _place(url: str) -> URL:
    try:
        return URL(url)
    except ValueError as error:
        raise Invalid(f"webhook {url[:100]!r} is no URL: {error}") from error


class WebhookClient:
    """One a spoke host."""

    def __init__(
        self,
        *,
        resolver: AbstractResolver | None = None,
        allowed: Callable[[str], bool] = is_public,
        plain: bool = True,
    ) -> None:
        """``plain``: redirects may lead to ``http``; the first URL was judged when the file was read."""
        checked = _PublicOnly(resolver or DefaultResolver(), allowed)
        connector = aiohttp.TCPConnector(resolver=checked, limit=16, use_dns_cache=False)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
        )
        self._plain = plain

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """POST it, following at most three redirects that keep method and body (307, 308).

        Raises:
            Invalid: the receiver refuses for good, or an address on the way is not public.
            Unavailable: no answer, or one that says later.
        """
        for _ in range(_REDIRECTS_MAX + 1):
            check_url(url, plain=self._plain)
            place = _place(url)
            # What is an address in the client's own reading is never resolved, so the resolver cannot judge it.
            check_url(str(place), plain=self._plain)
            try:
                async with self._session.post(place, data=body, headers=headers, allow_redirects=False) as answer:
                    status, location = answer.status, answer.headers.get("location", "")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unavailable(f"webhook {url}: {type(error).__name__}: {error}") from error
            if 200 <= status < 300:
                return
            if status in (307, 308) and location:
                url = urljoin(url, location)
                continue
            if status >= 500 or status in _TRY_AGAIN:
                raise Unavailable(f"webhook {url} answers {status}")
            raise Invalid(f"webhook {url} answers {status}: no repeat can mend that")
        raise Invalid(f"webhook {url}: over {_REDIRECTS_MAX} redirects")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()
