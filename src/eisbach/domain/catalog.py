"""The catalogue's documents: titles, assets, channels - as the studio keeps them and as events carry them.

They are parsed strictly where they enter (studio API, hub) and trusted inside. All are JSON through msgspec; unknown
fields are refused at the studio's border and ignored in events, so that an older cell reads a newer event.

Also ``Catalogue``, what a cell knows of all of them at one instant, how an event changes it, and the home page that
is made from it: server-driven, so that a rail can be added without a new app.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import Event

__all__ = [
    "CATALOGUE_TYPES",
    "Asset",
    "AssetAvailability",
    "Card",
    "Catalogue",
    "Change",
    "Channel",
    "DocumentVersion",
    "Image",
    "Programme",
    "Rail",
    "RightsWindow",
    "TextTrack",
    "Title",
    "Track",
    "changes_of",
    "decode_change",
    "home_rails",
    "title_card",
]


class Track(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rendition of an asset: a folder of CMAF segments ``{id}/init.mp4``, ``{id}/1.m4s``, ``{id}/2.m4s`` ..."""

    id: str
    """``v720``, ``a-de`` ...: folder name and, as ``{id}.m3u8``, HLS media playlist."""
    kind: str
    """``video`` or ``audio``."""
    codecs: str
    """RFC 6381, e.g. ``avc1.4d401f``."""
    bandwidth: int
    """Peak bits per second."""
    timescale: int
    segments: list[tuple[int, int]]
    """Run lengths: (duration in timescale units, how many in a row); segment numbers start at 1."""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    channels: int = 0
    language: str = "und"
    """BCP 47."""
    role: str = "main"
    """``main`` or ``description``."""


class TextTrack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Subtitles: one WebVTT file ``{id}.vtt`` and its HLS playlist ``{id}.m3u8``."""

    id: str
    language: str
    kind: str = "subtitles"
    """``subtitles``, ``captions`` or ``forced``."""


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The thumbnail sprite ``img/sprite.jpg``: tiles left to right, top to bottom."""

    columns: int
    rows: int
    tile_width: int
    tile_height: int
    every_ms: int
    """Media time between two tiles."""


class Asset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A packaged work, ``media/vod/{id}/`` in the blobs of every region that has it."""

    id: str
    duration_ms: int
    tracks: list[Track]
    text: list[TextTrack] = []
    sprite: Image | None = None
    credit: str = ""
    """Attribution that the viewer shows, e.g. of CC BY footage."""
    files_sha256: str = ""
    """Digest of ``files.json``, which lists every file with size and digest: what a copy is verified against."""


class AssetAvailability(msgspec.Struct, frozen=True, kw_only=True):
    """A region holds a verified copy of an asset."""

    asset: str
    region: str


class RightsWindow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When, where and for whom a title may be played; half-open ``[from_ms, to_ms)``."""

    markets: list[str]
    tiers: list[str] = msgspec.field(default_factory=lambda: ["free", "premium"])
    from_ms: int = 0
    to_ms: int = 1 << 52


class Title(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A work that viewers can pick."""

    id: str
    revision: int
    """Rises with every edit; projections take the higher."""
    names: dict[str, str]
    """Language -> name; ``en`` is always there."""
    synopses: dict[str, str] = {}
    type: str = "movie"
    asset: str | None = None
    """None until packaged."""
    state: str = "draft"
    """``draft``, ``published``, ``unpublished``, ``rejected``."""
    reason: str = ""
    """Why it was rejected."""
    age: int = 0
    """FSK: 0, 6, 12, 16, 18."""
    genres: list[str] = []
    rights: list[RightsWindow] = []
    credit: str = ""
    published_ms: int = 0


class Programme(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a channel's loop."""

    title: str
    asset: str
    duration_ms: int
    """A multiple of the segment length (2000)."""


class Channel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A linear channel without encoders: a loop of packaged assets and a start; the clock does the rest."""

    id: str
    revision: int
    number: int
    """Logical channel number."""
    names: dict[str, str]
    markets: list[str]
    start_ms: int
    """Instant at which the loop first began; equal in all regions, a multiple of 2000."""
    loop: list[Programme]
    tier: str = "free"


class DocumentVersion(NamedTuple):
    """Which of two versions of a document is newer: the higher revision, then the later write."""

    revision: int
    hlc: int
    origin: str
    seq: int


Document = TypeVar("Document", bound=msgspec.Struct)
Body = Title | Channel | Asset | AssetAvailability
_KINDS: dict[str, type[Title] | type[Channel] | type[Asset] | type[AssetAvailability]] = {
    "title": Title,
    "channel": Channel,
    "asset": Asset,
    "availability": AssetAvailability,
}


class Change(NamedTuple):
    """One document as an event brought it; applying it again, or an older one later, changes nothing."""

    kind: str
    """``title``, ``channel``, ``asset`` or ``availability``."""
    id: str
    version: DocumentVersion
    body: Body


CATALOGUE_TYPES = frozenset(
    {
        "tv.catalog.title.upserted.v1",
        "tv.catalog.title.published.v1",
        "tv.catalog.title.unpublished.v1",
        "tv.catalog.channel.upserted.v1",
        "tv.package.asset.ready.v1",
        "tv.package.asset.copied.v1",
    }
)


def changes_of(event: Event) -> Sequence[Change]:
    """What an event changes in the catalogue; nothing for other types.

    Raises:
        Invalid: the payload is not the type's document; the event is poison.
    """
    if event.type not in CATALOGUE_TYPES:
        return ()
    where = (event.hlc, event.origin, event.seq)
    raw = bytes(event.data)
    if event.type.startswith("tv.catalog.title."):
        title = _decode(raw, Title, event)
        return (Change("title", title.id, DocumentVersion(title.revision, *where), title),)
    if event.type.startswith("tv.catalog.channel."):
        channel = _decode(raw, Channel, event)
        return (Change("channel", channel.id, DocumentVersion(channel.revision, *where), channel),)
    if event.type == "tv.package.asset.copied.v1":
        return (_available(_decode(raw, AssetAvailability, event), where),)
    asset = _decode(raw, Asset, event)
    at_home = _available(AssetAvailability(asset=asset.id, region=event.origin), where)
    return (Change("asset", asset.id, DocumentVersion(0, *where), asset), at_home)


def decode_change(kind: str, identity: str, version: DocumentVersion, body: bytes) -> Change:
    """A change as a projection kept it.

    Raises:
        Invalid: not such a document.
    """
    if kind not in _KINDS:
        raise Invalid(f"projection holds kind {kind!r} ({identity}); it knows {sorted(_KINDS)}")
    try:
        return Change(kind, identity, version, msgspec.json.decode(body, type=_KINDS[kind]))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"projection's {kind} {identity!r} is not such a document: {error}") from error


def _available(found: AssetAvailability, where: tuple[int, str, int]) -> Change:
    return Change("availability", f"{found.asset}@{found.region}", DocumentVersion(0, *where), found)


def _decode(raw: bytes, kind: type[Document], event: Event) -> Document:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"event {event.id} ({event.type}) does not carry a {kind.__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All documents at one instant; never changed, only replaced."""

    titles: Mapping[str, Title] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    regions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Asset -> regions that hold a verified copy."""
    versions: Mapping[tuple[str, str], DocumentVersion] = field(default_factory=dict)
    digest: int = 0
    """Exclusive or of a hash per (kind, id, version): equal in every cell that knows the same, whatever the order."""

    @property
    def version(self) -> str:
        """Of the whole, for ETags; 16 hexadecimal digits."""
        return f"{self.digest:016x}"

    def newer(self, changes: Iterable[Change]) -> Sequence[Change]:
        """Those of ``changes`` that would change this catalogue, the newest of each document."""
        best: dict[tuple[str, str], Change] = {}
        for change in changes:
            key = (change.kind, change.id)
            known = best[key].version if key in best else self.versions.get(key)
            if known is None or change.version > known:
                best[key] = change
        return list(best.values())

    def evolve(self, changes: Iterable[Change]) -> "Catalogue":
        """This catalogue with the newer of ``changes``; itself when none is newer."""
        newer = self.newer(changes)
        if not newer:
            return self
        titles, channels, assets = dict(self.titles), dict(self.channels), dict(self.assets)
        regions, versions, digest = dict(self.regions), dict(self.versions), self.digest
        for change in newer:
            match change.body:
                case Title():
                    titles[change.id] = change.body
                case Channel():
                    channels[change.id] = change.body
                case Asset():
                    assets[change.id] = change.body
                case AssetAvailability(asset=asset, region=region):
                    regions[asset] = regions.get(asset, frozenset()) | {region}
            key = (change.kind, change.id)
            digest ^= _hash(key, versions.get(key)) ^ _hash(key, change.version)
            versions[key] = change.version
        return replace(
            self,
            titles=titles,
            channels=channels,
            assets=assets,
            regions=regions,
            versions=versions,
            digest=digest,
        )


def _hash(key: tuple[str, str], version: DocumentVersion | None) -> int:
    if version is None:
        return 0
    text = "\0".join((*key, *map(str, version)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A title or a channel as lists show it."""

    id: str
    kind: str
    """``title`` or ``channel``."""
    names: dict[str, str]
    synopses: dict[str, str] = {}
    image: str = ""
    """Path on any region's media origin, e.g. ``/img/ASSET/poster.jpg``."""
    asset: str = ""
    age: int = 0
    duration_s: float = 0
    genres: list[str] = []
    tier: str = "free"
    """The least plan that may play it."""
    number: int = 0
    """Logical channel number."""


class Rail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the home page."""

    id: str
    kind: str
    """``hero``, ``lane`` or ``live``."""
    names: dict[str, str]
    items: list[Card]
    next: str = ""


_HERO_MAX, _LANE_MAX = 3, 30


def title_card(title: Title, asset: Asset | None) -> Card:
    """The card of a title; without an asset it has no picture and no duration."""
    tiers = {tier for window in title.rights for tier in window.tiers}
    return Card(
        id=title.id,
        kind="title",
        names=title.names,
        synopses=title.synopses,
        image=f"/img/{asset.id}/poster.jpg" if asset else "",
        asset=title.asset or "",
        age=title.age,
        duration_s=asset.duration_ms / 1000 if asset else 0,
        genres=title.genres,
        tier="free" if "free" in tiers else "premium",
    )


def home_rails(offered: Sequence[Title], assets: Mapping[str, Asset], live: Sequence[Card]) -> list[Rail]:
    """The home page from what may be offered: hero, live, newest, then a lane per genre of two titles or more."""
    newest = sorted(offered, key=lambda t: (-t.published_ms, t.id))
    cards = [title_card(title, assets.get(title.asset or "")) for title in newest]
    rails = [Rail(id="hero", kind="hero", names={"en": "Featured", "de": "Empfohlen"}, items=cards[:_HERO_MAX])]
    rails.append(Rail(id="live", kind="live", names={"en": "Live", "de": "Live"}, items=list(live)))
    rails.append(Rail(id="new", kind="lane", names={"en": "New", "de": "Neu"}, items=cards[:_LANE_MAX]))
    for genre in sorted({genre for title in offered for genre in title.genres}):
        items = [card for card in cards if genre in card.genres][:_LANE_MAX]
        if len(items) > 1:
            name = genre.replace("-", " ").title()
            rails.append(Rail(id=f"genre-{genre}", kind="lane", names={"en": name}, items=items))
    return [rail for rail in rails if rail.items]
