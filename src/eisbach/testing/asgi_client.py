"""Calls into an ASGI application without a network: for tests in process, also in virtual time.

Promises: one call at a time per ``send``, as many at once as there are tasks; exceptions of the application come
through. May not know: which application.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message

__all__ = ["AsgiAnswer", "AsgiClient"]


@dataclass(frozen=True, slots=True)
class AsgiAnswer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; whatever it is."""
        return msgspec.json.decode(self.body)


class AsgiClient:
    """Sends ``headers`` with every call."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] | None = None) -> None:
        self._app = app
        self.headers = dict(headers or {})

    async def send(
        self, method: str, target: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> AsgiAnswer:
        """Call; ``body`` is JSON unless it is bytes."""
        path, _, query = target.partition("?")
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        merged = {"content-length": str(len(raw)), **self.headers, **(headers or {})}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in merged.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def collect(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, collect)
        start = sent[0]
        found = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return AsgiAnswer(start["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))
