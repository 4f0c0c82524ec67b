"""The supervisor's hand on the link process: cut and mend wide-area links over its HTTP control.

Promises: a cut survives a restart of the link process (it is set again until it holds or is mended).
"""

import asyncio
import contextlib

import aiohttp

from eisbach.kernel.errors import Unavailable
from eisbach.ports.clock import Clock

__all__ = ["Links"]

_AGAIN_EVERY_S = 1.0


class Links:
    """Client of one link process."""

    def __init__(self, url: str, *, token: str, clock: Clock) -> None:
        """``url``: its control; ``token``: the operator's."""
        self._url, self._clock = url, clock
        self._headers = {"Authorization": f"Bearer {token}"}
        self._wanted: set[tuple[str, str]] = set()
        self._keeping: asyncio.Task[None] | None = None

    async def cut(self, region: str, other: str) -> None:
        """Both ways.

        Raises:
            Unavailable: the link process does not answer; nothing is promised.
        """
        await self._set(region, other, "cut")
        self._wanted |= {(region, other), (other, region)}
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def mend(self, region: str, other: str) -> None:
        """Both ways."""
        self._wanted -= {(region, other), (other, region)}
        await self._set(region, other, "up")

    async def aclose(self) -> None:
        """Stop keeping cuts."""
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _set(self, region: str, other: str, state: str) -> None:
        for one, two in ((region, other), (other, region)):
            await self._put(one, two, state)

    async def _put(self, one: str, two: str, state: str) -> None:
        limit = aiohttp.ClientTimeout(total=2)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=limit) as session,
                session.put(f"{self._url}/links/{one}/{two}", json={"state": state}) as answer,
            ):
                if answer.status >= 300:
                    said = (await answer.text())[:200]
                    raise Unavailable(f"link {one} -> {two}: the link process answered {answer.status}: {said}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"link {one} -> {two}: the link process does not answer ({error}); try again") from error

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(_AGAIN_EVERY_S)
            for one, two in list(self._wanted):
                with contextlib.suppress(Unavailable):
                    await self._put(one, two, "cut")
