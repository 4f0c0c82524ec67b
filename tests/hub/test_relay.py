"""The relay: every event of a store reaches the log, whatever happens to either."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.hub import relay as relays
from eisbach.hub.envelopes import envelopes_of, event_of
from eisbach.hub.relay import Relay
from eisbach.kernel.errors import OutcomeUnknown, Unavailable
from eisbach.kernel.events import Event, EventDraft
from eisbach.kernel.limits import ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.event_log import Envelope, LastEnvelope, encode_envelope
from eisbach.ports.moves import CopyCursor
from eisbach.ports.store import Lease, LogEntry, Transaction, Write
from eisbach.testing.manual_clock import ManualClock, settle

SLOT = Slot.parse("eu/de/main/7")
TYPE = "tv.test.thing.happened.v1"


class Faulty:
    """A wrapper of the log that fails on demand, before or after the append took place."""

    def __init__(self, log: SqliteEventLog) -> None:
        self.log, self.down, self.lose_answers = log, False, 0
        self.foreign = 0
        """Another cell's envelope comes before every append of this many."""
        self.under_way = self.most_under_way = 0

    async def last(self, source: str) -> LastEnvelope:
        if self.down:
            raise Unavailable("the hub is down")
        return await self.log.last(source)

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        return await self._append(envelope, lambda: self.log.append(envelope, expected=expected))

    async def append_behind(self, envelope: Envelope, *, expected: int) -> int:
        return await self._append(envelope, lambda: self.log.append_behind(envelope, expected=expected))

    async def _append(self, envelope: Envelope, append: Callable[[], Awaitable[int]]) -> int:
        if self.down:
            raise Unavailable("the hub is down")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)  # as a network does: whoever comes next is under way too
            if self.foreign and envelope.first_lsn % self.foreign == 0:
                theirs = [msgspec.structs.replace(event, cell="c2") for event in envelope.events]
                other = msgspec.structs.replace(envelope, source="eu-central/c2", events=theirs)
                await self.log.append(other, expected=(await self.log.last("eu-central/c2")).sequence)
            sequence = await append()
        finally:
            self.under_way -= 1
        if self.lose_answers:
            self.lose_answers -= 1
            raise OutcomeUnknown("no answer")
        return sequence


class World:
    def __init__(self, store: SqliteStore, folder: Path, clock: ManualClock, at_once: int) -> None:
        self.at_once = at_once
        self.store, self.folder, self.clock = store, folder, clock
        self.log = Faulty(SqliteEventLog(folder / "hub.db", clock=clock))
        self._running: asyncio.Task[None] | None = None
        self._written = 0

    async def write(self, count: int) -> None:
        for _ in range(count):
            self._written += 1
            name = f"e{self._written}"
            write = Write(ItemChange("a", name, b"1"), EventDraft(TYPE, name, b'{"n":%d}' % self._written))
            await self.store.transact(Transaction(slot=SLOT, writes=[write]))

    async def start(self) -> Relay:
        relay = Relay(
            self.store,
            self.log,
            source="eu-central/c1",
            clock=self.clock,
            rng=random.Random(5),
            pipelined=self.log if self.at_once > 1 else None,
        )
        self._running = asyncio.create_task(relay.run())
        await self.idle()
        return relay

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def idle(self, seconds: float = 0) -> None:
        await self.clock.advance(seconds)
        await settle(300)

    async def wipe_hub(self) -> None:
        await self.log.log.aclose()
        for path in self.folder.glob("hub.db*"):
            path.unlink()
        await self.log.log.open()

    async def published(self) -> list[Event]:
        subscription = await self.log.log.subscribe(f"reader-{random.Random().getrandbits(32)}")
        events: list[Event] = []

        async def read() -> None:
            async for delivery in subscription:
                events.extend(delivery.envelope.events)
                await delivery.ack()

        reading = asyncio.create_task(read())
        await settle(400)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return events

    async def numbers(self) -> list[int]:
        return [msgspec.json.decode(event.data)["n"] for event in await self.published()]


@pytest.fixture(params=[1, 8], ids=["one by one", "eight at once"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    clock = ManualClock()
    async with open_store(tmp_path / "store.db", region="eu-central", clock=clock, disk=inline) as store:
        await store.set_lease(SLOT, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        world = World(store, tmp_path, clock, request.param)
        await world.log.log.open()
        yield world
        await world.stop()
        await world.log.log.aclose()


def test_an_event_names_the_epoch_before_where_its_own_has_none() -> None:
    draft = EventDraft("tv.test.thing.happened.v1", "thing", b"{}", after=Mark(3, 9))

    event = event_of(Op("eu/de/main/7", "eu-central", 4, 1, 1, None, draft), cell="c1")

    assert event is not None
    assert (event.prev, event.after) == (0, "3:9")


async def test_events_are_published_in_order_with_their_attributes(world: World) -> None:
    relay = await world.start()

    await world.write(3)
    await world.idle()

    first, second, _ = await world.published()
    assert (first.id, second.id) == ("eu/de/main/7:eu-central:1:1", "eu/de/main/7:eu-central:1:2")
    assert (first.source, first.cell, first.prev, second.prev) == ("//eu-central/test", "c1", 0, 1)
    assert first.time == "2027-01-15T08:00:00.000Z"
    assert (relay.statistics().events, relay.statistics().behind) == (3, 0)


async def test_the_cursor_never_runs_ahead_of_what_was_published(world: World) -> None:
    """Each commit is published before the next one is made, so that a cursor too far on would skip it."""
    await world.start()

    for _ in range(8):
        await world.write(1)
        await world.idle(0.02)

    assert await world.numbers() == list(range(1, 9))


async def test_an_idle_relay_publishes_at_once_and_a_busy_one_waits_10_ms_for_company(world: World) -> None:
    relay = await world.start()
    await world.write(1)
    await world.idle()
    at_once = relay.statistics().envelopes

    for _ in range(5):
        await world.write(1)
        await world.idle()
    waiting = relay.statistics().envelopes
    await world.idle(0.02)

    assert (at_once, waiting, relay.statistics().envelopes) == (1, 1, 2)
    assert await world.numbers() == list(range(1, 7))


async def test_a_backlog_is_read_on_while_the_hub_writes_what_is_under_way(world: World) -> None:
    """The hub answers the eighth envelope only when the relay has read what comes after it."""
    if world.at_once == 1:
        pytest.skip("one by one, nothing is under way while it reads")
    await world.write(640)
    read, append, read_on = world.store.log_after, world.log.append_behind, asyncio.Event()

    async def reading(after_lsn: int, *, limit: int) -> list[LogEntry]:
        entries = list(await read(after_lsn, limit=limit))
        if after_lsn >= 512:
            read_on.set()
        return entries

    async def waiting(envelope: Envelope, *, expected: int) -> int:
        if envelope.first_lsn == 449:
            await read_on.wait()
        return await append(envelope, expected=expected)

    world.store.log_after, world.log.append_behind = reading, waiting  # type: ignore[method-assign]
    await world.start()
    await world.idle(0.02)

    assert await world.numbers() == list(range(1, 641))


async def test_what_was_written_while_the_relay_was_away_is_published_once(world: World) -> None:
    await world.start()
    await world.write(5)
    await world.idle()
    await world.stop()

    await world.write(200)
    await world.start()

    assert await world.numbers() == list(range(1, 206))


async def test_events_are_kept_while_the_hub_is_down(world: World) -> None:
    relay = await world.start()
    world.log.down = True
    await world.write(100)
    await world.idle(30)
    before = (await world.numbers(), relay.statistics().failures_in_a_row > 0)

    world.log.down = False
    await world.idle(5)

    assert before == ([], True)
    assert await world.numbers() == list(range(1, 101))
    assert relay.statistics().failures_in_a_row == 0


async def test_a_lost_answer_loses_no_envelope_and_doubles_none_of_those_told_one_by_one(world: World) -> None:
    await world.start()
    await world.write(1)
    await world.idle()
    world.log.lose_answers = 3

    await world.write(10)
    await world.idle(10)

    numbers = await world.numbers()
    assert list(dict.fromkeys(numbers)) == list(range(1, 12))
    if world.at_once == 1:
        assert len(numbers) == 11  # of several under way, those behind one that nobody heard of are told again


async def test_when_the_answer_to_a_stores_first_append_is_lost_it_is_told_twice_rather_than_not(world: World) -> None:
    """Spokes know what they are told twice; that the last envelope was its own the store could not be sure of."""
    await world.start()
    world.log.lose_answers = 1

    await world.write(3)
    await world.idle(10)
    await world.write(1)
    await world.idle(10)

    numbers = await world.numbers()
    assert list(dict.fromkeys(numbers)) == [1, 2, 3, 4]
    assert numbers.count(4) == 1, "by then it is known"


async def test_a_relay_whose_store_is_closing_waits_before_it_looks_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed store answers who waits for a commit at once (seed 402274: a million times)."""
    await world.start()
    await world.write(2)
    await world.idle(0.1)
    looks, log_after = 0, world.store.log_after

    async def counted(lsn: int, *, limit: int) -> Sequence[LogEntry]:
        nonlocal looks
        looks += 1
        return await log_after(lsn, limit=limit)

    async def closed(_lsn: int) -> int:
        raise Unavailable("the store is closed; the process is stopping")

    monkeypatch.setattr(world.store, "log_after", counted)
    monkeypatch.setattr(world.store, "wait_for_commit", closed)
    for _ in range(30):
        await world.idle(0.1)

    assert 0 < looks < 100, "once in 50 ms or so"


async def test_a_wiped_hub_refills_itself_even_when_nothing_new_is_written(world: World) -> None:
    await world.start()
    await world.write(130)
    await world.idle(1)  # all is published: a relay that still had something to say would be refused, and so learn it
    assert len(await world.numbers()) == 130

    await world.wipe_hub()
    await world.idle(5)

    assert await world.numbers() == list(range(1, 131))


async def test_what_a_relay_says_that_its_hub_has_the_hub_has_said(world: World) -> None:
    """P3: a cell is taken away when its slots have moved and the hub has its log; an idle relay looks every 2 s only."""
    relay = await world.start()
    await world.write(3)
    await world.idle(1)
    before = await relay.has(3), await relay.has(4)

    await world.wipe_hub()
    after = await relay.has(3)
    believed = relay.statistics().last_lsn
    await world.idle(0.01)  # and no two seconds: it was woken
    filled = await relay.has(3)

    assert before == (True, False)
    assert (after, believed) == (False, 3)
    assert filled
    assert await world.numbers() == [1, 2, 3]


async def test_a_hub_that_does_not_answer_has_nothing_and_is_asked_again_by_the_relay(world: World) -> None:
    relay = await world.start()
    await world.write(3)
    await world.idle(1)

    world.log.down = True
    assert not await relay.has(3)
    await world.idle(5)
    assert not await relay.has(3)

    world.log.down = False
    await world.idle(5)
    assert await relay.has(3)
    assert await world.numbers() == [1, 2, 3]


async def test_a_doubt_ends_with_the_next_append_that_the_hub_takes(world: World) -> None:
    """A cell that is written all the time is never idle, and its slots could not move."""
    relay = await world.start()
    await world.write(3)
    await world.idle(1)
    world.log.down = True
    assert not await relay.has(3)
    world.log.down = False

    await world.write(1)
    await world.idle(0.01)

    assert await relay.has(4)


async def test_while_a_relay_finds_its_place_the_hubs_number_for_another_store_proves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: a move would take the hub to have what this store holds, and let the store go."""
    other = Envelope(source="eu-central/c1", first_lsn=900, last_lsn=1000, events=[(await _any_event())])
    await world.log.log.append(other, expected=0)
    await world.write(3)
    looked = asyncio.Event()
    monkeypatch.setattr(world.store, "is_unpublished_at", lambda _, ours=False: looked.wait())

    relay = await world.start()

    assert not await relay.has(3)
    looked.set()
    await world.idle(1)
    assert await relay.has(3)


async def test_a_wiped_hub_also_gets_what_a_move_brought_here(world: World) -> None:
    """P16: the cell that had published it may be gone."""
    await _move_here(world)
    await world.write(2)

    await world.start()

    assert sorted(await world.numbers()) == [0, 1, 2]


async def test_a_hub_that_is_wiped_after_the_cell_was_restarted_also_gets_what_a_move_brought_here(
    world: World,
) -> None:
    """P16: by then the store knows that it was published, and its numbers of imported ops lie below all others."""
    await _move_here(world)
    await world.write(2)
    await world.start()
    await world.idle(1)
    await world.stop()
    await world.start()
    await world.idle(1)
    assert not world.store.statistics().unpublished

    await world.wipe_hub()
    await world.idle(5)

    assert sorted(await world.numbers()) == [0, 1, 2]


async def test_a_hub_that_is_wiped_after_a_slot_came_to_a_cell_that_never_published_gets_what_the_move_brought(
    world: World,
) -> None:
    """P3: the cell that had published it may be gone, and a hub without anything of this one looks as if it were new."""
    relay = await world.start()
    await world.idle(5)
    await _move_here(world)
    await world.idle(5)

    await world.wipe_hub()
    await world.idle(5)

    assert await world.numbers() == [0]
    assert relay.statistics().last_lsn == 0


async def test_a_first_event_does_not_go_before_what_a_move_has_brought(world: World) -> None:
    """P3: with it the cell has a place in the log, and would never notice that the log was wiped just before."""
    await world.start()
    await world.idle(5)
    await _move_here(world)
    await world.wipe_hub()
    await world.write(1)
    await world.idle(5)

    assert await world.numbers() == [0, 1]


@pytest.mark.parametrize("own", [0, 1], ids=["nothing of its own", "an op of its own behind it"])
async def test_what_moves_bring_to_a_cell_without_events_is_looked_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, own: int
) -> None:
    """With an op of its own in the same read the relay read both again for ever, without a pause."""
    await world.start()
    await world.idle(5)
    await _move_here(world, event=False)
    for _ in range(own):
        await world.store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("a", "quiet", b"1"))]))
    await world.idle(5)
    read = []
    log_after = world.store.log_after
    monkeypatch.setattr(world.store, "log_after", lambda lsn, limit: (read.append(lsn), log_after(lsn, limit=limit))[1])

    await world.idle(5)

    assert 0 < len(read) <= 6, "two questions each two seconds"
    assert await world.numbers() == []


async def test_a_relay_is_behind_for_as_long_as_what_was_brought_here_is_not_told(world: World) -> None:
    """P3: a restored store has no other numbers; a move that took it for told would leave events behind."""
    await _move_here(world)
    world.log.down = True
    relay = await world.start()
    before = relay.statistics()

    world.log.down = False
    await world.idle(5)
    after = relay.statistics()

    assert world.store.statistics().last_lsn == 0
    assert (before.behind, before.last_lsn) == (1, -1)
    assert (after.behind, after.last_lsn) == (0, 0)
    assert await world.numbers() == [0]


async def _move_here(world: World, *, event: bool = True) -> None:
    """A slot with one event, numbered 0, or with an op that has none."""
    other = Slot.parse("eu/de/main/8")
    async with open_store(world.folder / "c0.db", region="eu-central", clock=world.clock, disk=inline) as source:
        await source.set_lease(other, expected=None, lease=Lease(epoch=1, state="active", seq=0))
        moved = Write(ItemChange("a", "moved", b"1"), EventDraft(TYPE, "moved", b'{"n":0}') if event else None)
        await source.transact(Transaction(slot=other, writes=[moved]))
        await world.store.begin_import(other, move=1, epoch=1)
        await world.store.import_chunk(other, await source.export(other, CopyCursor()), move=1)
    await world.store.settle(other, move=1, epoch=2, owner=None)


async def test_what_a_latecomer_of_a_broken_connection_says_is_no_proof_that_nothing_is_missing(world: World) -> None:
    if world.at_once == 1:
        pytest.skip("one by one, nothing can come late before what was sent earlier")
    await world.start()
    await world.write(3)
    await world.idle(1)
    world.log.down = True
    await world.write(3)
    await world.idle(1)
    (late,) = envelopes_of(await world.store.log_after(5, limit=1), region="eu-central", cell="c1")
    await world.log.log.append(late, expected=(await world.log.log.last("eu-central/c1")).sequence)

    world.log.down = False
    await world.idle(10)

    assert set(await world.numbers()) == {1, 2, 3, 4, 5, 6}


async def test_a_store_that_is_younger_than_the_hub_is_published_from_its_start(world: World) -> None:
    other = Envelope(source="eu-central/c1", first_lsn=900, last_lsn=1000, events=[(await _any_event())])
    await world.log.log.append(other, expected=0)
    await world.write(3)

    relay = await world.start()

    assert (await world.numbers())[1:] == [1, 2, 3]
    assert relay.statistics().rewound >= 1


async def test_a_store_made_anew_is_published_whole_though_it_holds_more_than_the_log_knows(world: World) -> None:
    """A cell restored from its twin, with what the twin wrote meanwhile: the log's cursor is the burnt store's."""
    await world.start()
    await world.write(3)
    await world.idle()
    await world.stop()
    burnt = world.store
    async with open_store(world.folder / "new.db", region="eu-central", clock=world.clock, disk=inline) as world.store:
        await world.store.set_lease(SLOT, expected=None, lease=Lease(epoch=101, state="active", seq=0))
        await world.write(5)

        relay = await world.start()
        await world.idle()
        await world.stop()
        again = await world.start()
        await world.stop()

    world.store = burnt
    assert await world.numbers() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (relay.statistics().rewound, again.statistics().rewound) == (1, 0)


async def test_a_store_that_cannot_note_that_it_is_published_is_not_told_over_and_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: what the hub acknowledged it has, whether that is on record here or not."""
    note = world.store.is_unpublished_at

    async def full(sequence: int, *, ours: bool = False) -> bool:
        if ours:
            raise Unavailable("the disk is full")
        return await note(sequence)

    monkeypatch.setattr(world.store, "is_unpublished_at", full)
    await world.write(5)
    await world.start()
    for _ in range(5):
        await world.write(1)
        await world.idle(5)  # idle relays look at the hub, too
    world.log.down = True
    await world.write(1)
    await world.idle(1)
    world.log.down = False
    await world.idle(5)
    assert await world.numbers() == list(range(1, 12))

    monkeypatch.setattr(world.store, "is_unpublished_at", note)
    await world.write(1)
    await world.idle(1)
    assert not world.store.statistics().unpublished


async def test_a_store_in_its_first_life_under_the_version_before_is_not_told_anew_after_the_upgrade(
    world: World,
) -> None:
    """Its mark says what the log's number was when it was first asked for, and stood until the next start."""
    await world.start()
    await world.write(5)
    await world.idle()
    await world.stop()
    world.store._writer.database.execute("INSERT INTO meta VALUES('unpublished', '0')")
    world.store._writer.unpublished = True

    await world.start()
    await world.idle()

    assert await world.numbers() == [1, 2, 3, 4, 5]
    assert not world.store.statistics().unpublished


async def test_an_append_of_the_burnt_store_that_comes_late_is_not_taken_for_the_new_ones(world: World) -> None:
    """P3: a hub that did not answer for a while had it before it (seed 60666)."""
    await world.start()
    await world.write(3)
    await world.idle()
    await world.stop()
    burnt, last = world.store, await world.log.last("eu-central/c1")
    async with open_store(world.folder / "new.db", region="eu-central", clock=world.clock, disk=inline) as world.store:
        await world.store.set_lease(SLOT, expected=None, lease=Lease(epoch=101, state="active", seq=0))
        await world.write(5)
        await world.store.is_unpublished_at(last.sequence)  # a process that ended before it had published anything
        late = Envelope(source="eu-central/c1", first_lsn=4, last_lsn=4, events=[await _any_event()])
        await world.log.log.append(late, expected=last.sequence)

        await world.start()
        await world.idle()
        await world.stop()

    world.store = burnt
    assert await world.numbers() == [1, 2, 3, 0, 4, 5, 6, 7, 8]


async def _any_event() -> Event:
    from eisbach.testing.event_log_promises import an_event

    return an_event(1, data=b'{"n":0}')


async def test_ops_without_events_are_passed_over(world: World) -> None:
    await world.write(1)
    for _ in range(3):
        await world.store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("a", "quiet", b"1"))]))
    relay = await world.start()

    assert await world.numbers() == [1]
    assert relay.statistics().behind == 0


def entry(lsn: int, data: bytes) -> LogEntry:
    return LogEntry(lsn, Op("eu/de/main/7", "eu-central", 1, lsn, 1 << 40, None, EventDraft(TYPE, "s", data)))


def test_envelopes_keep_both_bounds() -> None:
    entries = [entry(n, b'{"x":"' + b"y" * (60_000 if n % 3 == 0 else 10) + b'"}') for n in range(1, 300)]

    envelopes = list(envelopes_of(entries, region="eu-central", cell="c1"))

    assert max(len(e.events) for e in envelopes) <= ENVELOPE_EVENTS_MAX
    assert max(len(encode_envelope(e)) for e in envelopes) <= ENVELOPE_BYTES_MAX
    assert [event.seq for e in envelopes for event in e.events] == list(range(1, 300))
    assert [e.first_lsn for e in envelopes[1:]] == [e.last_lsn + 1 for e in envelopes[:-1]]


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[1]", b"{", b'{"a":1}x', b'{"a":"\xff"}', b"\x00" * 9, b'{"a":"' + b"x" * 70_000 + b'"}']
)
def test_a_payload_that_cannot_be_published_becomes_an_event_that_says_so(data: bytes) -> None:
    (envelope,) = envelopes_of([entry(1, data)], region="eu-central", cell="c1")

    encode_envelope(envelope)
    assert "eisbach_invalid" in msgspec.json.decode(envelope.events[0].data)


async def big(world: World, count: int) -> None:
    """Events of which three fill an envelope: many envelopes in one read of the op log."""
    for _ in range(count):
        world._written += 1
        data = b'{"n":%d,"x":"%s"}' % (world._written, b"x" * 60_000)
        write = Write(None, EventDraft(TYPE, f"e{world._written}", data))
        await world.store.transact(Transaction(slot=SLOT, writes=[write]))


async def test_where_the_engine_gains_by_it_several_appends_are_under_way_and_the_order_stays(world: World) -> None:
    await big(world, 60)

    await world.start()
    await world.idle(1)

    assert await world.numbers() == list(range(1, 61))
    assert world.log.most_under_way == world.at_once


def test_an_envelope_claims_no_lsn_of_the_next_one() -> None:
    """Its last lsn is where a relay goes on after a crash: what it claims and does not hold would be lost."""
    entries = [entry(n, b"{}") for n in range(1, 2 * ENVELOPE_EVENTS_MAX + 2)]

    found = list(relays.envelopes_of(entries, region="eu-central", cell="c1"))

    assert [(e.first_lsn, e.last_lsn) for e in found] == [(1, 64), (65, 128), (129, 129)]


@pytest.mark.parametrize("every", [2, 5, 11])
async def test_other_cells_envelopes_in_between_cost_tries_and_nothing_else(world: World, every: int) -> None:
    await big(world, 60)
    world.log.foreign = every

    await world.start()
    await world.idle(60)

    events = [event for event in await world.published() if event.cell == "c1"]
    mine = list(dict.fromkeys(msgspec.json.decode(event.data)["n"] for event in events))
    assert mine == list(range(1, 61))


@pytest.mark.parametrize("lost", [1, 3, 7])
async def test_answers_that_are_lost_while_several_are_under_way_leave_no_gap(world: World, lost: int) -> None:
    await big(world, 60)
    world.log.lose_answers = lost

    await world.start()
    await world.idle(120)

    assert list(dict.fromkeys(await world.numbers())) == list(range(1, 61))
