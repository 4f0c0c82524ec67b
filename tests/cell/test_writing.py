"""A cell refuses to write an event that its readers could not read; the op and its item are not written either."""

from pathlib import Path

import pytest

from eisbach.cell.ownership import Ownership
from eisbach.cell.studio_items import Decision, StudioItems
from eisbach.cell.writing import Writer
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.store import open_store
from eisbach.hub.claim_check import ClaimChecks
from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.ports.store import ItemKey, Lease, Transaction, Write

SLOT = Slot.parse("eu/de/main/0")
BAD = EventDraft("tv.account.created.v1", "a-1", b'{"account":"a-1","kind":"anonymous","market":7}')


async def test_a_viewers_call_writes_no_event_that_does_not_fit(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.db", region="eu-central", clock=SystemClock()) as store:
        await store.set_lease(SLOT, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        ownership = Ownership(store, cell="c1", groups={"eu/de/main": 1}, owners={"c1": {"eu/de/main": [0]}})
        writer = Writer(store, ownership, clock=SystemClock())

        with pytest.raises(Invalid, match=r"\$\.market"):
            await writer.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("a-1", "account", b"{}"), BAD)]))

        assert await store.read(SLOT, ItemKey("a-1", "account")) is None
        assert store.statistics().last_lsn == 0


async def test_the_studio_writes_no_event_that_does_not_fit(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.db", region="eu-central", clock=SystemClock()) as store:
        claims = ClaimChecks(FileBlobs(tmp_path / "blobs"), region="eu-central", clock=SystemClock())
        items = StudioItems(store, slot_count=4, claims=claims)
        await store.set_lease(items.slot("title/t"), expected=None, lease=Lease(epoch=1, state="active", seq=0))

        with pytest.raises(Invalid, match="not registered"):
            await items.write(Decision(pk="title/t", events=[EventDraft("tv.unknown.v1", "t", b"{}")]))

        assert store.statistics().last_lsn == 0
