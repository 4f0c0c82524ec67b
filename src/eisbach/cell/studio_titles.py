"""Titles and channels as editors write them; every write carries the whole document in its event.

Revisions rise by one with every write here; a document that an editor sends carries the revision it was made from.
May not know: assets, jobs.
"""

import msgspec

from eisbach.cell.routes import Answer, Call, Route, json_answer
from eisbach.cell.studio_items import Decision, Found, StudioItems, studio_route
from eisbach.domain.catalog import Channel, Title
from eisbach.domain.ingest import plain_id
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ids import parse_id
from eisbach.kernel.limits import SEGMENT
from eisbach.ports.clock import Clock

__all__ = ["StudioTitles"]

_UPSERTED = "tv.catalog.title.upserted.v1"
_PUBLISHED = "tv.catalog.title.published.v1"
_CHANNEL = "tv.catalog.channel.upserted.v1"
_STATES = ("draft", "published", "unpublished", "rejected")
_SEGMENT_MS = int(SEGMENT.total_seconds() * 1000)


class Publication(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to publish a title with."""

    asset: str = ""
    """Empty: the asset it has."""


class StudioTitles:
    """The calls of titles and channels."""

    def __init__(self, items: StudioItems, *, clock: Clock) -> None:
        self._items, self._clock = items, clock

    def routes(self) -> list[Route]:
        """For people and spokes; none for viewers."""
        return [
            studio_route("GET", "titles", self.list_titles, "Every title"),
            studio_route("PUT", "titles/{title}", self.put_title, "Write a title", body=Title),
            studio_route("POST", "titles/{title}/publish", self.publish, "Publish a title"),
            studio_route("GET", "channels", self.list_channels, "Every channel"),
            studio_route("PUT", "channels/{channel}", self.put_channel, "Write a channel", body=Channel),
        ]

    async def list_titles(self, _: Call) -> Answer:
        """By id."""
        found = [await self._title(identity) for identity in await self._items.indexed("titles")]
        return json_answer({"titles": [title.value for title in found if title is not None]})

    async def list_channels(self, _: Call) -> Answer:
        """By id."""
        found = [await self._channel(identity) for identity in await self._items.indexed("channels")]
        return json_answer({"channels": [channel.value for channel in found if channel is not None]})

    async def draft(self, title: Title, *, key: str | None) -> None:
        """Make a title unless there is one of that id; a repeat under the same key changes nothing."""
        if await self._title(title.id) is None:
            await self._items.index("titles", title.id)
            await self._items.settled(lambda: self._write_title(None, title, _UPSERTED, key=key))

    async def put_title(self, call: Call) -> Answer:
        """Write it as it is; its revision becomes the next one.

        Raises:
            Invalid: path and document name two titles, an unknown state, or no English name.
        """
        title: Title = call.body
        if plain_id(call.params["title"], what="title") != title.id:
            raise Invalid(f"the path says title {call.params['title']!r}, the document {title.id!r}; they must agree")
        if title.state not in _STATES:
            raise Invalid(f"state {title.state!r} of title {title.id!r} is not one of {_STATES}")
        if "en" not in title.names:
            raise Invalid(f"title {title.id!r} has names in {sorted(title.names)}; 'en' must be among them")
        await self._items.index("titles", title.id)

        async def decide() -> Title:
            before = await self._title(title.id)
            if before is not None and _same(before.value, title):
                return before.value
            return await self._write_title(before, title, _UPSERTED)

        return json_answer(await self._items.settled(decide))

    async def publish(self, call: Call) -> Answer:
        """Publish it with an asset; publishing what is published changes nothing.

        Raises:
            NotFound: unknown.
            Invalid: it has no asset.
        """
        identity = parse_id(call.params["title"], what="title")
        asset = _publication(call.raw).asset

        async def decide() -> Title:
            before = await self._title(identity)
            if before is None:
                raise NotFound(f"title {identity!r} is unknown; write it first")
            chosen = asset or before.value.asset
            if not chosen:
                raise Invalid(f"title {identity!r} has no asset yet; it can be published once one is ready")
            if before.value.state == "published" and before.value.asset == chosen:
                return before.value
            published = msgspec.structs.replace(
                before.value, state="published", reason="", asset=plain_id(chosen, what="asset"),
                published_ms=self._clock.wall_ms(),
            )  # fmt: skip
            return await self._write_title(before, published, _PUBLISHED)

        return json_answer(await self._items.settled(decide))

    async def reject(self, identity: str, *, reason: str) -> None:
        """A draft whose asset was refused says why; a title that has an asset stays as it is."""

        async def decide() -> None:
            before = await self._title(identity)
            if before is None or before.value.asset or before.value.state == "rejected":
                return
            rejected = msgspec.structs.replace(before.value, state="rejected", reason=reason)
            await self._write_title(before, rejected, _UPSERTED)

        await self._items.settled(decide)

    async def put_channel(self, call: Call) -> Answer:
        """Write it; its revision becomes the next one.

        Raises:
            Invalid: path and document name two channels, or its schedule is not on the segments' grid.
        """
        channel: Channel = call.body
        if plain_id(call.params["channel"], what="channel") != channel.id:
            raise Invalid(f"the path says {call.params['channel']!r}, the document {channel.id!r}; they must agree")
        uneven = [p.title for p in channel.loop if p.duration_ms <= 0 or p.duration_ms % _SEGMENT_MS]
        if not channel.loop or uneven or channel.start_ms % _SEGMENT_MS:
            raise Invalid(
                f"channel {channel.id!r}: start and every programme must be multiples of {_SEGMENT_MS} ms, and there"
                f" must be a programme; found start {channel.start_ms}, {len(channel.loop)} programmes, uneven {uneven}"
            )
        for programme in channel.loop:
            plain_id(programme.asset, what="asset")
        await self._items.index("channels", channel.id)

        async def decide() -> Channel:
            before = await self._channel(channel.id)
            if before is not None and _same(before.value, channel):
                return before.value
            written = msgspec.structs.replace(channel, revision=before.value.revision + 1 if before else 1)
            await self._items.write(
                Decision(
                    pk=f"channel/{channel.id}", reads={"doc": before.version if before else None},
                    changes={"doc": written},
                    events=[EventDraft(_CHANNEL, channel.id, msgspec.json.encode(written))],
                )
            )  # fmt: skip
            return written

        return json_answer(await self._items.settled(decide))

    async def _title(self, identity: str) -> Found[Title] | None:
        return await self._items.read(f"title/{identity}", "doc", Title)

    async def _channel(self, identity: str) -> Found[Channel] | None:
        return await self._items.read(f"channel/{identity}", "doc", Channel)

    async def _write_title(
        self, before: Found[Title] | None, title: Title, type_: str, *, key: str | None = None
    ) -> Title:
        written = msgspec.structs.replace(title, revision=before.value.revision + 1 if before else 1)
        market = written.rights[0].markets[0] if written.rights and written.rights[0].markets else None
        await self._items.write(
            Decision(
                pk=f"title/{title.id}", reads={"doc": before.version if before else None}, changes={"doc": written},
                events=[EventDraft(type_, title.id, msgspec.json.encode(written), market=market)], key=key,
            )
        )  # fmt: skip
        return written


def _publication(raw: bytes) -> Publication:
    try:
        return msgspec.json.decode(raw or b"{}", type=Publication)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"publish takes nothing or {{asset}}: {error}") from error


def _same(before: Title | Channel, after: Title | Channel) -> bool:
    return msgspec.structs.replace(after, revision=before.revision) == before
