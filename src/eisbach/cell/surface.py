"""What goes in and out of viewers' calls: the types that the OpenAPI document is made from.

Requests refuse unknown fields, so that a misspelt one is an error and not silence. Seconds are seconds of media or
time as named; milliseconds since 1970 end in ``_ms``.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from eisbach.domain.catalog import Card, Rail, RightsWindow

__all__ = [
    "AssetRef",
    "ChannelSummary",
    "Config",
    "Device",
    "Endpoint",
    "Granted",
    "Heartbeat",
    "HeartbeatAnswer",
    "Home",
    "Lease",
    "Manifests",
    "NowNext",
    "OnAir",
    "Panic",
    "PlaybackEndpoint",
    "PutProgress",
    "Rails",
    "RefreshToken",
    "RenewToken",
    "RenewedToken",
    "Resume",
    "SavedTitle",
    "SearchPage",
    "SessionAnswer",
    "SignIn",
    "StartPlayback",
    "Steering",
    "SteeringRef",
    "StopPlayback",
    "Thumbnails",
    "TitleDetail",
    "TokenRef",
    "TrackRef",
    "Tracks",
]

Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Market = Annotated[str, Meta(pattern=r"^[a-z]{2}$", description="ISO 3166 country, lower case")]
Seconds = Annotated[float, Meta(ge=0, le=43_200)]


class In(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body."""


class Out(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer; fields are only ever added."""


class SignIn(In, frozen=True, kw_only=True):
    """Anonymous sign-in: the device is the account."""

    device_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,64}$", description="random, kept by the app")]
    plat: Literal["tv", "mobile", "web"] = "web"
    mkt: Market | None = None


class RefreshToken(In, frozen=True, kw_only=True):
    """A new access token for an old refresh token."""

    grant_type: Literal["refresh"] = "refresh"
    refresh: Annotated[str, Meta(max_length=4096)]


class Endpoint(Out, frozen=True, kw_only=True):
    """A region's public addresses."""

    region: str
    api: str
    media: str


class Granted(Out, frozen=True, kw_only=True):
    """Who you are, and where you live."""

    access: str
    refresh: str
    expires_in: int
    slot: str
    """Send it as ``Eisbach-Slot`` with every private call."""
    account: str
    profile: str
    market: str
    tier: str
    age: int
    """The age band of public URLs."""
    endpoints: list[Endpoint]
    """Every region that may serve you, the preferred one first."""
    degraded: list[str] = []


class Panic(Out, frozen=True, kw_only=True):
    """What is switched off to save the rest; level 0 is normal, 5 plays and nothing else."""

    level: int = 0
    hide: list[str] = []


class Config(Out, frozen=True, kw_only=True):
    """What an app asks first."""

    features: dict[str, bool]
    heartbeat_s: int
    telemetry_s: int
    steering_url: str
    steering_ttl_s: int
    min_sdk: str
    endpoints: list[Endpoint]
    panic: Panic = Panic()


class Home(Out, frozen=True, kw_only=True):
    """The public part of the home page."""

    version: str
    rails: list[Rail]


class TrackRef(Out, frozen=True, kw_only=True):
    """A language that can be chosen."""

    lang: str
    role: str = "main"
    kind: str = ""


class Tracks(Out, frozen=True, kw_only=True):
    """What can be chosen in a player."""

    audio: list[TrackRef] = []
    text: list[TrackRef] = []


class TitleDetail(Out, frozen=True, kw_only=True):
    """A title's page."""

    id: str
    type: str
    revision: int
    names: dict[str, str]
    synopses: dict[str, str]
    age: int
    genres: list[str]
    credit: str
    duration_s: float
    image: str
    asset: str
    tracks: Tracks
    rights: list[RightsWindow]


class ChannelSummary(Out, frozen=True, kw_only=True):
    """A channel in the list."""

    id: str
    number: int
    names: dict[str, str]
    tier: str


class OnAir(Out, frozen=True, kw_only=True):
    """A programme with its times."""

    title: str
    names: dict[str, str]
    asset: str
    image: str
    age: int
    from_ms: int
    to_ms: int


class NowNext(Out, frozen=True, kw_only=True):
    """What a channel shows."""

    channel: str
    now: OnAir
    next: OnAir


class AssetRef(In, frozen=True, kw_only=True):
    """What to play."""

    type: Literal["vod", "live"]
    id: Id
    """Of a title, or of a channel."""


class Device(In, frozen=True, kw_only=True):
    """What plays it; informational."""

    id: Annotated[str, Meta(max_length=64)] = ""
    plat: Annotated[str, Meta(max_length=16)] = ""
    drm: Annotated[list[str], Meta(max_length=8)] = []
    codecs: Annotated[list[str], Meta(max_length=32)] = []
    max_h: Annotated[int, Meta(ge=0, le=8192)] = 0


class StartPlayback(In, frozen=True, kw_only=True):
    """Start to play; takes ``Idempotency-Key``."""

    asset: AssetRef
    profile: Id | None = None
    device: Device | None = None
    intent: Literal["user", "prefetch"] = "user"
    """``prefetch`` takes no place yet; the first heartbeat does."""
    takeover: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=8)] = []
    """Termination codes from a 409."""


class Lease(Out, frozen=True, kw_only=True):
    """How often to report."""

    ttl_s: int
    heartbeat_s: int
    jitter: float


class Manifests(Out, frozen=True, kw_only=True):
    """Of the first endpoint."""

    hls: str
    dash: str


class PlaybackEndpoint(Out, frozen=True, kw_only=True):
    """Where to play from, in the order in which to try."""

    region: str
    api: str
    media: str
    hls: str
    dash: str


class TokenRef(Out, frozen=True, kw_only=True):
    """The media token; it is in the manifests' paths already."""

    value: str
    exp: int
    """Seconds since 1970."""
    renew_url: str


class SteeringRef(Out, frozen=True, kw_only=True):
    """Content steering."""

    url: str
    ttl: int


class Thumbnails(Out, frozen=True, kw_only=True):
    """For the scrub bar: WebVTT that points into a sprite; paths on any endpoint's ``media``."""

    vtt: str
    sprite: str


class SessionAnswer(Out, frozen=True, kw_only=True):
    """A playback session."""

    sid: str
    session: str
    """Signed; send it with every heartbeat. Any cell of the slot, in any region, goes on from it."""
    lease: Lease
    manifests: Manifests
    endpoints: list[PlaybackEndpoint]
    token: TokenRef
    steering: SteeringRef
    start_pos_s: float
    tracks: Tracks
    duration_s: float = 0
    title: str = ""
    names: dict[str, str] = {}
    credit: str = ""
    thumbnails: Thumbnails | None = None
    drm: dict[str, Any] = {}
    markers: dict[str, Any] = {}
    ads: dict[str, str] = msgspec.field(default_factory=lambda: {"mode": "none"})
    degraded: list[str] = []
    """What could not be checked and was decided in your favour, e.g. ``concurrency``."""


class Heartbeat(In, frozen=True, kw_only=True):
    """Still playing; never a reason to stop when it fails."""

    seq: Annotated[int, Meta(ge=0)]
    """Rises by one with each; a lower one is a repeat."""
    pos_s: Annotated[float, Meta(ge=0, le=1e10)]
    state: Literal["playing", "paused", "seeking", "buffering", "stopped"] = "playing"
    session: Annotated[str, Meta(max_length=2048)]


class HeartbeatAnswer(Out, frozen=True, kw_only=True):
    """What to do."""

    action: Literal["continue", "stop"]
    heartbeat_s: int
    reason: str = ""
    durable: bool = False
    """Whether this one was written to disk."""


class RenewToken(In, frozen=True, kw_only=True):
    """Before the media token ends."""

    session: Annotated[str, Meta(max_length=2048)]


class RenewedToken(Out, frozen=True, kw_only=True):
    """A media token, the session signed anew, and manifests with the token in them."""

    session: str
    token: TokenRef
    manifests: Manifests
    endpoints: list[PlaybackEndpoint]


class StopPlayback(In, frozen=True, kw_only=True):
    """The end."""

    session: Annotated[str, Meta(max_length=2048)]
    pos_s: Annotated[float, Meta(ge=0, le=1e10)] = 0
    reason: Annotated[str, Meta(max_length=32)] = "user"


class PutProgress(In, frozen=True, kw_only=True):
    """Where the viewer is."""

    pos_s: Seconds
    dur_s: Seconds


class Resume(Out, frozen=True, kw_only=True):
    """A title to go on with."""

    title: str
    pos_s: float
    dur_s: float
    updated_ms: int
    done: bool = False
    card: Card | None = None
    """None while this cell does not know the title."""


class SavedTitle(Out, frozen=True, kw_only=True):
    """A title on the watch list."""

    title: str
    added_ms: int
    card: Card | None = None


class Rails(Out, frozen=True, kw_only=True):
    """The private part of the home page."""

    resume: list[Resume]
    watchlist: list[SavedTitle]
    next: list[Card] = []


class SearchPage(Out, frozen=True, kw_only=True):
    """Titles that have every word, best first."""

    hits: list[Card]
    cursor: str | None = None
    """For the next page; None: this is the last."""
    took_ms: int
    degraded: bool
    """The index is not up to date (a cell that has just started): ask again."""


class Steering(msgspec.Struct, frozen=True, kw_only=True, rename=str.upper):
    """HLS content steering (draft-pantos-hls-rfc8216bis) and DASH (ETSI TS 103 998) in one document."""

    version: int = 1
    ttl: int
    reload_uri: str = msgspec.field(name="RELOAD-URI")
    pathway_priority: list[str] = msgspec.field(name="PATHWAY-PRIORITY")
    service_location_priority: list[str] = msgspec.field(name="SERVICE-LOCATION-PRIORITY")
