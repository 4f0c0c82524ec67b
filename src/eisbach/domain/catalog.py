"""The catalogue's documents: titles, assets, channels - as the studio keeps them and as events carry them.

They are parsed strictly where they enter (studio API, hub) and trusted inside. All are JSON through msgspec; unknown
fields are refused at the studio's border and ignored in events, so that an older cell reads a newer event.
"""

import msgspec

__all__ = ["Asset", "AssetAvailability", "Channel", "Image", "Programme", "RightsWindow", "TextTrack", "Title", "Track"]


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
    tiers: list[str] = ["free", "premium"]
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
