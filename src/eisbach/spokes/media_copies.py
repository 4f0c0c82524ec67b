"""Media copies: every region holds every packaged asset, verified, and knows which channels it is in.

The spoke acts on events, the reconciler compares what should be here with what is, because events alone lose work
(design section 4): after a lost disk, a dead-lettered event, or an asset that was placed by hand.
May not know: HTTP, addresses.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import msgspec
import structlog

from eisbach.domain.catalog import Asset, Channel
from eisbach.domain.ingest import ASSET_COPIED, ASSET_READY, AssetCopied
from eisbach.hub.authoring import checked
from eisbach.kernel.errors import EisbachError, NotFound, Unavailable
from eisbach.kernel.events import Event
from eisbach.ports.clock import Clock
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.spokes.media_folder import Fetch, MediaFolder

__all__ = ["MEDIA_COPIES", "CopyStatistics", "KnownAsset", "MediaCopies", "MediaSources", "StudioShelf"]

MEDIA_COPIES: Final = "media-copies"
CHANNEL: Final = "tv.catalog.channel.upserted.v1"
_EVERY: Final = timedelta(seconds=30)
_FIRST: Final = timedelta(seconds=5)

_logger = structlog.get_logger(__name__)


class KnownAsset(msgspec.Struct, frozen=True, kw_only=True):
    """A ready asset, as the region's studio knows it."""

    id: str
    files_sha256: str
    regions: list[str]
    """That hold a verified copy."""


class StudioShelf(Protocol):
    """What the reconciler reads and writes of the region's studio."""

    async def ready_assets(self) -> Sequence[KnownAsset]:
        """All of them."""
        ...

    async def channels(self) -> Sequence[Channel]:
        """All of them."""
        ...

    async def copied(self, asset: str, region: str, files_sha256: str) -> None:
        """Say that a verified copy is there."""
        ...


class MediaSources(Protocol):
    """The other regions' media."""

    def fetch(self, region: str, path: str) -> AsyncIterator[bytes]:
        """``media/{path}`` of that region's origin, in pieces.

        Raises:
            NotFound, Unavailable: while iterating.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStatistics:
    """Since start."""

    copied: int
    bytes: int
    missing: int
    """Assets that should be here and were not at the last comparison."""
    compared: int
    trouble: str | None


class MediaCopies:
    """One a region."""

    def __init__(
        self, folder: MediaFolder, *, sources: MediaSources, studio: StudioShelf, region: str, clock: Clock
    ) -> None:
        self._folder, self._sources, self._studio = folder, sources, studio
        self._region, self._clock = region, clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._lost: set[str] = set()
        self._copied = self._bytes = self._missing = self._compared = 0
        self._trouble: str | None = None

    def lost(self) -> Collection[str]:
        """Assets that are not here and that, at the last try, every other region said not to have."""
        return frozenset(self._lost)

    def spoke(self) -> SpokeSpec:
        """The spoke ``media-copies``: acts on assets of other regions and on channels of all."""
        return checked(
            SpokeSpec(
                name=MEDIA_COPIES,
                handler=self._handle,
                types=frozenset({ASSET_READY, ASSET_COPIED, CHANNEL}),
                scope="everywhere",
                concurrency_max=2,
                first_delay=timedelta(seconds=2),
                time_limit=timedelta(minutes=30),  # a film is gigabytes, and a copy that was cut off goes on
            )
        )

    async def run(self) -> None:
        """Reconcile for ever."""
        wait = _FIRST
        while True:
            await self._clock.sleep(wait.total_seconds())
            try:
                await self.reconcile(every_file=self._compared == 0)
                self._trouble = None
            except EisbachError as error:
                # Whatever it is, the next turn compares again; people see it in the statistics.
                self._trouble = str(error)
                _logger.warning("media_not_compared", error=str(error))
            wait = _EVERY

    async def reconcile(self, *, every_file: bool = False) -> None:
        """Copy what is missing, announce what is here, link what channels need; any number of times.

        Raises:
            EisbachError: the first of what could not be done, after everything else was.
        """
        missing, trouble = 0, None
        for asset in await self._studio.ready_assets():
            try:
                if not await self._folder.holds(asset.id, asset.files_sha256, every_file=every_file):
                    missing += 1
                    await self._bring(asset.id, asset.files_sha256, asset.regions)
                    missing -= 1
                if self._region not in asset.regions:
                    await self._studio.copied(asset.id, self._region, asset.files_sha256)
            except EisbachError as error:
                trouble = trouble or error
        for channel in await self._studio.channels():
            await self._link(channel)
        self._missing, self._compared = missing, self._compared + 1
        if trouble is not None:
            raise trouble

    def statistics(self) -> CopyStatistics:
        """What happened since start."""
        return CopyStatistics(
            copied=self._copied, bytes=self._bytes, missing=self._missing, compared=self._compared,
            trouble=self._trouble,
        )  # fmt: skip

    async def _handle(self, event: Event, effects: Effects) -> None:
        if event.type == CHANNEL:
            await self._link(msgspec.json.decode(event.data, type=Channel))
        elif event.type == ASSET_READY:
            asset = msgspec.json.decode(event.data, type=Asset)
            if event.origin != self._region:
                await self._bring(asset.id, asset.files_sha256, [event.origin])
                effects.command(f"/studio/assets/{asset.id}/at/{self._region}", {"files_sha256": asset.files_sha256})
            await self._link_all()
        else:
            copied = msgspec.json.decode(event.data, type=AssetCopied)
            if copied.region == self._region:
                await self._link_all()

    async def _bring(self, asset: str, files_sha256: str, regions: Sequence[str]) -> None:
        """Copy unless it is here; the event and the reconciler may both ask."""
        async with self._locks.setdefault(asset, asyncio.Lock()):
            if await self._folder.holds(asset, files_sha256):
                self._lost.discard(asset)
                return
            elsewhere = [region for region in regions if region != self._region]
            if not elsewhere:
                self._lost.add(asset)
                raise Unavailable(f"asset {asset!r} is lost here and no other region has it; package it again")
            refused: EisbachError | None = None
            absent = 0
            for region in elsewhere:
                try:
                    self._bytes += await self._folder.copy(asset, files_sha256, self._fetch_from(region, asset))
                except NotFound as error:
                    # Its origin does not have it after all, or not yet: try again like any outage.
                    absent += 1
                    refused = Unavailable(f"asset {asset!r} at {region}: {error}")
                except EisbachError as error:
                    refused = error
                else:
                    self._copied += 1
                    self._lost.discard(asset)
                    _logger.info("media_copied", asset=asset, source=region)
                    return
            if absent == len(elsewhere):
                self._lost.add(asset)
            assert refused is not None
            raise refused

    def _fetch_from(self, region: str, asset: str) -> Fetch:
        return lambda name: self._sources.fetch(region, f"vod/{asset}/{name}")

    async def _link(self, channel: Channel) -> None:
        await self._folder.link(channel.id, [programme.asset for programme in channel.loop])

    async def _link_all(self) -> None:
        for channel in await self._studio.channels():
            await self._link(channel)
