"""What belongs to a viewer: positions, watch list, the private rails, history.

Every write is one item, durable when answered, with the position of the write in the answer. Setting an item is
idempotent by itself, so these calls take no key. May not know: playback, tokens.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from eisbach.cell.erasing import erase_account
from eisbach.cell.routes import Answer, Call, Route, json_answer, no_content
from eisbach.cell.streams import progress_write
from eisbach.cell.surface import PutProgress, Rails, Resume, SavedTitle
from eisbach.cell.writing import Writer, Written
from eisbach.domain.catalog import Card, Catalogue, title_card
from eisbach.domain.progress import (
    PROGRESS_PREFIX,
    WATCHLIST_PREFIX,
    Position,
    Saved,
    WatchlistChanged,
    position,
    resume_rail,
    watchlist_rail,
)
from eisbach.kernel.errors import NotFound
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ids import parse_id
from eisbach.kernel.ops import ItemChange
from eisbach.ports.clock import Clock
from eisbach.ports.store import ItemKey, Store, Transaction, Write

__all__ = ["MeCalls"]

_ITEMS_MAX: Final = 1000
_PRIVATE: Final = [("Cache-Control", "private, no-cache")]
"""Not ``max-age``: a viewer who has just saved a title must see it at once (read-your-writes)."""
_DURABILITY: Final = {reached: (("Eisbach-Durability", reached),) for reached in ("local", "peer")}
T = TypeVar("T")


class MeCalls:
    """One a process."""

    def __init__(self, store: Store, writer: Writer, *, catalogue: Callable[[], Catalogue], clock: Clock) -> None:
        self._store, self._writer, self._catalogue, self._clock = store, writer, catalogue, clock

    def routes(self) -> Sequence[Route]:
        """This feature's part of the table."""
        return [
            Route(
                method="PUT", path="/v1/me/progress/{title}", handler=self.put_progress, importance="degraded",
                body=PutProgress, status=204, summary="Where the viewer is in a title",
            ),
            Route(
                method="GET", path="/v1/me/progress/{title}", handler=self.get_progress, importance="degraded",
                answer=Resume, summary="Where the viewer was in a title",
            ),
            Route(
                method="GET", path="/v1/me/rails", handler=self.rails, importance="degraded", answer=Rails,
                summary="Continue watching and the watch list",
            ),
            Route(
                method="PUT", path="/v1/me/watchlist/{title}", handler=self.save, importance="degraded", status=204,
                summary="Put a title on the watch list",
            ),
            Route(
                method="DELETE", path="/v1/me/watchlist/{title}", handler=self.unsave, importance="degraded",
                status=204, summary="Take a title off the watch list",
            ),
            Route(
                method="GET", path="/v1/me/history", handler=self.history, importance="best_effort",
                answer=list[Resume], summary="Every title begun, the latest first",
            ),
            Route(
                method="DELETE", path="/v1/me/history/{title}", handler=self.forget, importance="degraded",
                status=204, summary="Forget where the viewer was in a title",
            ),
            Route(
                method="DELETE", path="/v1/me", handler=self.erase, importance="degraded", status=204,
                summary="Erase the account and everything of it, for good",
            ),
        ]  # fmt: skip

    async def put_progress(self, call: Call) -> Answer:
        """Durable when answered. Any well-formed id: a catalogue that lags must not lose a viewer's place."""
        body: PutProgress = call.body
        who = call.identity
        title = parse_id(call.params["title"], what="title")
        found = position(title, pos_s=body.pos_s, dur_s=body.dur_s, at_ms=self._clock.wall_ms())
        write = progress_write(who.account, who.profile, found, who.market)
        return self._done(await self._writer.transact(Transaction(slot=call.slot, writes=(write,))))

    async def get_progress(self, call: Call) -> Answer:
        """One title's place; 404 when it was never begun."""
        who, title = call.identity, parse_id(call.params["title"], what="title")
        item = await self._store.read(call.slot, ItemKey(who.account, f"{PROGRESS_PREFIX}{who.profile}/{title}"))
        if item is None:
            raise NotFound(f"title {title!r} was never begun by this profile")
        return json_answer(_resume(msgspec.json.decode(item.value, type=Position), self._catalogue()), headers=_PRIVATE)

    async def save(self, call: Call) -> Answer:
        """Again is the same."""
        saved = Saved(title=self._title(call), added_ms=self._clock.wall_ms())
        return await self._watchlist(call, "added", msgspec.json.encode(saved))

    async def unsave(self, call: Call) -> Answer:
        """Also a title that is unknown by now, and one that was not on it."""
        return await self._watchlist(call, "removed", None)

    async def forget(self, call: Call) -> Answer:
        """Also a title that is unknown by now."""
        who = call.identity
        title = parse_id(call.params["title"], what="title")
        key = f"{PROGRESS_PREFIX}{who.profile}/{title}"
        return await self._write(call, Write(ItemChange(who.account, key, None)))

    async def erase(self, call: Call) -> Answer:
        """Durable when answered; again is the same. The account's rows go with it, here and at the twin."""
        who = call.identity
        written = await erase_account(self._writer, call.slot, who.account)
        if written is None:
            return no_content()
        return self._done(written)

    async def rails(self, call: Call) -> Answer:
        """Both lists, with the cards that this cell knows."""
        catalogue = self._catalogue()
        rails = Rails(
            resume=[_resume(p, catalogue) for p in resume_rail(await self._items(call, PROGRESS_PREFIX, Position))],
            watchlist=[
                SavedTitle(title=s.title, added_ms=s.added_ms, card=_card(s.title, catalogue))
                for s in watchlist_rail(await self._items(call, WATCHLIST_PREFIX, Saved))
            ],
        )
        return json_answer(rails, headers=_PRIVATE)

    async def history(self, call: Call) -> Answer:
        """At most 1000."""
        catalogue = self._catalogue()
        found = sorted(await self._items(call, PROGRESS_PREFIX, Position), key=lambda p: (-p.updated_ms, p.title))
        return json_answer([_resume(p, catalogue) for p in found], headers=_PRIVATE)

    async def _watchlist(self, call: Call, what: str, value: bytes | None) -> Answer:
        who, title = call.identity, parse_id(call.params["title"], what="title")
        data = WatchlistChanged(account=who.account, profile=who.profile, title=title)
        event = EventDraft(
            type=f"tv.watchlist.item.{what}.v1", subject=who.account, data=msgspec.json.encode(data), market=who.market
        )
        change = ItemChange(who.account, f"{WATCHLIST_PREFIX}{who.profile}/{title}", value)
        return await self._write(call, Write(change, event))

    async def _write(self, call: Call, write: Write) -> Answer:
        return self._done(await self._writer.transact(Transaction(slot=call.slot, writes=(write,))))

    def _done(self, written: Written) -> Answer:
        """It is on disk: where, and how far it reaches."""
        return Answer(204, b"", _DURABILITY[written.durability], position={self._store.region: written.receipt.mark})

    async def _items(self, call: Call, prefix: str, kind: type[T]) -> list[T]:
        who = call.identity
        found = await self._store.query(call.slot, who.account, f"{prefix}{who.profile}/", limit=_ITEMS_MAX)
        return [msgspec.json.decode(item.value, type=kind) for item in found]

    def _title(self, call: Call) -> str:
        title = call.params["title"]
        if title not in self._catalogue().titles:
            raise NotFound(f"there is no title {title[:64]!r}; see home")
        return title


def _card(title_id: str, catalogue: Catalogue) -> Card | None:
    title = catalogue.titles.get(title_id)
    return title_card(title, catalogue.assets.get(title.asset or "")) if title else None


def _resume(found: Position, catalogue: Catalogue) -> Resume:
    return Resume(
        title=found.title,
        pos_s=found.pos_s,
        dur_s=found.dur_s,
        updated_ms=found.updated_ms,
        done=found.done,
        card=_card(found.title, catalogue),
    )
