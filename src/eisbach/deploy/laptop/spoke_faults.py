"""The supervisor's hand on single spokes: break and heal one of a spoke host's spokes over its HTTP.

Promises: a fault survives a restart of the spoke host (it is set again until it is healed), as cuts do in ``links``.
May not know: what spokes do.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from eisbach.kernel.errors import Invalid, NotFound, Unavailable
from eisbach.ports.clock import Clock

__all__ = ["SpokeFaults", "spoke_of"]

_AGAIN_EVERY_S = 1.0
_LIMIT = aiohttp.ClientTimeout(total=5.0)


def spoke_of(target: str) -> tuple[str, str] | None:
    """(region, spoke) of ``spoke/R/NAME``; None for anything else."""
    kind, _, rest = target.partition("/")
    region, _, name = rest.partition("/")
    return (region, name) if kind == "spoke" and name else None


class SpokeFaults:
    """Client of every spoke host."""

    def __init__(self, doors: Mapping[str, str], *, token: str, clock: Clock) -> None:
        """``doors``: region -> URL of its spoke host; ``token``: the operator's."""
        self._doors, self._clock = doors, clock
        self._headers = {"Authorization": f"Bearer {token}"}
        self._wanted: dict[tuple[str, str], str] = {}
        self._keeping: asyncio.Task[None] | None = None

    async def fault(self, region: str, spoke: str, kind: str) -> None:
        """Break it; in effect when this returns.

        Raises:
            NotFound: no such region or spoke.
            Invalid: the kind is not for spokes.
            Unavailable: the spoke host does not answer; nothing is promised.
        """
        await self._post(region, f"/spokes/{spoke}/fault/{kind}")
        if kind == "kill":
            return
        self._wanted[region, spoke] = kind
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def heal(self, region: str, spoke: str) -> None:
        """End its fault; a host that does not answer has forgotten it by the time it does."""
        self._wanted.pop((region, spoke), None)
        with contextlib.suppress(Unavailable):
            await self._post(region, f"/spokes/{spoke}/heal")

    async def aclose(self) -> None:
        """Stop keeping faults."""
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(_AGAIN_EVERY_S)
            for (region, spoke), kind in list(self._wanted.items()):
                with contextlib.suppress(Unavailable, NotFound):
                    if await self._told(region, spoke) != kind and (region, spoke) in self._wanted:
                        await self._post(region, f"/spokes/{spoke}/fault/{kind}")

    async def _told(self, region: str, spoke: str) -> str | None:
        rows = (await self._call("GET", region, "/status")).get("spokes")
        return next((row.get("fault") for row in rows or () if row.get("spoke") == spoke), None)

    async def _post(self, region: str, path: str) -> None:
        await self._call("POST", region, path)

    async def _call(self, method: str, region: str, path: str) -> dict[str, Any]:
        if region not in self._doors:
            where = (
                f"there are spokes in {', '.join(self._doors)}"
                if self._doors
                else "in stage single they live in 'single'"
            )
            raise NotFound(f"no spokes of their own in region {region[:40]!r}; {where}")
        url = f"{self._doors[region]}{path}"
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=_LIMIT) as session,
                session.request(method, url) as answer,
            ):
                said = msgspec.json.decode(await answer.read(), type=dict[str, Any])
                if answer.status == 200:
                    return said
                detail = str(said.get("detail", answer.status))
                raise NotFound(detail) if answer.status == 404 else Invalid(detail)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
            why = str(error) or f"nothing came in {_LIMIT.total:.0f} s"
            raise Unavailable(
                f"the spokes of {region} do not answer at {url}: {why}; is spokes/{region} down?"
            ) from error
