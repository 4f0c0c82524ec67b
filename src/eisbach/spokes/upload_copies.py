"""Copies of what was uploaded in another region, so that its work can be taken over when that region is lost.

The spoke ``upload-copies`` brings the source when it was received elsewhere, verified, and deletes it when its asset is
ready or rejected: then the packaged files are what is copied. The home keeps its source, to package from it again.
A region that took the work over is the home from then on. May not know: HTTP, addresses.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, Protocol

import msgspec

from eisbach.domain.ingest import ASSET_READY, ASSET_RECEIVED, ASSET_REJECTED, AssetReceived
from eisbach.hub.authoring import checked
from eisbach.kernel.errors import NotFound, Unavailable
from eisbach.kernel.events import Event
from eisbach.ports.blobs import Blobs
from eisbach.ports.spoke import Effects, SpokeSpec

__all__ = ["UPLOAD_COPIES", "UploadSources", "upload_copies"]

UPLOAD_COPIES: Final = "upload-copies"
_TIME_LIMIT: Final = timedelta(hours=2)
"""32 GiB at 5 MB/s; the copy begins anew when it is cut off."""


class UploadSources(Protocol):
    """The other regions' uploads."""

    def fetch_upload(self, region: str, upload: str) -> AsyncIterator[bytes]:
        """The content, in pieces.

        Raises:
            NotFound, Unavailable: while iterating.
        """
        ...


def upload_copies(sources: UploadSources, blobs: Blobs, *, region: str) -> SpokeSpec:
    """The spoke of one region."""

    async def handle(event: Event, effects: Effects) -> None:
        copied = f"copy/{event.subject}"
        if event.type != ASSET_RECEIVED:
            if key := (await effects.get(copied) or b"").decode():
                await blobs.delete(key)
                effects.put(copied, b"")
            return
        received = msgspec.json.decode(event.data, type=AssetReceived)
        if received.home == region:
            effects.put(copied, b"")
            return
        if not await _holds(blobs, received):
            content = sources.fetch_upload(received.home, received.upload)
            try:
                await blobs.put(received.source, content, sha256=received.sha256)
            except NotFound as error:
                raise Unavailable(f"upload {received.upload} at {received.home}: {error}") from error
        effects.put(copied, received.source.encode())

    return checked(
        SpokeSpec(
            name=UPLOAD_COPIES,
            handler=handle,
            types=frozenset({ASSET_RECEIVED, ASSET_READY, ASSET_REJECTED}),
            scope="everywhere",
            concurrency_max=2,
            first_delay=timedelta(seconds=2),
            time_limit=_TIME_LIMIT,
        )
    )


async def _holds(blobs: Blobs, received: AssetReceived) -> bool:
    info = await blobs.info(received.source)
    return info is not None and info.sha256 == received.sha256
