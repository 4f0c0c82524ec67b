"""Manifests over HTTP: from a cell's catalogue, the clock and a media token to a playlist, per request.

``Manifests`` answers with text; ``manifest_routes`` puts it under ``/manifests/...`` of a cell, which the media origin
asks. Promises: nothing is read but the catalogue snapshot in memory, so a manifest costs microseconds and needs no
other process; a token is verified before it is written into a manifest; every refusal is problem+json.
May not know: stores, sessions, rights. Who may play was decided when the token was given.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.domain.catalog import Asset, Channel
from eisbach.domain.channels import Timing, Window, window
from eisbach.kernel.errors import Denied, EisbachError, Invalid, NotFound
from eisbach.kernel.tokens import mint_media_token, pass_scope, verify_media_token
from eisbach.media.dash import Locations, channel_mpd, vod_mpd
from eisbach.media.hls import Pathway, channel_multivariant, media_playlist, multivariant, shared_tracks
from eisbach.ports.clock import Clock

__all__ = ["Catalogue", "Manifest", "Manifests", "manifest_routes", "problem"]

HLS_TYPE = "application/vnd.apple.mpegurl"
DASH_TYPE = "application/dash+xml"
_DAY_MS = 86_400_000
# A manifest with a token in it is its viewer's; a channel's playlist is everybody's for one second.
_PRIVATE, _SHARED = "private, max-age=10", "public, max-age=1, stale-while-revalidate=2, stale-if-error=10"


class Catalogue(Protocol):
    """What is needed of a catalogue snapshot; ``domain.catalog.Catalogue`` has it."""

    @property
    def assets(self) -> Mapping[str, Asset]:
        """Packaged assets by id."""
        ...

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Channels by id."""
        ...


class Manifest(NamedTuple):
    """A manifest to send."""

    text: str
    content_type: str
    cache: str
    """``Cache-Control``."""


class Manifests:
    """Computes manifests; one per process."""

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        *,
        clock: Clock,
        keys: Callable[[], Mapping[str, bytes]],
        pathways: Sequence[Pathway],
        steering_url: str = "",
        signs_passes: bool = False,
    ) -> None:
        """Compose.

        Args:
            catalogue: the snapshot of this moment.
            clock: wall time, for tokens and channels.
            keys: kid -> HMAC key of media tokens, both live ones.
            pathways: this region's origin first, then the others'.
            steering_url: absolute URL of content steering; empty leaves it out.
            signs_passes: what a channel lists says that it belongs to the channel: for an origin without folders.
        """
        self._signs_passes = signs_passes
        self._catalogue, self._clock, self._keys = catalogue, clock, keys
        self._pathways, self._steering_url = list(pathways), steering_url

    def verify(self, token: str, scope: str) -> None:
        """Refuse a token that is not valid now for ``scope`` (an asset's or channel's id).

        Raises:
            Denied: ``token_*``.
        """
        allowed = verify_media_token(self._keys(), token, now=self._clock.wall_ms() // 1000).scope
        if allowed != scope:
            raise Denied(
                f"media token is for {allowed!r}, asked was {scope!r}; start playback anew", code="token_scope"
            )

    def of_title(self, asset_id: str, name: str, token: str) -> Manifest:
        """``master.m3u8`` or ``manifest.mpd`` of an asset.

        Raises:
            NotFound, Denied.
        """
        self.verify(token, asset_id)
        asset = self._catalogue().assets.get(asset_id)
        if asset is None:
            raise NotFound(f"asset {asset_id!r} is not in the catalogue here; ask for its title again")
        common = {"token": token, "pathways": self._pathways, "steering_url": self._steering_url}
        if name == "master.m3u8":
            return Manifest(multivariant(asset, **common), HLS_TYPE, _PRIVATE)  # type: ignore[arg-type]
        if name == "manifest.mpd":
            return Manifest(vod_mpd(asset, **common), DASH_TYPE, _PRIVATE)  # type: ignore[arg-type]
        raise NotFound(f"{name[:40]!r} is not a manifest; ask for master.m3u8 or manifest.mpd")

    def of_channel(self, channel_id: str, name: str, token: str | None) -> Manifest:
        """``master.m3u8``, ``manifest.mpd`` (both need a token) or ``TRACK.m3u8`` of a channel.

        Raises:
            NotFound, Denied; Invalid when the channel has not begun or its assets do not fit.
        """
        track, dot, suffix = name.rpartition(".")
        if token is not None:
            self.verify(token, channel_id)
        elif name in ("master.m3u8", "manifest.mpd"):
            raise Denied("a media token is needed: ?t=TOKEN; start playback to get one", code="token_malformed")
        channel, assets = self._channel(channel_id)
        if name == "master.m3u8":
            return Manifest(
                channel_multivariant(
                    channel_id,
                    assets,
                    token=token or "",
                    pathways=self._pathways,
                    steering_url=self._steering_url,
                ),
                HLS_TYPE,
                _PRIVATE,
            )
        if name == "manifest.mpd":
            return self._channel_mpd(channel, assets, token or "")
        if not dot or suffix != "m3u8" or all(t.id != track for t in shared_tracks(channel_id, assets)):
            raise NotFound(f"channel {channel_id!r} has no playlist {name[:40]!r}")
        listed = self._window(channel, assets, track, self._clock.wall_ms())
        return Manifest(media_playlist(listed, passes=self._passes(channel, assets)), HLS_TYPE, _SHARED)

    def _passes(self, channel: Channel, assets: Sequence[Asset]) -> dict[str, str]:
        """Asset -> query with its pass: nobody's own, and equal in every region until midnight, for one or two days."""
        if not self._signs_passes:
            return {}
        kid, key = next(iter(self._keys().items()))
        expiry = (self._clock.wall_ms() // _DAY_MS + 2) * _DAY_MS // 1000
        scopes = {asset.id: pass_scope(channel.id, asset.id) for asset in assets}
        return {id_: f"?m={mint_media_token(key, kid=kid, expiry=expiry, scope=s)}" for id_, s in scopes.items()}

    def _channel(self, channel_id: str) -> tuple[Channel, list[Asset]]:
        snapshot = self._catalogue()
        channel = snapshot.channels.get(channel_id)
        if channel is None:
            raise NotFound(f"channel {channel_id!r} is not in the catalogue here")
        names = dict.fromkeys(programme.asset for programme in channel.loop)
        missing = [name for name in names if name not in snapshot.assets]
        if missing:
            raise NotFound(f"channel {channel_id!r} shows asset {missing[0]!r}, which is not in the catalogue here yet")
        return channel, [snapshot.assets[name] for name in names]

    def _window(self, channel: Channel, assets: Sequence[Asset], track: str, now_ms: int) -> Window:
        timings = {a.id: Timing(t.timescale, t.segments) for a in assets for t in a.tracks if t.id == track}
        return window(channel, track, timings, now_ms)

    def _channel_mpd(self, channel: Channel, assets: Sequence[Asset], token: str) -> Manifest:
        now_ms = self._clock.wall_ms()
        tracks = shared_tracks(channel.id, assets)
        text = channel_mpd(
            tracks,
            {track.id: self._window(channel, assets, track.id, now_ms) for track in tracks},
            locations=Locations(
                [(p.id, f"{p.origin}/t/{token}/ch/{channel.id}/") for p in self._pathways], self._steering_url
            ),
            start_ms=channel.start_ms,
            now_ms=now_ms,
            passes=self._passes(channel, assets),
        )
        # Not _PRIVATE: a browser that keeps a live manifest for ten seconds sees no new segment in them, and stalls.
        return Manifest(text, DASH_TYPE, "private, no-cache")


def problem(error: EisbachError) -> Response:
    """An error as problem+json (RFC 9457).

    404 and not 403 for what is not there yet: players give up at once on a 403.
    """
    status = {NotFound: 404, Denied: 403, Invalid: 400}.get(type(error), 503)
    body = {"type": "about:blank", "title": error.code.replace("_", " "), "status": status}
    body |= {"code": error.code, "detail": str(error)}
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "1"} if status == 503 else {})
    return Response(msgspec.json.encode(body), status, headers, media_type="application/problem+json")


def manifest_routes(manifests: Manifests) -> list[Route]:
    """``GET /manifests/vod/ASSET/NAME?t=TOKEN`` and ``GET /manifests/ch/CHANNEL/NAME[?t=TOKEN]``."""

    def answering(make: Callable[[Request], Manifest]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                made = make(request)
            except EisbachError as error:
                return problem(error)
            return Response(made.text, headers={"Cache-Control": made.cache}, media_type=made.content_type)

        return answer

    def title(request: Request) -> Manifest:
        path = request.path_params
        return manifests.of_title(path["asset"], path["name"], request.query_params.get("t", ""))

    def channel(request: Request) -> Manifest:
        path = request.path_params
        return manifests.of_channel(path["channel"], path["name"], request.query_params.get("t"))

    return [
        Route("/manifests/vod/{asset}/{name}", answering(title)),
        Route("/manifests/ch/{channel}/{name}", answering(channel)),
    ]
