"""The studio's documents as events: what a backfill tells a spoke of what the hub no longer holds.

One event a document, of the type that its present state has, with the version it was last written under; where an asset
has been copied to is a document a region. Ids begin with ``snapshot:`` and are the same at every repeat until the
document changes. Pages by kind and id, an asset with its copies.
May not know: spokes, hubs.
"""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from eisbach.cell.routes import Answer, Call, Route, json_answer
from eisbach.cell.studio_items import StudioItems, studio_route
from eisbach.domain.catalog import AssetAvailability, Channel, Title
from eisbach.domain.ingest import (
    ASSET_COPIED,
    ASSET_READY,
    ASSET_RECEIVED,
    ASSET_REJECTED,
    AssetCopied,
    AssetRecord,
    AssetRejected,
    received_event,
)
from eisbach.hub.envelopes import event_of
from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import Event, EventDraft
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Version

__all__ = ["StudioSnapshot", "document_of"]

_LIMIT_MAX: Final = 500
_KINDS: Final = ("assets", "channels", "titles")
"""In the order in which they are told: a title names its asset."""
_PUBLISHED: Final = {"published": "published", "unpublished": "unpublished"}


def document_of(event: Event) -> str:
    """Of which document an event is: an asset and a title may have one id, and each region's copy is one of its own."""
    kind = ".".join(event.type.split(".")[2:3])
    if event.type == ASSET_COPIED:
        try:
            return f"{kind}/{event.subject}@{msgspec.json.decode(event.data, type=AssetAvailability).region}"
        except (msgspec.DecodeError, UnicodeDecodeError):
            # A dead letter in every spoke that reads it; no document has a copy nowhere.
            return f"{kind}/{event.subject}@"
    return f"{kind}/{event.subject}"


class StudioSnapshot:
    """One call."""

    def __init__(self, items: StudioItems) -> None:
        self._items = items

    def routes(self) -> list[Route]:
        """For the spoke host."""
        return [studio_route("GET", "snapshot", self.page, "Every document as an event")]

    async def page(self, call: Call) -> Answer:
        """``?after=KIND/ID&limit=`` -> ``{events, after}``; ``after`` is empty on the last page.

        Raises:
            Invalid: a parameter that is none.
        """
        after, text = call.query.get("after", ""), call.query.get("limit", str(_LIMIT_MAX))
        if not text.isdecimal() or not 1 <= int(text[:5]) <= _LIMIT_MAX:
            raise Invalid(f"limit {text[:10]!r} is not 1 to {_LIMIT_MAX}")
        if after and after.partition("/")[0] not in _KINDS:
            raise Invalid(f"after {after[:40]!r} is not a kind of {_KINDS}, '/' and an id")
        events: list[Event] = []
        last = ""
        async for name, found in self._documents(after):
            if len(events) >= int(text):
                return json_answer({"events": events, "after": last})
            last = name
            events += found
        return json_answer({"events": events, "after": ""})

    async def _documents(self, after: str) -> AsyncIterator[tuple[str, list[Event]]]:
        for kind in _KINDS:
            for identity in await self._items.indexed(kind):
                if (name := f"{kind}/{identity}") > after:
                    yield name, await self._events(kind, identity)

    async def _events(self, kind: str, identity: str) -> list[Event]:
        if kind == "assets":
            return await self._asset(identity)
        if kind == "channels":
            channel = await self._items.read(f"channel/{identity}", "doc", Channel)
            if channel is None:
                return []
            draft = EventDraft("tv.catalog.channel.upserted.v1", identity, msgspec.json.encode(channel.value))
            return self._told(f"channel/{identity}", channel.version, draft)
        title = await self._items.read(f"title/{identity}", "doc", Title)
        if title is None:
            return []
        verb = _PUBLISHED.get(title.value.state, "upserted")
        market = next(iter(title.value.rights[0].markets), None) if title.value.rights else None
        draft = EventDraft(f"tv.catalog.title.{verb}.v1", identity, msgspec.json.encode(title.value), market=market)
        return self._told(f"title/{identity}", title.version, draft)

    async def _asset(self, identity: str) -> list[Event]:
        """The asset, then where it is."""
        pk = f"asset/{identity}"
        asset = await self._items.read(pk, "doc", AssetRecord)
        if asset is None:
            return []
        told = self._told(pk, asset.version, _asset_draft(asset.value))
        for copy in await self._items.page(pk, "at/", AssetCopied):
            draft = EventDraft(ASSET_COPIED, identity, msgspec.json.encode(copy.value))
            told += self._told(f"{pk}/at/{copy.value.region}", copy.version, draft, at=pk)
        return told

    def _told(self, pk: str, version: Version, draft: EventDraft, *, at: str | None = None) -> list[Event]:
        """``at``: under which key its slot is found, where that is another one."""
        op = Op(
            slot=str(self._items.slot(at or pk)), origin=version.origin, epoch=0, seq=version.seq, hlc=version.hlc,
            change=None, event=draft,
        )  # fmt: skip
        event = event_of(op, cell="studio")
        name = f"snapshot:{pk}:{version.origin}:{version.hlc}"
        return [] if event is None else [msgspec.structs.replace(event, id=name)]


def _asset_draft(record: AssetRecord) -> EventDraft:
    if record.state == "ready" and record.asset is not None:
        return EventDraft(ASSET_READY, record.id, msgspec.json.encode(record.asset))
    if record.state == "rejected":
        rejected = AssetRejected(asset=record.id, title=record.title, reason=record.reason)
        return EventDraft(ASSET_REJECTED, record.id, msgspec.json.encode(rejected))
    return EventDraft(ASSET_RECEIVED, record.id, msgspec.json.encode(received_event(record)))
