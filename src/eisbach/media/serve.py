"""Media over HTTP from the cell's own process: what the origin's nginx does in the larger stages.

For the stages ``single`` and ``hub`` only. Promises: the same paths, token check, ranges and CORS as the origin;
a path leads to a file that the packager wrote or to 404, never elsewhere.
May not know: stores, catalogues (``Manifests`` does), nginx.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from eisbach.kernel.errors import EisbachError, NotFound
from eisbach.media.manifests import Manifest, Manifests, problem

__all__ = ["MEDIA_TYPES", "media_routes"]

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".vtt": "text/vtt; charset=utf-8",
    ".jpg": "image/jpeg",
}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Date, Server-Timing",
    "Timing-Allow-Origin": "*",
}
_PREFLIGHT = CORS | {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Range",
    "Access-Control-Max-Age": "86400",
}
_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_FILE = re.compile(r"(?:init\.mp4|[1-9][0-9]{0,6}\.m4s)", re.ASCII)
_TOP_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\.(?:m3u8|vtt)", re.ASCII)
_IMAGE = re.compile(r"(?:poster\.jpg|sprite\.jpg|thumbs\.vtt)", re.ASCII)
_FOR_LIFE = "public, max-age=31536000, immutable"
_DYNAMIC = {"master.m3u8", "manifest.mpd"}


class _Media:
    def __init__(self, media: Path, manifests: Manifests) -> None:
        self._media, self._manifests = media.resolve(), manifests

    async def title(self, request: Request) -> Response:
        token, asset, rest = (request.path_params[name] for name in ("token", "asset", "rest"))
        if rest in _DYNAMIC:
            return _send(self._manifests.of_title(asset, rest, token))
        self._manifests.verify(token, asset)
        return self._file("vod", asset, *rest.split("/"))

    async def channel(self, request: Request) -> Response:
        token, channel, rest = (request.path_params[name] for name in ("token", "channel", "rest"))
        if "/" not in rest:
            return _send(self._manifests.of_channel(channel, rest, token))
        self._manifests.verify(token, channel)
        asset, _, inner = rest.partition("/")
        # The link in the channel's folder says that the asset is on this channel; without it the token does not reach.
        if not _PART.fullmatch(channel) or not (self._media / "ch" / channel / asset).is_symlink():
            raise NotFound(f"asset {asset[:64]!r} is not on channel {channel[:64]!r}")
        return self._file("vod", asset, *inner.split("/"))

    async def image(self, request: Request) -> Response:
        asset, name = request.path_params["asset"], request.path_params["name"]
        if not _IMAGE.fullmatch(name):
            raise NotFound(f"{name[:64]!r} is not an image of an asset")
        return self._file("vod", asset, "img", name)

    def _file(self, *parts: str) -> Response:
        *folders, name = parts
        pattern = {3: _TOP_FILE, 4: _FILE}.get(len(parts))
        if len(parts) == 4 and folders[2] == "img":
            pattern = _IMAGE
        if pattern is None or not pattern.fullmatch(name) or not all(_PART.fullmatch(f) for f in folders):
            raise NotFound(f"there is no media file {'/'.join(parts)[:120]!r}")
        path = self._media.joinpath(*parts)
        if not path.is_file():
            raise NotFound(f"there is no media file {'/'.join(parts)[:120]!r}")
        return FileResponse(path, headers=CORS | {"Cache-Control": _FOR_LIFE}, media_type=MEDIA_TYPES[path.suffix])


def _send(made: Manifest) -> Response:
    return Response(made.text, headers=CORS | {"Cache-Control": made.cache}, media_type=made.content_type)


async def _answer(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=_PREFLIGHT)
    try:
        return await handler(request)
    except EisbachError as error:
        refusal = problem(error)
        refusal.headers.update(CORS)
        return refusal


def media_routes(media: Path, manifests: Manifests) -> list[Route]:
    """The media origin's paths (docs/internals.md, Media), served from ``media`` (the blobs' ``media`` folder)."""
    served = _Media(media, manifests)

    async def title(request: Request) -> Response:
        return await _answer(request, served.title)

    async def channel(request: Request) -> Response:
        return await _answer(request, served.channel)

    async def image(request: Request) -> Response:
        return await _answer(request, served.image)

    return [
        Route("/t/{token}/vod/{asset}/{rest:path}", title, methods=["GET", "OPTIONS"]),
        Route("/t/{token}/ch/{channel}/{rest:path}", channel, methods=["GET", "OPTIONS"]),
        Route("/img/{asset}/{name}", image, methods=["GET", "OPTIONS"]),
    ]
