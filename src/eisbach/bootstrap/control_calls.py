"""The control process's calls for people and scripts: who has which slots, and moves.

``GET /cells`` -> ``{cells: [{cell, state, slots: {group: count}}], moves: [SlotRecord], waits: {slot: why},
addresses: {cell: address}}``;
``POST /moves`` ``{slots, to, bulk}`` -> 202 ``{moves, refused: {slot: why}, already: {slot: what}}``: who asks again
for what is under way or done is told so, and nothing is queued twice; ``POST /moves/abort?reason=WHY`` ``{slot}``.
Every call needs the operator's or the region's service token.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eisbach.bootstrap.serve import authorised, problem
from eisbach.control.beginnings import Begin, Beginnings
from eisbach.control.evacuation import Evacuation
from eisbach.control.leaving import ANSWER_S, Leaving
from eisbach.control.losses import RegionLosses
from eisbach.control.moves import Mover, SlotRecord
from eisbach.control.slot_map import SlotMapReconciler
from eisbach.kernel.errors import EisbachError, Invalid, Rejected
from eisbach.kernel.slotmap import CHANGED_SHARE_MAX
from eisbach.kernel.slots import STUDIO_GROUP, Slot
from eisbach.kernel.versions import Mark

__all__ = [
    "MoveRequest",
    "begin_routes",
    "control_routes",
    "loss_routes",
    "movable",
    "region_routes",
    "viewers_cells",
    "viewers_slots",
]

_SLOTS_MAX: Final = 10_000
_REASON_CHARS_MAX: Final = 200
_WAIT_MS_MAX: Final = 60_000


class MoveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Move these slots."""

    slots: list[str]
    to: str
    bulk: bool = False
    """More than a fifth of the region's slots may change; edges then take such a map."""


class _Evacuate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    other: str
    wait_ms: int = 5_000
    force: bool = False
    """Go, though the other region does not show that it serves; of both: with slots that differ from their twins."""


class _Lost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: str


class _Found(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: str
    ends: dict[str, Mark]
    """Slot -> where the log of the region that returned ends."""
    epochs: dict[str, int] = {}
    """Slot -> the epoch of its lease there."""
    wait_ms: int = 5_000


class _Abort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slot: str


def viewers_cells(reconciler: SlotMapReconciler) -> Sequence[str]:
    """All but the studio's, whatever their state."""
    return sorted(set(reconciler.cells) - set(reconciler.groups.get(str(STUDIO_GROUP), ())))


def movable(reconciler: SlotMapReconciler) -> Sequence[str]:
    """Cells that may take slots: active, and not the studio's."""
    return [cell for cell in viewers_cells(reconciler) if reconciler.cells[cell] == "active"]


def control_routes(
    reconciler: SlotMapReconciler,
    mover: Mover,
    *,
    addresses: Mapping[str, str],
    why_out: Callable[[], Awaitable[str]],
    unknown: Mapping[str, str],
    tokens: tuple[str, ...],
) -> list[Route]:
    """The routes; ``addresses``: cell -> ``host:port``; ``why_out``: why the region does not serve, or nothing;
    ``unknown``: see ``LostMoves.waits``.
    """

    async def cells(_: Request) -> Response:
        found: dict[str, dict[str, int]] = {cell: {} for cell in reconciler.cells}
        for group, owners in reconciler.groups.items():
            for owner in owners:
                found[owner][group] = found[owner].get(group, 0) + 1
        listed = [{"cell": c, "state": s, "slots": found[c]} for c, s in sorted(reconciler.cells.items())]
        records = await mover.records()
        open_ends = {one.slot for one in records if not one.done}
        waits = {slot: why for slot, why in mover.waits.items() if why and slot in open_ends} | dict(unknown)
        known = {"map_version": reconciler.version, "addresses": addresses}
        return _json({"cells": listed, "moves": records, "waits": waits, **known})

    async def moves(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=MoveRequest)
        slots = [_slot(reconciler, text) for text in asked.slots]
        _check_share(reconciler, asked)
        if why := await why_out():
            raise Invalid(f"no slot is moved while the region does not serve: {why}. First: eisbach regions return")
        known = {one.slot: one for one in await mover.records()}
        owners = {slot: reconciler.groups[str(slot.group)][slot.number] for slot in slots}
        stands = {slot: _standing(known.get(str(slot)), owner, asked.to) for slot, owner in owners.items()}
        already = {str(slot): what for slot, what in stands.items() if what}
        accepted, refused = [known[slot] for slot in already if slot in known], {}
        if asked.bulk and (reconciler.refusal or len(already) < len(slots)):
            await reconciler.assign({}, bulk=True)
        for slot, owner in owners.items():
            if str(slot) in already:
                continue
            _check_group(reconciler, slot, asked.to)
            try:
                accepted.append(await mover.request(slot, owner=owner, target=asked.to))
            except Rejected as error:
                refused[str(slot)] = str(error)
        if refused and not accepted and not already:
            return problem(409, "refused", "; ".join(list(refused.values())[:3]))
        return _json({"moves": accepted, "refused": refused, "already": already}, status=202)

    async def abort(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=_Abort)
        reason = request.query_params.get("reason", "an operator gave it up")
        if not 0 < len(reason) <= _REASON_CHARS_MAX:
            raise Invalid(f"the reason has {len(reason)} characters; use 1 to {_REASON_CHARS_MAX}")
        return _json(await mover.abort(_slot(reconciler, asked.slot), reason))

    guarded = _guard(tokens)
    return [
        Route("/cells", guarded(cells)),
        Route("/moves", guarded(moves), methods=["POST"]),
        Route("/moves/abort", guarded(abort), methods=["POST"]),
    ]


def viewers_slots(reconciler: SlotMapReconciler) -> dict[str, str]:
    """Slot -> cell, by the map in force, of every group but the studio's."""
    return {
        f"{group}/{number}": cell
        for group, cells in reconciler.groups.items()
        if group != str(STUDIO_GROUP)
        for number, cell in enumerate(cells)
    }


def begin_routes(beginnings: Beginnings, *, tokens: tuple[str, ...]) -> list[Route]:
    """``POST /cells/begin`` (``Begin``) -> 204, or 409 ``cell_begun`` when another store of the cell began before."""

    async def begin(request: Request) -> Response:
        await beginnings.begin(msgspec.json.decode(await request.body(), type=Begin))
        return Response(status_code=204)

    return [Route("/cells/begin", _guard(tokens)(begin), methods=["POST"])]


def loss_routes(
    losses: RegionLosses, *, announce: Callable[[str, bool], Awaitable[None]], tokens: tuple[str, ...]
) -> list[Route]:
    """``GET /losses``; ``POST /losses/declare`` ``{region}`` and ``/losses/close`` ``{region, ends, epochs, wait_ms}``.

    ``announce``: tells the studio whether a region's workers may go on, so that others take over what it began.
    """

    async def listing(_: Request) -> Response:
        return _json({"losses": await losses.records()})

    async def declare(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=_Lost)
        record = await losses.declare(asked.region)
        await announce(asked.region, False)
        return _json(record)

    async def close(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=_Found)
        wait_ms = min(asked.wait_ms, _WAIT_MS_MAX)
        record = await losses.close(asked.region, asked.ends, epochs=asked.epochs, wait_ms=wait_ms)
        if not record.open:
            await announce(asked.region, True)
        return _json(record)

    guarded = _guard(tokens)
    return [
        Route("/losses", guarded(listing)),
        Route("/losses/declare", guarded(declare), methods=["POST"]),
        Route("/losses/close", guarded(close), methods=["POST"]),
    ]


def region_routes(
    evacuation: Evacuation,
    leaving: Leaving,
    *,
    region: str,
    announce: Callable[[bool], Awaitable[None]],
    tokens: tuple[str, ...],
    peer_token: str,
) -> list[Route]:
    """``GET /region``; ``POST /region/evacuate``, ``/region/return`` ``{other, wait_ms, force}`` -> EvacuationRecord.

    ``GET /region/leave?to=R``: whether that would be refused now; it stops nothing.
    ``GET /region/standing?wait_ms=N`` -> Standing, for other regions too (``peer_token``): does this one serve? A cell
    that does not answer is waited for that long.
    ``announce``: tells the studio whether the region's workers may go on; of an evacuation before anything is stopped,
    of a return once it is through.
    """

    async def last(_: Request) -> Response:
        return _json({"region": region, "last": await evacuation.last()})

    async def standing(request: Request) -> Response:
        wait_ms = request.query_params.get("wait_ms", str(int(ANSWER_S * 1000)))
        if not wait_ms.isdecimal() or int(wait_ms) > _WAIT_MS_MAX:
            raise Invalid(f"wait_ms is {wait_ms[:40]!r}; use milliseconds, {_WAIT_MS_MAX} at most")
        return _json(await leaving.standing(answer_s=int(wait_ms) / 1000))

    async def asked(request: Request) -> tuple[_Evacuate, int]:
        found = msgspec.json.decode(await request.body(), type=_Evacuate)
        if found.other == region:
            raise Invalid(f"{region} cannot be its own other region")
        return found, min(found.wait_ms, _WAIT_MS_MAX)

    async def leave(request: Request) -> Response:
        to = request.query_params.get("to", "")
        await leaving.may_leave(to)
        return _json({"region": region, "to": to})

    async def evacuate(request: Request) -> Response:
        body, wait_ms = await asked(request)
        record = await leaving.leave(body.other, wait_ms=wait_ms, force=body.force, announce=lambda: announce(False))
        return _json(record)

    async def come_back(request: Request) -> Response:
        body, wait_ms = await asked(request)
        record = await leaving.come_back(body.other, wait_ms=wait_ms, force=body.force)
        if record.through:
            await announce(True)
        return _json(record)

    guarded = _guard(tokens)
    return [
        Route("/region", guarded(last)),
        Route("/region/standing", _guard((*tokens, peer_token))(standing)),
        Route("/region/leave", guarded(leave)),
        Route("/region/evacuate", guarded(evacuate), methods=["POST"]),
        Route("/region/return", guarded(come_back), methods=["POST"]),
    ]


def _guard(tokens: tuple[str, ...]) -> Any:
    """A handler that only a bearer of one of the tokens reaches, and whose refusals are problems."""

    def guarded(handler: Any) -> Any:
        async def call(request: Request) -> Response:
            if not authorised(request, *tokens):
                return problem(401, "token_missing", "control calls need the operator's token")
            try:
                answer: Response = await handler(request)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                return problem(400, "invalid", f"the body is not what this call takes: {error}")
            except EisbachError as error:
                return problem(400 if isinstance(error, Invalid) else 409, error.code, str(error))
            return answer

        return call

    return guarded


def _json(value: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _slot(reconciler: SlotMapReconciler, text: str) -> Slot:
    slot = Slot.parse(text)
    if slot.group == STUDIO_GROUP:
        raise Invalid(f"slot {slot} is the studio's; its slots stay where they are")
    count = len(reconciler.groups.get(str(slot.group), ()))
    if slot.number >= count:
        raise Invalid(f"slot {slot} is not in this region's map; group {slot.group} has {count} slots")
    return slot


def _standing(found: SlotRecord | None, owner: str, target: str) -> str:
    """What has come of the same request already, in words; empty: it is another, or has come to nothing."""
    if found is not None and found.phase != "settled":
        return f"is on its way to {target} already (move {max(1, found.move)})" if found.target == target else ""
    return f"is {target}'s already" if (found.owner if found is not None else owner) == target else ""


def _check_share(reconciler: SlotMapReconciler, asked: MoveRequest) -> None:
    total = sum(map(len, reconciler.groups.values()))
    if not asked.slots or len(asked.slots) > _SLOTS_MAX or len(set(asked.slots)) < len(asked.slots):
        raise Invalid(f"{len(asked.slots)} slots to move; name 1 to {_SLOTS_MAX}, each once")
    if len(asked.slots) > total * CHANGED_SHARE_MAX and not asked.bulk:
        raise Invalid(
            f"{len(asked.slots)} of {total} slots is more than a fifth, and edges refuse a map that changes so much at"
            " once: name fewer slots at a time, or allow it: eisbach cells move with --bulk"
        )


def _check_group(reconciler: SlotMapReconciler, slot: Slot, target: str) -> None:
    """Groups have cells of their own."""
    served = {group for group, owners in reconciler.groups.items() if target in owners}
    if served - {str(slot.group)}:
        raise Invalid(f"cell {target[:40]!r} serves {sorted(served)}; slots of {slot.group} need a cell of their own")
