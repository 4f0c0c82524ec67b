"""What a player needs to play: media token, signed session, manifests' addresses, tracks - built from documents.

Promises: the same grant gives the same answer, so a repeat under the same key is answered alike. Media tokens never
outlive the rights window. What a title's answers have in common is checked and encoded once, for as long as the
catalogue and the rights windows stay as they are (``Grants.playable``). May not know: stores, places for streams, HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from eisbach.cell.places import Places
from eisbach.cell.public_calls import STEERING_TTL_S, tracks_of
from eisbach.cell.streams import Grant
from eisbach.cell.surface import (
    Lease,
    Manifests,
    PlaybackEndpoint,
    RenewedToken,
    SteeringRef,
    Thumbnails,
    TokenRef,
    Tracks,
)
from eisbach.domain.accounts import Identity
from eisbach.domain.catalog import Catalogue
from eisbach.domain.playback import check_channel, check_title
from eisbach.domain.rights import rights_until, unchanged_until
from eisbach.kernel.errors import NotFound
from eisbach.kernel.limits import HEARTBEAT_EVERY, MEDIA_TOKEN_TTL, SESSION_LEASE
from eisbach.kernel.tokens import SignedSession, mint_media_token, open_session, seal_session

__all__ = ["SESSION_TTL_MS", "Grants", "Playable"]

SESSION_TTL_MS: Final = 24 * 3_600_000
_TOKEN_TTL_S: Final = int(MEDIA_TOKEN_TTL.total_seconds())
_REMEMBERED_MAX: Final = 4096
_FOR_EVER: Final = 1 << 52
_HERE: Final = "\0"
"""Where the token goes in what is encoded once; no address and no id holds it."""


class _Moving(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What differs between two answers for one title: with ``_Where`` and ``_Settled``, the fields of SessionAnswer."""

    sid: str
    session: str
    token: TokenRef
    start_pos_s: float
    degraded: list[str] = []


class _Where(msgspec.Struct, frozen=True, kw_only=True):
    """What differs in its token only."""

    manifests: Manifests
    endpoints: list[PlaybackEndpoint]


class _Settled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is the same."""

    lease: Lease
    steering: SteeringRef
    tracks: Tracks
    duration_s: float
    title: str
    names: dict[str, str]
    credit: str
    thumbnails: Thumbnails | None
    drm: dict[str, Any] = {}
    markers: dict[str, Any] = {}
    ads: dict[str, str] = msgspec.field(default_factory=lambda: {"mode": "none"})


@dataclass(frozen=True, slots=True)
class _Parts:
    """Of the answers for one title in one market, encoded."""

    where: Sequence[bytes]
    """Between these pieces goes the token."""
    settled: bytes


_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Playable:
    """Something a viewer may play now."""

    asset: str
    """``vod:title`` or ``live:channel``."""
    title: str
    """Empty for a channel."""
    scope: str
    """Asset or channel id: what the media token opens, and the folder on the origin."""
    kind: str
    """``vod`` or ``ch``: the folder's parent."""
    names: dict[str, str]
    duration_s: float
    credit: str
    tracks: Tracks
    thumbnails: bool
    until_ms: int
    """End of the rights."""
    holders: frozenset[str]
    """Regions that have the media; empty: not known."""
    parts: dict[str, _Parts] = field(default_factory=dict, compare=False, repr=False)
    """By market, made when first asked for."""


class Grants:
    """One a process."""

    def __init__(self, places: Places, *, media_keys: Mapping[str, bytes], session_keys: Mapping[str, bytes]) -> None:
        """Keys by kid; the first signs, all verify."""
        self._places = places
        self._media_kid, self._media_key = next(iter(media_keys.items()))
        self._session_keys = dict(session_keys)
        self._session_kid, self._session_key = next(iter(session_keys.items()))
        self._catalogue: Catalogue | None = None
        self._known: dict[tuple[str, str, str, str, int], tuple[Playable, int, int]] = {}
        """What was allowed under ``_catalogue``, and from when to when it is."""

    def playable(self, kind: str, identity: str, *, who: Identity, catalogue: Catalogue, at_ms: int) -> Playable:
        """Check rights and find the media; what was allowed is remembered until a rights window opens or closes.

        Raises:
            NotFound: unknown, unpublished, or not packaged yet.
            Denied: ``geo``, ``rights_window``, ``entitlement``, ``age_pin``.
        """
        if catalogue is not self._catalogue or len(self._known) > _REMEMBERED_MAX:
            self._catalogue, self._known = catalogue, {}
        key = (kind, identity, who.market, who.tier, who.age_max)
        known = self._known.get(key)
        if known is not None and known[1] <= at_ms < known[2]:
            return known[0]
        if kind == "live":
            found, until = self._channel(identity, who, catalogue), _FOR_EVER
        else:
            found = self._title(identity, who, catalogue, at_ms)
            until = unchanged_until(catalogue.titles[identity], at_ms=at_ms)
        self._known[key] = found, at_ms, until
        return found

    def _title(self, identity: str, who: Identity, catalogue: Catalogue, at_ms: int) -> Playable:
        title = catalogue.titles.get(identity)
        if title is None:
            raise NotFound(f"there is no title {identity[:64]!r}; see home")
        check_title(title, who, at_ms=at_ms)
        asset = catalogue.assets.get(title.asset or "")
        if asset is None:
            raise NotFound(f"title {identity!r} has no packaged asset here yet; try again later")
        return Playable(
            asset=f"vod:{title.id}",
            title=title.id,
            scope=asset.id,
            kind="vod",
            names=title.names,
            duration_s=asset.duration_ms / 1000,
            credit=title.credit or asset.credit,
            tracks=tracks_of(asset),
            thumbnails=asset.sprite is not None,
            until_ms=rights_until(title, market=who.market, tier=who.tier, at_ms=at_ms),
            holders=catalogue.regions.get(asset.id, frozenset()),
        )

    def _channel(self, identity: str, who: Identity, catalogue: Catalogue) -> Playable:
        channel = catalogue.channels.get(identity)
        if channel is None or not channel.loop:
            raise NotFound(f"there is no channel {identity[:64]!r}; see channels")
        check_channel(channel, who)
        known = [catalogue.regions.get(p.asset, frozenset()) for p in channel.loop]
        return Playable(
            asset=f"live:{channel.id}",
            title="",
            scope=channel.id,
            kind="ch",
            names=channel.names,
            duration_s=0,
            credit="",
            tracks=tracks_of(catalogue.assets.get(channel.loop[0].asset)),
            thumbnails=False,
            until_ms=_FOR_EVER,
            holders=frozenset.intersection(*known),
        )

    def token_expiry(self, what: Playable, *, at_ms: int) -> int:
        """Seconds since 1970: six hours from now, never beyond the rights."""
        return min(at_ms // 1000 + _TOKEN_TTL_S, what.until_ms // 1000)

    def session(self, what: Playable, grant: Grant, *, signed: SignedSession, degraded: list[str]) -> msgspec.Raw:
        """The answer of a start, a ``SessionAnswer``."""
        market = signed.slot.split("/")[1]
        parts = what.parts.get(market)
        if parts is None:
            parts = what.parts[market] = self._parts(what, market)
        token = self._token(what, grant.token_expiry, signed.sid)
        moving = _Moving(
            sid=signed.sid,
            session=seal_session(signed, self._session_key, kid=self._session_kid),
            token=token,
            start_pos_s=grant.start_pos_s,
            degraded=degraded,
        )
        where = token.value.encode().join(parts.where)
        return msgspec.Raw(b"".join((_encoder.encode(moving)[:-1], b",", where, b",", parts.settled)))

    def _parts(self, what: Playable, market: str) -> _Parts:
        endpoints = self._endpoints(what, market, _HERE)
        where = _Where(manifests=Manifests(hls=endpoints[0].hls, dash=endpoints[0].dash), endpoints=endpoints)
        sprite = f"/img/{what.scope}/sprite.jpg"
        settled = _Settled(
            lease=Lease(
                ttl_s=int(SESSION_LEASE.total_seconds()),
                heartbeat_s=int(HEARTBEAT_EVERY.total_seconds()),
                jitter=0.2,
            ),
            steering=SteeringRef(url=f"{self._places.here.api}/steer?mkt={market}", ttl=STEERING_TTL_S),
            tracks=what.tracks,
            duration_s=what.duration_s,
            title=what.title,
            names=what.names,
            credit=what.credit,
            thumbnails=Thumbnails(vtt=f"/img/{what.scope}/thumbs.vtt", sprite=sprite) if what.thumbnails else None,
        )
        placeholder = _encoder.encode(_HERE)[1:-1]
        return _Parts(_encoder.encode(where)[1:-1].split(placeholder), _encoder.encode(settled)[1:])

    def renewed(self, what: Playable, *, signed: SignedSession, expiry: int) -> RenewedToken:
        """The answer of a renewal: new token, session signed anew."""
        token = self._token(what, expiry, signed.sid)
        endpoints = self._endpoints(what, signed.slot.split("/")[1], token.value)
        return RenewedToken(
            session=seal_session(signed, self._session_key, kid=self._session_kid),
            token=token,
            manifests=Manifests(hls=endpoints[0].hls, dash=endpoints[0].dash),
            endpoints=endpoints,
        )

    def open(self, text: str) -> SignedSession:
        """The session that a client carries.

        Raises:
            Denied: ``session_malformed`` or ``session_signature``.
        """
        return open_session(self._session_keys, text)

    def _token(self, what: Playable, expiry: int, sid: str) -> TokenRef:
        value = mint_media_token(self._media_key, kid=self._media_kid, expiry=expiry, scope=what.scope)
        return TokenRef(value=value, exp=expiry, renew_url=f"/v1/playback/sessions/{sid}/token")

    def _endpoints(self, what: Playable, market: str, token: str) -> list[PlaybackEndpoint]:
        base = f"t/{token}/{what.kind}/{what.scope}"
        return [
            PlaybackEndpoint(
                region=e.region,
                api=e.api,
                media=e.media,
                hls=f"{e.media}/{base}/master.m3u8",
                dash=f"{e.media}/{base}/manifest.mpd",
            )
            for e in self._places.for_media(market, what.holders)
        ]
