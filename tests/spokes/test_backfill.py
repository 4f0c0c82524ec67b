"""Backfill: a new spoke is told of what the hub no longer holds, once, in pages, not faster than asked."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from studio_desk import Desk

from eisbach.cell.studio_snapshot import document_of
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.authoring import spoke
from eisbach.hub.backfill import BackfillWish
from eisbach.hub.events import AssetCopied, AssetReady, ChannelUpserted, TitlePublished
from eisbach.hub.host import SpokeHost
from eisbach.hub.relay import Relay
from eisbach.hub.runner import Surroundings
from eisbach.kernel.errors import Invalid, NotFound
from eisbach.kernel.events import Event
from eisbach.ports.event_log import Envelope
from eisbach.ports.spoke import Effects
from eisbach.testing.event_log_promises import an_event
from eisbach.testing.manual_clock import ManualClock, settle

TITLE = {"revision": 0, "names": {"en": "Wave"}, "asset": "wave", "rights": [{"markets": ["de"]}]}
READY = {"id": "wave", "duration_ms": 4000, "tracks": [], "files_sha256": "ab" * 32}
CHANNEL = {
    "id": "demo", "revision": 0, "number": 1, "names": {"en": "Demo"}, "markets": ["de"], "start_ms": 2000,
    "loop": [{"title": "wave", "asset": "wave", "duration_ms": 4000}],
}  # fmt: skip


class DeskSnapshots:
    """``Snapshots`` over the studio's real route."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.page_max = 500

    async def snapshot(self, *, after: str, limit: int) -> tuple[Sequence[Event], str]:
        page = await self._desk.ask("GET", f"/studio/snapshot?after={after}&limit={min(limit, self.page_max)}")
        events = msgspec.json.decode(msgspec.json.encode(page["events"]), type=list[Event[msgspec.Raw]])
        return events, page["after"]

    def document(self, event: Event) -> str:
        return document_of(event)


class Old:
    """A studio whose documents are older than the hub, and a spoke that is new."""

    def __init__(self, desk: Desk, folder: Path, clock: ManualClock) -> None:
        self.desk, self.clock, self.snapshots = desk, clock, DeskSnapshots(desk)
        self.told: list[str] = []
        self.at: list[int] = []
        self.log = SqliteEventLog(folder / "hub.db", clock=clock)
        self.store = SqliteSpokeStore(folder / "spokes.db")
        around = Surroundings(region="eu-central", log=self.log, store=self.store, clock=clock, rng=random.Random(1))

        @spoke("new", on=TitlePublished, scope="everywhere")
        async def new(event: Event[TitlePublished], effects: Effects) -> None:
            self.told.append(event.data.id)
            self.at.append(clock.monotonic_ms())
            effects.command(f"/studio/titles/{event.data.id}/publish", {})

        self.keys: list[str] = []
        self.since = 0
        self.host = SpokeHost([new], around, transport=self, snapshots=self.snapshots)

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        self.keys.append(key)

    async def publish(self, *names: str) -> None:
        for name in names:
            await self.desk.ask("PUT", f"/studio/titles/{name}", {**TITLE, "id": name})
            await self.desk.ask("POST", f"/studio/titles/{name}/publish", {"asset": "wave"})

    async def relay(self) -> None:
        """What is written from now on reaches the hub, and what was written too."""
        if self.since:
            event = an_event(1)
            envelope = Envelope(source="eu-central/studio", first_lsn=1, last_lsn=self.since, events=[event])
            await self.log.append(envelope, expected=0)  # the relay's cursor
        relay = Relay(self.desk.store, self.log, source="eu-central/studio", clock=self.clock, rng=random.Random(1))
        task = asyncio.create_task(relay.run())
        await settle(400)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def forget_before_now(self) -> None:
        """What was written before is nothing that the relay still tells: the hub's seven days are over."""
        self.since = (await self.desk.store.log_after(0, limit=1000))[-1].lsn
        await self.desk.store.is_unpublished_at(0, ours=True)

    async def all_pages(self, **wish: object) -> list[int]:
        after, chosen = "", []
        while True:
            count = await self.host.backfill("new", BackfillWish(after=after, **wish))
            chosen.append(count.chosen)
            if not (after := count.after):
                return chosen


@pytest.fixture
async def old(desk: Desk, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Old]:
    old = Old(desk, tmp_path, clock)
    await old.log.open()
    await old.store.open()
    running = asyncio.create_task(old.host.run())
    await settle()
    yield old
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await old.store.aclose()
    await old.log.aclose()


async def test_a_dry_run_counts_and_tells_nothing(old: Old) -> None:
    await old.publish("a", "b", "c")
    await old.desk.ask("PUT", "/studio/channels/demo", CHANNEL)

    count = await old.host.backfill("new", BackfillWish())
    await old.clock.advance(60)

    assert (count.chosen, count.read, count.in_hub, count.after) == (3, 4, 0, "")
    assert old.told == []


async def test_every_document_is_told_once_and_a_repeat_keeps_its_keys(old: Old) -> None:
    await old.publish("a", "b", "c")

    for _ in range(2):
        await old.all_pages(dry_run=False)
        await old.clock.advance(60)

    assert old.told == ["a", "b", "c"] * 2
    assert len(old.keys) == 6
    assert len(set(old.keys)) == 3, "so the studio does it once"


async def test_what_the_hub_holds_is_left_to_the_hub(old: Old) -> None:
    await old.publish("a", "b")
    await old.relay()
    await old.clock.advance(1)
    before = list(old.told)

    count = await old.host.backfill("new", BackfillWish(dry_run=False))
    await old.clock.advance(60)

    assert (count.chosen, count.in_hub) == (0, 2)
    assert sorted(old.told) == sorted(before) == ["a", "b"]


async def test_what_the_hub_holds_of_another_type_or_of_a_namesake_hides_nothing(old: Old) -> None:
    """The spoke reads what is published only: an edit that the hub holds is none that it gets, nor is an asset's event."""
    await old.publish("a", "wave")
    await old.forget_before_now()
    await old.desk.ask("PUT", "/studio/titles/a", {**TITLE, "id": "a", "names": {"en": "New"}, "state": "published"})
    await old.desk.ask("POST", "/studio/assets/wave/ready", READY)
    await old.relay()

    count = await old.host.backfill("new", BackfillWish(dry_run=False))
    await old.clock.advance(60)

    assert (count.chosen, count.in_hub) == (2, 0)
    assert sorted(old.told) == ["a", "wave"]


async def test_a_copy_in_the_hub_hides_neither_its_asset_nor_the_copy_of_another_region(old: Old) -> None:
    told: list[str] = []

    @spoke("placed", on=[AssetReady.event_type, AssetCopied.event_type], scope="everywhere")
    async def placed(event: Event, effects: Effects) -> None:
        region = msgspec.json.decode(event.data).get("region", "here")
        told.append(f"{event.type.split('.')[3]} {region}")

    await old.desk.ask("POST", "/studio/assets/wave/ready", READY)
    copy = {"files_sha256": READY["files_sha256"]}
    await old.desk.ask("POST", "/studio/assets/wave/at/eu-west", copy)
    await old.forget_before_now()
    await old.desk.ask("POST", "/studio/assets/wave/at/us-east", copy)
    await old.relay()
    await old.host.replace([placed])
    await settle()

    count = await old.host.backfill("placed", BackfillWish(dry_run=False))
    await old.clock.advance(60)

    assert (count.chosen, count.in_hub) == (3, 1)
    assert sorted(told) == ["copied eu-central", "copied eu-west", "copied us-east", "ready here"]


async def test_pages_follow_each_other_to_the_end(old: Old) -> None:
    await old.publish(*[f"t{n:02d}" for n in range(10)])
    old.snapshots.page_max = 3

    chosen = await old.all_pages(dry_run=False)
    await old.clock.advance(60)

    assert chosen == [3, 3, 3, 1]
    assert sorted(old.told) == [f"t{n:02d}" for n in range(10)]


async def test_a_backfill_keeps_to_its_rate(old: Old) -> None:
    await old.publish(*[f"t{n}" for n in range(5)])

    await old.host.backfill("new", BackfillWish(rate=0.5, dry_run=False))
    await old.clock.advance(30)

    assert [round((b - a) / 1000) for a, b in zip(old.at, old.at[1:], strict=False)] == [2, 2, 2, 2]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "after=moon/x"])
async def test_a_parameter_that_is_none_is_refused(desk: Desk, query: str) -> None:
    with pytest.raises(Invalid):
        await desk.ask("GET", f"/studio/snapshot?{query}")


async def test_rates_and_spokes_that_are_none_are_refused(old: Old) -> None:
    with pytest.raises(Invalid, match=r"0\.1 to 1000"):
        await old.host.backfill("new", BackfillWish(rate=0))
    with pytest.raises(NotFound, match="there are new"):
        await old.host.backfill("other", BackfillWish())


async def test_every_state_of_a_document_is_told_by_its_own_type(old: Old) -> None:
    await old.desk.ask("PUT", "/studio/titles/draft", {**TITLE, "id": "draft"})
    await old.publish("shown")
    await old.desk.ask("PUT", "/studio/channels/demo", CHANNEL)
    await old.desk.ask("POST", "/studio/assets/wave/ready", READY)
    await old.desk.ask("POST", "/studio/assets/wave/at/eu-west", {"files_sha256": READY["files_sha256"]})
    made = await old.desk.ask("POST", "/studio/uploads", {"name": "x.mp4", "title": "bad"})
    await old.desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"x")
    await old.desk.ask("POST", f"/studio/assets/{made['asset']}/reject", {"reason": "text"})

    events, _ = await old.snapshots.snapshot(after="", limit=500)

    assert {(event.type.removeprefix("tv."), event.subject) for event in events} == {
        ("package.asset.ready.v1", "wave"),
        ("package.asset.copied.v1", "wave"),
        ("ingest.asset.rejected.v1", made["asset"]),
        ("catalog.channel.upserted.v1", "demo"),
        ("catalog.title.upserted.v1", "draft"),
        ("catalog.title.published.v1", "shown"),
        ("catalog.title.upserted.v1", "bad"),
    }
    channel = next(event for event in events if event.subject == "demo")
    assert msgspec.json.decode(channel.data, type=ChannelUpserted).number == 1
