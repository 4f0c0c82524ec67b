"""The viewer's pages on the port of the API, for the stages that have no front: ``single`` and ``hub``.

Promises: only built files are served, and ``index.html`` for the app's own addresses; every path of the API passes on.
"""

from pathlib import Path
from typing import Final

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from eisbach.kernel.errors import Unavailable
from eisbach.web import static_folder

__all__ = ["with_pages"]

_SERVICE: Final = (
    "v1", "t", "img", "steer", "studio", "manifests", "peer", "ops", "healthz", "readyz", "livez", "status", "metrics",
)  # fmt: skip
"""First parts of paths that belong to the service."""
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def with_pages(app: ASGIApp) -> ASGIApp:
    """``app`` with the viewer's pages before it; says what to do where they are not built."""
    try:
        folder: Path | None = static_folder().resolve()
    except Unavailable:
        folder = None

    async def paged(scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if not is_page or scope["path"].split("/", 2)[1] in _SERVICE:
            await app(scope, receive, send)
            return
        await _page(folder, scope["path"])(scope, receive, send)

    return paged


def _page(folder: Path | None, path: str) -> Response:
    if folder is None:
        return PlainTextResponse("The pages are not built; run make web.\n", 503)
    file = (folder / path.lstrip("/")).resolve()
    if file.is_relative_to(folder) and file.is_file():
        return FileResponse(file, headers=_HEADERS)
    if Path(path).suffix:
        return PlainTextResponse("no such file\n", 404)
    return FileResponse(folder / "index.html", headers=_HEADERS)
