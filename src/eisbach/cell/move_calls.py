"""A cell's calls for moves, on its own port, for the region's service token: the control process and target cells.

MessagePack both ways; no edge has a route to them. May not know: what they do (``moving``).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from eisbach.cell.losses import AskHeard, AskReturned, Losses
from eisbach.cell.moving import Freeze, Moving, Settle, StandAside
from eisbach.cell.routes import Answer, Call, Route
from eisbach.cell.slot_imports import ExportRequest, PrepareImport
from eisbach.kernel.errors import Invalid

__all__ = ["AllSlots", "SlotRef", "loss_routes", "move_routes"]

_BODY_BYTES_MAX: Final = 1024 * 1024
T = TypeVar("T")


class AllSlots(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call about every slot."""


class SlotRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call about a slot as it is."""

    slot: str


def route(name: str, kind: type[T], handler: Callable[[T], Awaitable[Any]], summary: str) -> Route:
    """``POST /moves/NAME`` with a message of ``kind``."""

    async def call(call: Call) -> Answer:
        try:
            asked = msgspec.msgpack.decode(call.raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"not a {kind.__name__}: {error}") from error
        body = msgspec.msgpack.encode(await handler(asked))
        return Answer(200, body, content_type="application/msgpack")

    return Route(
        method="POST", path=f"/moves/{name}", handler=call, summary=summary, caller="service",
        importance="critical", body_bytes_max=_BODY_BYTES_MAX, listed=False,
    )  # fmt: skip


def loss_routes(losses: Losses) -> list[Route]:
    """What control asks about a region that may be lost."""
    return [
        route("heard", AskHeard, losses.heard, "How far another region's ops are held"),
        route("returned", AskReturned, losses.returned, "What came of ops that were missing"),
    ]


def move_routes(moving: Moving) -> list[Route]:
    """``POST /moves/...``."""
    return [
        route("look", SlotRef, lambda asked: moving.look(asked.slot), "The lease row"),
        route("leases", AllSlots, lambda _: moving.leases(), "Every lease row"),
        route("prepare", PrepareImport, moving.prepare, "Open an import"),
        route("export", ExportRequest, moving.export, "A piece of a slot"),
        route("left", ExportRequest, moving.left, "A piece of what a slot left behind"),
        route("digest", SlotRef, lambda asked: moving.digest(asked.slot), "Digests of a slot"),
        route("freeze", Freeze, moving.freeze, "Stop writes of a slot"),
        route("drain", Freeze, moving.drain, "Whether the cut is here"),
        route("settle", Settle, moving.settle, "The outcome of a move"),
        route("aside", StandAside, moving.stand_aside, "Leave a slot to another region, or take it back"),
        route("vectors", StandAside, moving.vectors, "What both regions hold of a slot"),
        route("discard", Settle, moving.discard, "Let go of what a slot left behind"),
    ]
