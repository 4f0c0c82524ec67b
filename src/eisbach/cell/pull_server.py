"""The sender's side of twins: answers other regions' questions for ops, digests and whole slots.

Promises: a region is given only what may lie there (P19); a question's vectors are noted as acknowledgements; a slot
that cannot be answered for holds up no other. May not know: who asks, beyond its region's name.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.ownership import Ownership
from eisbach.cell.pull_messages import (
    ANEW,
    ANSWER_BYTES_MAX,
    ANSWER_OPS_MAX,
    AT_MOST,
    OP_BYTES,
    Batch,
    PullAnswer,
    PullRequest,
    SlotDigests,
    last_mark,
    weight,
)
from eisbach.cell.routes import Answer, Call, Route
from eisbach.cell.twin_digests import digests_now
from eisbach.cell.within import within
from eisbach.kernel.errors import EisbachError, Invalid
from eisbach.kernel.limits import PULL_OPS_MAX
from eisbach.kernel.ops import Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.clock import Clock
from eisbach.ports.moves import COPY_BYTES_MAX, KEYS_END, CopyCursor, SlotChunk
from eisbach.ports.store import Store

__all__ = ["PullServer"]

_SLICE_MS: Final = 250
"""A waiting sender looks up this often even when nothing is committed."""
_SLOTS_MAX: Final = 10_000
_DIGESTS_MAX: Final = 8
_NOTHING: Final = Mark(0, 0)
_FEW: Final = 128
"""Ops of an answer after which the next may wait: who gets more is behind."""


class Asker(Protocol):
    """Who takes in what another region gives: a ``Puller``."""

    def begin_anew(self, slots: Sequence[str], origin: str) -> Mapping[str, list[Op]]:
        """What a region gave before and is not here yet is not taken any more; slot -> ops that are not on disk yet."""
        ...


class PullServer:
    """The sender's side, one a store."""

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        *,
        clock: Clock,
        acknowledged: Acknowledged | None = None,
        may_send: Callable[[str, Slot], bool] = lambda _region, _slot: True,
        export: Callable[[Slot, CopyCursor, int], Awaitable[SlotChunk]] | None = None,
    ) -> None:
        """Compose.

        Args:
            store: whose log.
            ownership: which slots are answered for.
            clock: of waits.
            acknowledged: is told what askers hold.
            may_send: whether a region may hold a slot's data.
            export: a piece of a slot of so many bytes, for a cell that is made anew; None: only ops are given.
        """
        self._may_send, self._export = may_send, export
        self._store, self._ownership, self._clock, self._acknowledged = store, ownership, clock, acknowledged
        self.company_ms = 0
        """From one answer with ops to the next of a region, where each is a commit there that is billed; not while a
        write waits for that region to hold it, nor when it is far behind."""
        self.askers: Sequence[Asker] = ()
        """Of this store."""
        self.doubt: Callable[[], str] = lambda: ""
        """See ``PullAnswer``."""
        self._told_ms: dict[str, int] = {}
        """Region -> when it was last given ops, and few."""
        self._turn = 0
        self._stopping = False

    def stop(self) -> None:
        """Answer everybody who waits, with nothing, within a quarter of a second; so that a stop need not wait."""
        self._stopping = True

    def routes(self) -> list[Route]:
        """``POST /peer/cells/C/pull`` as the peer door passes it on, MessagePack both ways."""
        return [
            Route(
                method="POST", path=path, handler=self._call, importance="critical", caller="peer",
                summary="Ops that the asker's vectors do not cover", body_bytes_max=4 * 1024 * 1024, listed=False,
            )
            for path in ("/peer/cells/{cell}/pull", "/peer/pull")
        ]  # fmt: skip

    async def _call(self, call: Call) -> Answer:
        try:
            request = msgspec.msgpack.decode(call.raw, type=PullRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"not a pull request: {error}") from error
        if call.header(ANEW.encode()) == "1":
            request = msgspec.structs.replace(request, anew=True)
        if (at_most := call.header(AT_MOST.encode())) is not None:
            request = msgspec.structs.replace(request, bytes_max=_number(at_most))
        body = msgspec.msgpack.encode(await self.answer(request))
        return Answer(200, body, content_type="application/msgpack")

    async def answer(self, request: PullRequest) -> PullAnswer:
        """What the asker lacks; waits up to ``wait_ms`` for news when there is none.

        Raises:
            Invalid: out of bounds, or not slots of this platform.
        """
        if not 1 <= request.limit <= PULL_OPS_MAX or len(request.slots) > _SLOTS_MAX or request.wait_ms > 30_000:
            raise Invalid(
                f"pull of {len(request.slots)} slots, limit {request.limit}, wait {request.wait_ms} ms: too much"
            )
        slots = {text: self._ownership.slot(text) for text in request.slots}
        owned = set(self._ownership.followed())
        moved = {t: self._ownership.owner(slot) or "" for t, slot in slots.items() if slot not in owned}
        asked = [(t, s) for t, s in slots.items() if t not in moved and self._may_send(request.region, s)]
        barred = dict.fromkeys(request.slots.keys() - moved.keys() - {t for t, _ in asked}, "residency")
        if self._acknowledged is not None:
            self._acknowledged.note(request.region, {t: request.slots[t] for t, _ in asked})
        in_hand = self._in_hand(request.region, [text for text, _ in asked]) if request.anew else {}
        digests, copies = await self._digests(request), await self._copies(request)
        began = self._clock.monotonic_ms()
        until = began + request.wait_ms
        await self._keep_company(request, until)
        while True:
            lsn = self._store.statistics().last_lsn
            batches, failed, full = await self._batches(request, asked)
            batches, failed = batches | _to_come(request, batches, in_hand), failed | barred
            now = self._clock.monotonic_ms()
            if batches:
                few = sum(len(batch.ops) for batch in batches.values()) < _FEW
                self._told_ms[request.region] = now if few else now - self.company_ms
            if batches or moved or failed or now >= until or self._stopping:
                return PullAnswer(
                    batches=batches,
                    moved=moved,
                    wall_ms=self._clock.wall_ms(),
                    waited_ms=now - began,
                    failed=failed,
                    digests=digests,
                    copies=copies,
                    full=full,
                    doubt=self.doubt(),
                )
            try:
                async with asyncio.timeout(min(until - now, _SLICE_MS) / 1000):
                    await self._store.wait_for_commit(lsn)
            except TimeoutError:
                continue  # look again: for the end of the wait, for a stop, for ops that a move brought

    async def _keep_company(self, request: PullRequest, until_ms: int) -> None:
        """Wait for more ops to give, if some were given a moment ago."""
        due_ms = self._told_ms.get(request.region, -self.company_ms) + self.company_ms
        left_ms = min(due_ms, until_ms) - self._clock.monotonic_ms()
        if left_ms <= 0 or self._acknowledged is None or self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            await within(self._clock, left_ms / 1000, self._acknowledged.until_awaited())

    def _in_hand(self, region: str, slots: Sequence[str]) -> dict[str, list[Op]]:
        """What was taken in of the region's own log and is not on disk yet, and what came with it."""
        found: dict[str, list[Op]] = {}
        for asker in self.askers:
            for text, ops in asker.begin_anew(slots, region).items():
                if text in slots and last_mark(ops, region) > last_mark(found.get(text, ()), region):
                    found[text] = ops
        return found

    async def _digests(self, request: PullRequest) -> dict[str, SlotDigests]:
        if len(request.digests) > _DIGESTS_MAX:
            raise Invalid(f"digests of {len(request.digests)} slots; ask for at most {_DIGESTS_MAX} at once")
        found: dict[str, SlotDigests] = {}
        owned = set(self._ownership.followed())
        for text in request.digests:
            slot = self._ownership.slot(text)
            if slot in owned and self._may_send(request.region, slot):
                digests = await digests_now(self._store, slot)
                if digests is not None:
                    found[text] = digests
        return found

    async def _copies(self, request: PullRequest) -> dict[str, SlotChunk]:
        """Idempotency keys stay here: their marks are this region's, and the other one gives answers of its own."""
        if len(request.copies) > 1:
            raise Invalid(f"copies of {len(request.copies)} slots; ask for one at a time")
        found: dict[str, SlotChunk] = {}
        for text, cursor in request.copies.items():
            slot = self._ownership.slot(text)
            if self._export is not None and slot in self._ownership.followed() and self._may_send(request.region, slot):
                bytes_max = min(request.bytes_max or COPY_BYTES_MAX, COPY_BYTES_MAX)
                found[text] = await self._export(slot, msgspec.structs.replace(cursor, key=KEYS_END), bytes_max)
        return found

    async def _batches(
        self, request: PullRequest, asked: Sequence[tuple[str, Slot]]
    ) -> tuple[dict[str, Batch], dict[str, str], bool]:
        """Slot -> what there is, slot -> what is wrong with it, and whether the answer is full."""
        batches: dict[str, Batch] = {}
        failed: dict[str, str] = {}
        left, room = ANSWER_OPS_MAX, min(request.bytes_max or ANSWER_BYTES_MAX, ANSWER_BYTES_MAX)
        # Begin elsewhere each time: under steady writes the first slots would otherwise use up every answer.
        self._turn += 1
        first = self._turn % max(1, len(asked))
        for text, slot in (*asked[first:], *asked[:first]):
            if left <= 0 or room <= 0:
                return batches, failed, True
            limit = min(left, request.limit, 1 + room // OP_BYTES)
            try:
                batch = await self._store.ops_after(slot, request.slots[text], limit=limit)
            except EisbachError as error:
                failed[text] = error.code  # e.g. a gap: that slot needs a snapshot, the others do not
                continue
            if batch.ops:
                ops, size = _within(batch.ops, room)
                batches[text] = Batch(ops, dict(batch.heads))
                left -= len(ops)
                room -= size
                await asyncio.sleep(0)  # viewers first: a large answer takes tens of milliseconds to collect
        return batches, failed, left <= 0 or room <= 0


def _within(ops: Sequence[Op], room: int) -> tuple[list[Op], int]:
    """The first transactions up to that which fills the room, at least one, and their bytes."""
    found: list[Op] = []
    size = 0
    for op in ops:
        if size >= room and not found[-1].more:
            break
        found.append(op)
        size += weight(op)
    return found, size


def _number(text: str) -> int:
    """Of a header; nonsense asks for nothing in particular."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0


def _to_come(
    request: PullRequest, batches: Mapping[str, Batch], in_hand: Mapping[str, Sequence[Op]]
) -> dict[str, Batch]:
    """Slots of which more of the asker's own log is in hand than is on disk here; its ops when the disk gives none."""
    found: dict[str, Batch] = {}
    for text, ops in in_hand.items():
        batch, vector = batches.get(text), request.slots[text]
        head = last_mark(ops, request.region)
        if batch is None and head > vector.get(request.region, _NOTHING):
            news = [op for op in ops if Mark(op.epoch, op.seq) > vector.get(op.origin, _NOTHING)]
            found[text] = Batch(news, {request.region: head})
        elif batch is not None and head > batch.heads.get(request.region, _NOTHING):
            found[text] = Batch(batch.ops, {**batch.heads, request.region: head})
    return found
