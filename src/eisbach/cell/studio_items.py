"""How the studio keeps its documents: items of the slot that their key falls in, each write with its events.

``pk`` is ``{kind}/{id}``; the documents of a kind are listed by an index item of their own (``index/{kind}``), written
before the document, so that a crash between leaves an index entry without a document, which lists skip.
May not know: what the documents mean.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from eisbach.cell.routes import Call, Handler, Route
from eisbach.hub.claim_check import ClaimChecks
from eisbach.hub.events import BUILT_IN
from eisbach.kernel.errors import Corrupt, Overloaded, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.limits import MIB
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import STUDIO_GROUP, Slot, slot_of
from eisbach.kernel.versions import Version
from eisbach.ports.store import IdempotencyKey, Item, ItemKey, Receipt, Store, Transaction, Write

__all__ = ["Decision", "Found", "StudioItems", "optional_key", "studio_route"]

T = TypeVar("T")
D = TypeVar("D", bound=msgspec.Struct)

_TRIES: Final = 16
LIST_MAX: Final = 1000


class Found(NamedTuple, Generic[D]):
    """A document as it was read."""

    sk: str
    value: D
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One transaction in the slot of ``pk``."""

    pk: str
    reads: Mapping[str, Version | None] = field(default_factory=dict)
    """sk -> what was read."""
    changes: Mapping[str, msgspec.Struct | None] = field(default_factory=dict)
    """sk -> document, None to delete."""
    events: Sequence[EventDraft] = ()
    """The first ones ride on the ops of the changes, in order."""
    key: str | None = None
    answer: bytes = b""


class StudioItems:
    """The studio's part of a store."""

    def __init__(self, store: Store, *, slot_count: int, claims: ClaimChecks) -> None:
        """``slot_count``: of the studio's group, fixed for life; ``claims``: where payloads above 64 KiB go."""
        self._store, self._slot_count, self._claims = store, slot_count, claims

    @property
    def region(self) -> str:
        """Where this studio stands."""
        return self._store.region

    def slot(self, pk: str) -> Slot:
        """Where ``pk`` lives."""
        return slot_of(pk, STUDIO_GROUP, self._slot_count)

    async def read(self, pk: str, sk: str, kind: type[D]) -> Found[D] | None:
        """A document, None when absent.

        Raises:
            Corrupt: it is there and is not a ``kind``.
        """
        item = await self._store.read(self.slot(pk), ItemKey(pk, sk))
        return None if item is None else _decoded(item, kind)

    async def page(
        self, pk: str, prefix: str, kind: type[D], *, after: str | None = None, limit: int = LIST_MAX
    ) -> list[Found[D]]:
        """Documents of ``pk`` by sk, one page."""
        items = await self._store.query(self.slot(pk), pk, prefix, after=after, limit=limit)
        return [_decoded(item, kind) for item in items]

    async def indexed(self, kind: str) -> list[str]:
        """Every id that ``index`` was told, sorted; at most 100,000."""
        ids: list[str] = []
        pk = f"index/{kind}"
        while len(ids) < 100_000:
            page = await self._store.query(self.slot(pk), pk, after=ids[-1] if ids else None, limit=LIST_MAX)
            ids += [item.key.sk for item in page]
            if len(page) < LIST_MAX:
                break
        return ids

    async def index(self, kind: str, identity: str) -> None:
        """Have ``identity`` listed; call it before its document is written."""
        pk = f"index/{kind}"
        if await self._store.read(self.slot(pk), ItemKey(pk, identity)) is None:
            await self._transact(pk, [Write(ItemChange(pk, identity, b"{}"))])

    async def write(self, decision: Decision) -> Receipt:
        """Write it.

        Raises:
            VersionConflict: something read has changed; decide again (``settled`` does).
            Invalid: an event is of no known type or does not fit it; nothing was written.
            Unavailable: also when the blob store refused a payload above 64 KiB.
        """
        pk = decision.pk
        changes = [
            ItemChange(pk, sk, None if value is None else msgspec.json.encode(value))
            for sk, value in decision.changes.items()
        ]
        for event in decision.events:
            BUILT_IN.check(event)
        # The blob first: an event whose payload is nowhere would be a dead letter in every spoke.
        events = [await self._claims.check_in(event) for event in decision.events]
        writes = [Write(change, events.pop(0) if events else None) for change in changes]
        writes += [Write(None, event) for event in events]
        reads = {ItemKey(pk, sk): version for sk, version in decision.reads.items()}
        return await self._transact(pk, writes, reads=reads, key=decision.key, answer=decision.answer)

    async def settled(self, decide: Callable[[], Awaitable[T]]) -> T:
        """Read, decide and write again until nobody was faster.

        Raises:
            Overloaded: sixteen times somebody was.
        """
        for _ in range(_TRIES):
            try:
                return await decide()
            except VersionConflict:
                continue
        raise Overloaded(f"the document was changed by others {_TRIES} times in a row; try again")

    async def _transact(
        self,
        pk: str,
        writes: Sequence[Write],
        *,
        reads: Mapping[ItemKey, Version | None] | None = None,
        key: str | None = None,
        answer: bytes = b"",
    ) -> Receipt:
        return await self._store.transact(
            Transaction(
                slot=self.slot(pk),
                reads=reads or {},
                writes=writes,
                key=None if key is None else IdempotencyKey(f"studio:{pk}", key),
                answer=answer,
            )
        )


def optional_key(call: Call) -> str | None:
    """The call's idempotency key, when it has one.

    Raises:
        Invalid: malformed.
    """
    return call.idempotency_key() if b"idempotency-key" in call.headers else None


def studio_route(
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    *,
    body: type[msgspec.Struct] | None = None,
    status: int = 200,
) -> Route:
    """A call for people and spokes, none for viewers."""
    return Route(
        method=method,
        path=f"/studio/{path}",
        handler=handler,
        summary=summary,
        body=body,
        status=status,
        importance="degraded",
        caller="service",
        keyed=method == "POST",
        body_bytes_max=4 * MIB,
        listed=False,
    )


def _decoded(item: Item, kind: type[D]) -> Found[D]:
    try:
        return Found(item.key.sk, msgspec.json.decode(item.value, type=kind), item.version)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"studio item {item.key.pk} {item.key.sk} is not a {kind.__name__}: {error}") from error
