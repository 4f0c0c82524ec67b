"""Calls to a cell as a function: events of HTTP API, ALB or function URL through Mangum into the cell's application.

Behind an HTTP API the path begins with the cell's name, which the routing function wrote; it is taken off here.
Promises: the same application as in a container; an answer for every call: a cell that cannot be opened answers 503.
"""

import contextlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from mangum import Mangum

from eisbach.bootstrap.cell import OpenCell
from eisbach.deploy.aws.documents import CellDocument, read_document
from eisbach.deploy.aws.handlers.cell import open_application
from eisbach.deploy.aws.handlers.sandbox import Context, Sandbox
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import EisbachError, Invalid, Retryable

__all__ = ["handle"]

_TEXT: Final = (
    "text/",
    "application/json",
    "application/problem+json",
    "application/vnd.apple.mpegurl",
    "application/dash+xml",
)
"""What goes out as it is; all else is base64, a third longer."""
_FOLDER: Final = "/tmp/cell"  # noqa: S108 - the sandbox's own, and empty: everything is in the tables
_CATALOGUE_S: Final = 15.0
_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Opened:
    adapter: Mangum
    cell: OpenCell
    read_ms: int
    """When the catalogue was read, monotonic."""

    async def fresh(self) -> Mangum:
        """The adapter, with a catalogue that is not older than what tasks show."""
        clock = SystemClock()
        if self.cell.catalogue is not None and clock.monotonic_ms() - self.read_ms > _CATALOGUE_S * 1000:
            with contextlib.suppress(Retryable):  # what is known serves on
                await self.cell.catalogue.refresh()
            self.read_ms = clock.monotonic_ms()
        return self.adapter


async def _open(stack: AsyncExitStack) -> _Opened:
    document = read_document()
    if not isinstance(document, CellDocument):
        raise Invalid("this function answers for a cell, and its document is a spoke's; the stacks set both")
    cell = await open_application(document, stack, folder=Path(_FOLDER), function=True)
    app: Any = cell.app  # Mangum wants a coroutine, Starlette says awaitable
    adapter = Mangum(app, lifespan="off", api_gateway_base_path=f"/{document.cell}", text_mime_types=[*_TEXT])
    return _Opened(adapter, cell, SystemClock().monotonic_ms())


_sandbox = Sandbox(_open)


def handle(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Of Lambda: one call."""
    try:
        adapter = _sandbox.run(_Opened.fresh)
    except EisbachError as error:
        _logger.exception("cell_not_open", code=error.code)
        return _refusal(event)
    answer: dict[str, Any] = adapter(event, context)
    return answer


def _refusal(event: dict[str, Any]) -> dict[str, Any]:
    """In the form that each door reads; no detail of the inside goes out."""
    body = {"type": "about:blank", "title": "unavailable", "status": 503, "code": "unavailable"}
    told = {"content-type": "application/problem+json", "retry-after": "1", "eisbach-code": "unavailable"}
    answer: dict[str, Any] = {"statusCode": 503, "body": msgspec.json.encode(body).decode(), "isBase64Encoded": False}
    if "multiValueHeaders" in event:
        return {**answer, "multiValueHeaders": {name: [value] for name, value in told.items()}}
    return {**answer, "headers": told}
