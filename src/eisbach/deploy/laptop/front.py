"""The front's keeper: tries a journey in every region, and writes the front's configuration anew when weights or
health change.

Promises: a configuration that nginx would refuse changes nothing; nginx is reloaded on change only; the last region
with weight cannot be taken out; weights are on disk before they count, so that a restart keeps them. With the keeper
dead the front goes on as it is, and still passes over by itself who does not answer. It stands outside all regions and
sees what a viewer sees: public addresses only.
"""

import asyncio
import contextlib
import errno
import html
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import structlog

from eisbach.bootstrap.agent import nginx_process
from eisbach.control.region_health import RegionHealth
from eisbach.deploy.laptop.addresses import DISTANCES, RESIDENCIES
from eisbach.deploy.laptop.documents import Documents
from eisbach.edge.nginx_front import FrontRegion, FrontSite, front_config
from eisbach.edge.nginx_prefix import CONFIG, NginxPrefix, write_whole
from eisbach.kernel.errors import EisbachError, Invalid, NotFound, Unavailable
from eisbach.kernel.routing import RegionState
from eisbach.kernel.slots import Group
from eisbach.ports.clock import Clock
from eisbach.web import static_folder

__all__ = ["FrontKeeper", "Journey", "front_site"]

Journey = Callable[[str], Awaitable[bool]]
"""Region -> whether a viewer would have been served there just now."""

_EVERY_S: Final = 1.0
_JOURNEY: Final = aiohttp.ClientTimeout(total=1.0, connect=0.3)
_WEIGHTS: Final = "weights.json"
_WEIGHT_MAX: Final = 100
_logger = structlog.get_logger(__name__)


def front_site(documents: Documents, weights: Mapping[str, int], well: Mapping[str, bool]) -> FrontSite:
    """What the front's configuration depends on; a region without an entry has full weight and is well."""
    at, folder = documents.at, documents.root / "front"
    return FrontSite(
        listens=(f"{at.first}:8000",),
        static=str(_pages(folder)),
        regions={
            region: FrontRegion(
                edge=at.edge(region),
                origin=at.origin(region),
                state=RegionState(
                    weight=weights.get(region, _WEIGHT_MAX), healthy=well.get(region, True),
                    distance=DISTANCES[region], residency=RESIDENCIES[region],
                ),
            )
            for region in documents.regions
        },
        preferred=documents.preferred(),
        console=at.console.removeprefix("http://"),
        process=nginx_process(),
    )  # fmt: skip


def _pages(folder: Path) -> Path:
    try:
        return static_folder()
    except Unavailable as error:  # the platform runs without pages, and says so where they would be
        static = folder / "pages"
        static.mkdir(parents=True, exist_ok=True)
        (static / "index.html").write_text(f"<!doctype html><title>Eisbach</title><p>{html.escape(str(error))}")
        return static


class FrontKeeper:
    """One a platform that has a front."""

    def __init__(self, documents: Documents, *, clock: Clock) -> None:
        """``documents``: addresses, regions, slots' preferences."""
        self._documents, self._clock = documents, clock
        self._folder = documents.root / "front"
        self._prefix = NginxPrefix(self._folder, nginx=str(documents.tools.nginx))
        self._health = RegionHealth(documents.regions)
        self._weights = self._read()
        self._refused = ""
        """What the disk said last, so that it is logged once and not each second."""

    def prepare(self) -> None:
        """Write the first configuration, before nginx is started."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._prefix.put(self._files())

    async def run(self) -> None:
        """Watch and follow until cancelled."""
        async with aiohttp.ClientSession(timeout=_JOURNEY) as session:
            while True:
                await self._clock.sleep(_EVERY_S)
                await self.look(lambda region: self._journey(session, region))

    async def look(self, journey: Journey) -> None:
        """Try every region once and make the front follow; an error of the client or a time-out is a failure."""
        outcomes = await asyncio.gather(*(_tried(journey, region) for region in self._documents.regions))
        for region, succeeded in zip(self._documents.regions, outcomes, strict=True):
            self._health.see(region, succeeded=succeeded)
        refused = ""
        try:
            await self._follow()
            self._prefix.rotate_logs()
        except OSError as error:  # a full disk: the front goes on as it is, and is looked after again in a second
            refused = str(error)
        if refused and refused != self._refused:
            _logger.warning("front_unchanged", error=refused)
        self._refused = refused

    async def weigh(self, region: str, weight: int) -> None:
        """Give a region a weight; 0 takes it out.

        Raises:
            NotFound: no such region.
            Invalid: not 0 to 100, or the last region that has weight.
            Unavailable: the disk refused; the message says what counts now.
        """
        if region not in self._documents.regions:
            raise NotFound(f"no region {region[:40]!r}; there are {', '.join(self._documents.regions)}")
        if not 0 <= weight <= _WEIGHT_MAX:
            raise Invalid(f"weight {weight} of {region} is not 0 to {_WEIGHT_MAX}")
        weights = {**self._weights, region: weight}
        if not any(weights.get(other, _WEIGHT_MAX) for other in self._documents.regions):
            raise Invalid(f"{region} is the last region with weight; give another one weight first")
        path = self._folder / _WEIGHTS
        try:
            write_whole(path, msgspec.json.encode(weights))
        except OSError as error:
            raise Unavailable(
                f"weight {weight} of {region}: the disk refused {path}, which the supervisor writes for the front"
                f" ({error.strerror or error}); nothing was changed; {_room(error)}, then try again"
            ) from error
        self._weights = weights
        try:
            await self._follow()
        except OSError as error:
            raise Unavailable(
                f"weight {weight} of {region} is written, but the disk refused the front's configuration in"
                f" {self._folder} ({error.strerror or error}); {_room(error)}, and the front follows by itself"
            ) from error

    def weights(self) -> Mapping[str, int]:
        """Region -> weight."""
        return {region: self._weights.get(region, _WEIGHT_MAX) for region in self._documents.regions}

    def well(self) -> Mapping[str, bool]:
        """Region -> whether journeys succeed there."""
        return self._health.well()

    async def _journey(self, session: aiohttp.ClientSession, region: str) -> bool:
        """A page of a cell through the region's edge, past its cache, and its media origin; shedding is living."""
        at = self._documents.at
        market = next(
            group.market
            for group in map(Group.parse, self._documents.preferred())
            if group.residency == RESIDENCIES[region]
        )
        page = f"{at.edge(region)}/v1/{market}/free/web/config?look={self._clock.monotonic_ms()}"
        for url in (page, f"{at.origin(region)}/healthz"):
            async with session.get(url) as answer:
                shed = answer.status == 503 and "Retry-After" in answer.headers
                if answer.status != 200 and not shed:
                    return False
        return True

    def _read(self) -> Mapping[str, int]:
        path = self._folder / _WEIGHTS
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} is no document of weights: {error}; delete it to start with full weights") from error

    def _files(self) -> dict[str, bytes]:
        return {CONFIG: front_config(front_site(self._documents, self._weights, self._health.well())).encode()}

    async def _follow(self) -> None:
        files = self._files()
        if self._prefix.holds(files):
            return
        try:
            await self._prefix.check(files)
        except EisbachError as error:
            _logger.warning("front_unchanged", error=str(error))
            return
        self._prefix.put(files)


def _room(error: OSError) -> str:
    return "free space on that disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that disk"


async def _tried(journey: Journey, region: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        return await journey(region)
    return False
