"""A studio without HTTP: calls go through its route table as the surface would send them."""

import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from eisbach.cell.routes import Call
from eisbach.cell.studio import studio_routes
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.hub.envelopes import event_of
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.kernel.events import Event
from eisbach.kernel.slots import STUDIO_GROUP, Slot
from eisbach.ports.clock import Clock
from eisbach.ports.store import Lease

SLOTS = 8


class Desk:
    """Also a ``CommandTransport``: what spokes ask for reaches the real routes."""

    def __init__(self, store: SqliteStore, folder: Path, clock: Clock) -> None:
        self.store, self.folder = store, folder
        self.blobs = FileBlobs(folder / "blobs")
        self.routes = studio_routes(store, blobs=self.blobs, clock=clock, rng=random.Random(3), slot_count=SLOTS)

    async def ask(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Any:
        """The answer's JSON; None for 204."""
        path, _, query = path.partition("?")
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        for route in self.routes:
            template = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.path)
            match = re.fullmatch(template, path)
            if route.method == method and match is not None:
                headers: Mapping[bytes, bytes] = {b"idempotency-key": key.encode()} if key else {}
                call = Call("r-1", match.groupdict(), dict(parse_qsl(query)), headers, raw=raw)
                if route.body is not None:
                    try:
                        call.body = msgspec.json.decode(raw, type=route.body)
                    except msgspec.DecodeError as error:
                        raise Invalid(f"body: {error}") from error
                if route.streams:
                    call.content = _pieces(raw)
                answer = await route.handler(call)
                return msgspec.json.decode(answer.body) if answer.body else None
        raise NotFound(f"{method} {path} is not a call of the studio")

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        await self.ask("POST", path, body, key=key)

    async def events(self) -> list[Event]:
        """Everything the studio has said so far."""
        entries = await self.store.log_after(0, limit=10_000)
        return [event for _, op in entries if (event := event_of(op, cell="studio")) is not None]

    async def types(self) -> list[str]:
        return [event.type for event in await self.events()]


async def _pieces(raw: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), 65_536):
        yield raw[start : start + 65_536]


@asynccontextmanager
async def open_desk(folder: Path, clock: Clock, *, region: str = "eu-central") -> AsyncIterator[Desk]:
    async with open_store(folder / "store.db", region=region, clock=clock, disk=inline) as store:
        for number in range(SLOTS):
            slot = Slot(STUDIO_GROUP, number)
            if await store.lease(slot) is None:
                await store.set_lease(slot, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        yield Desk(store, folder, clock)
