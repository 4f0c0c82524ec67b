"""Uploads and assets: announce, stream to disk, reject, ready, copied.

Promises: ``tv.ingest.asset.received.v1`` is written once the content is whole and on disk, never before; a repeat of
any call has no second effect. A call that touches two slots (asset and title) writes the asset first and can be
repeated from there. May not know: what becomes of the content.
"""

import random
from collections.abc import AsyncIterator

import msgspec

from eisbach.cell.routes import Answer, Call, Route, json_answer
from eisbach.cell.studio_items import Decision, Found, StudioItems, optional_key, studio_route
from eisbach.cell.studio_titles import StudioTitles
from eisbach.domain.catalog import Asset
from eisbach.domain.ingest import (
    ASSET_COPIED,
    ASSET_READY,
    ASSET_RECEIVED,
    ASSET_REJECTED,
    AssetCopied,
    AssetRecord,
    AssetRejected,
    NewUpload,
    Upload,
    first_title,
    new_upload,
    plain_id,
    received_event,
)
from eisbach.kernel.errors import DigestMismatch, Invalid, NotFound, Unavailable
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ids import parse_id
from eisbach.kernel.limits import UPLOAD_BYTES_MAX
from eisbach.ports.blobs import Blobs

__all__ = ["Announced", "AssetView", "StudioUploads"]


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """Where the content goes, and what it becomes."""

    upload: str
    asset: str
    title: str


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an asset is refused; the person who uploaded reads it."""

    reason: str


class Copy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was verified."""

    files_sha256: str


class AssetView(msgspec.Struct, frozen=True, kw_only=True):
    """An asset with the regions that hold a verified copy."""

    record: AssetRecord
    regions: list[str]


class StudioUploads:
    """The calls of uploads and assets."""

    def __init__(self, items: StudioItems, titles: StudioTitles, *, blobs: Blobs, rng: random.Random) -> None:
        self._items, self._titles, self._blobs, self._rng = items, titles, blobs, rng

    def routes(self) -> list[Route]:
        """For people and spokes; none for viewers."""
        return [
            studio_route("POST", "uploads", self.announce, "Announce an upload", body=NewUpload, status=201),
            Route(
                method="PUT",
                path="/studio/uploads/{upload}/content",
                handler=self.receive,
                summary="Send the content of an upload",
                streams=True,
                body_bytes_max=UPLOAD_BYTES_MAX,
                importance="bulk",
                caller="service",
                listed=False,
            ),
            studio_route("GET", "assets", self.list_assets, "Every asset"),
            studio_route("GET", "assets/{asset}", self.show, "An asset on its way"),
            studio_route("POST", "assets/{asset}/reject", self.reject, "Refuse an asset", body=Rejection),
            studio_route("POST", "assets/{asset}/ready", self.ready, "An asset is packaged, and here", body=Asset),
            studio_route("POST", "assets/{asset}/at/{region}", self.copied, "A verified copy is there", body=Copy),
        ]

    async def announce(self, call: Call) -> Answer:
        """Ids for an upload; the same key gives the same ids."""
        key = optional_key(call)
        upload = new_upload(call.body, seed=key or f"{self._rng.getrandbits(128):032x}")
        answer = Announced(upload=upload.id, asset=upload.asset, title=upload.title)
        await self._titles.draft(first_title(upload, revision=1), key=key)
        await self._items.write(Decision(pk=f"upload/{upload.id}", changes={"doc": upload}, key=key))
        return json_answer(answer, status=201)

    async def receive(self, call: Call) -> Answer:
        """Stream the content to disk, then say that it is whole.

        Raises:
            NotFound: nobody announced it.
            Invalid: empty, or other content was sent before.
            Unavailable: the disk is full or the sender hung up; nothing is kept, send it again.
        """
        identity = parse_id(call.params["upload"], what="upload")
        upload = await self._items.read(f"upload/{identity}", "doc", Upload)
        if upload is None:
            raise NotFound(f"upload {identity!r} was never announced; POST /studio/uploads first")
        before = await self._record(upload.value.asset)
        if before is not None and before.value.state != "received":
            raise Invalid(f"asset {before.value.id!r} is {before.value.state}; announce a new upload")
        content = call.content if call.content is not None else _once(call.raw)
        try:  # once it is whole, other content is refused before it takes its place
            announced = before.value.sha256 if before is not None else None
            info = await self._blobs.put(f"uploads/{identity}", content, sha256=announced)
        except DigestMismatch as error:
            raise Invalid(
                f"asset {upload.value.asset!r} was received with other content; announce a new upload"
            ) from error
        if info.bytes == 0:
            raise Invalid(f"the content of upload {identity!r} is empty (0 bytes); send the file")
        record = await self._items.settled(lambda: self._received(upload.value, info.bytes, info.sha256))
        return json_answer(record)

    async def _received(self, upload: Upload, size: int, sha256: str) -> AssetRecord:
        before = await self._record(upload.asset)
        if before is not None:
            if before.value.sha256 != sha256:
                raise Invalid(f"asset {upload.asset!r} was received with other content; announce a new upload")
            return before.value
        record = AssetRecord(
            id=upload.asset, home=self._items.region, state="received", upload=upload.id, title=upload.title,
            name=upload.name, bytes=size, sha256=sha256, publish=upload.publish, credit=upload.credit,
            priority=upload.priority, tenant=upload.market,
        )  # fmt: skip
        event = received_event(record)
        await self._items.index("assets", record.id)
        await self._items.write(
            Decision(
                pk=f"asset/{record.id}", reads={"doc": None}, changes={"doc": record},
                events=[_draft(ASSET_RECEIVED, record.id, event)],
            )
        )  # fmt: skip
        return record

    async def list_assets(self, _: Call) -> Answer:
        """Every asset with its state and regions; for reconcilers and people."""
        views = [await self._view(identity) for identity in await self._items.indexed("assets")]
        return json_answer({"assets": [view for view in views if view is not None]})

    async def show(self, call: Call) -> Answer:
        """One asset.

        Raises:
            NotFound: unknown.
        """
        identity = parse_id(call.params["asset"], what="asset")
        view = await self._view(identity)
        if view is None:
            raise NotFound(f"asset {identity!r} is unknown here, or its content has not come yet")
        return json_answer(view)

    async def reject(self, call: Call) -> Answer:
        """Refuse it; its title says why.

        Raises:
            NotFound: unknown.
            Invalid: it is ready already.
        """
        identity, reason = call.params["asset"], call.body.reason[:500]
        record = await self._items.settled(lambda: self._rejected(identity, reason))
        if record.title:
            await self._titles.reject(record.title, reason=record.reason)
        return json_answer(record)

    async def _rejected(self, identity: str, reason: str) -> AssetRecord:
        before = await self._known(identity)
        if before.value.state == "rejected":
            return before.value
        if before.value.state == "ready":
            raise Invalid(f"asset {identity!r} is ready and cannot be refused any more; unpublish its title")
        record = msgspec.structs.replace(before.value, state="rejected", reason=reason)
        event = AssetRejected(asset=identity, title=record.title, reason=reason)
        await self._items.write(
            Decision(
                pk=f"asset/{identity}", reads={"doc": before.version}, changes={"doc": record},
                events=[_draft(ASSET_REJECTED, identity, event)],
            )
        )  # fmt: skip
        return record

    async def ready(self, call: Call) -> Answer:
        """It is packaged and whole in this region; an asset that came another way than by upload is made known.

        Raises:
            Invalid: path and document name two assets, or it was rejected.
        """
        asset: Asset = call.body
        if plain_id(call.params["asset"], what="asset") != asset.id:
            raise Invalid(f"the path says asset {call.params['asset']!r}, the document {asset.id!r}; they must agree")
        return json_answer(await self._items.settled(lambda: self._ready(asset)))

    async def _ready(self, asset: Asset) -> AssetRecord:
        before = await self._record(asset.id)
        if before is not None and before.value.state == "ready" and before.value.asset == asset:
            return before.value
        if before is not None and before.value.state == "rejected":
            raise Invalid(f"asset {asset.id!r} was rejected ({before.value.reason}); announce a new upload")
        home = self._items.region
        known = before.value if before else AssetRecord(id=asset.id, home=home, state="received", credit=asset.credit)
        record = msgspec.structs.replace(known, state="ready", asset=asset)
        copy = AssetCopied(asset=asset.id, region=home, files_sha256=asset.files_sha256)
        if before is None:
            await self._items.index("assets", asset.id)
        await self._items.write(
            Decision(
                pk=f"asset/{asset.id}", reads={"doc": before.version if before else None},
                changes={"doc": record, f"at/{home}": copy}, events=[_draft(ASSET_READY, asset.id, asset)],
            )
        )  # fmt: skip
        return record

    async def copied(self, call: Call) -> Answer:
        """A verified copy is in ``region``.

        Raises:
            Unavailable: the asset is not known here yet; its document is on its way from its home.
            Invalid: what was verified is not this asset.
        """
        identity = plain_id(call.params["asset"], what="asset")
        region = parse_id(call.params["region"], what="region")
        before = await self._record(identity)
        if before is None or before.value.asset is None:
            raise Unavailable(f"asset {identity!r} is not known here yet; try again")
        if before.value.asset.files_sha256 != call.body.files_sha256:
            raise Invalid(
                f"copy of asset {identity!r} has files_sha256 {call.body.files_sha256[:80]!r},"
                f" the asset {before.value.asset.files_sha256!r}; copy it again"
            )
        copy = AssetCopied(asset=identity, region=region, files_sha256=call.body.files_sha256)
        there = await self._items.read(f"asset/{identity}", f"at/{region}", AssetCopied)
        if there is None or there.value != copy:
            await self._items.write(
                Decision(
                    pk=f"asset/{identity}", changes={f"at/{region}": copy},
                    events=[_draft(ASSET_COPIED, identity, copy)], key=optional_key(call),
                )
            )  # fmt: skip
        return json_answer(copy)

    async def _record(self, identity: str) -> Found[AssetRecord] | None:
        return await self._items.read(f"asset/{identity}", "doc", AssetRecord)

    async def _known(self, identity: str) -> Found[AssetRecord]:
        record = await self._record(parse_id(identity, what="asset"))
        if record is None:
            raise NotFound(f"asset {identity!r} is unknown here, or its content has not come yet")
        return record

    async def _view(self, identity: str) -> AssetView | None:
        record = await self._record(identity)
        if record is None:
            return None
        copies = await self._items.page(f"asset/{identity}", "at/", AssetCopied)
        asset = record.value.asset
        # A copy of an earlier packaging is none: it has to be brought anew.
        held = [c.value.region for c in copies if asset is not None and c.value.files_sha256 == asset.files_sha256]
        return AssetView(record=record.value, regions=held)


def _draft(type_: str, subject: str, data: msgspec.Struct) -> EventDraft:
    return EventDraft(type_, subject, msgspec.json.encode(data))


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw
