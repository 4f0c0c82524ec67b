"""Places for streams on disk: nobody slips through, and nobody is thrown out because a disk is slow."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from eisbach.cell.ownership import Ownership, slots_in
from eisbach.cell.sessions import Sessions
from eisbach.cell.streams import Grant, Placed, StreamPlaces
from eisbach.cell.writing import Writer
from eisbach.domain.accounts import Identity
from eisbach.domain.playback import Stream, StreamGuard, TooManyStreams
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.slots import Slot
from eisbach.kernel.tokens import SignedSession
from eisbach.ports.store import ItemKey, Lease
from eisbach.testing.manual_clock import ManualClock

OWNERS = {"c1": {"eu/de/main": [0]}}
SLOT = Slot.parse("eu/de/main/0")
WHO = Identity(
    account="a-1", device="d", profile="p1", market="de", tier="free", platform="tv", age_max=12, entitlement=0, slot=str(SLOT)
)  # fmt: skip


class Kit:
    def __init__(self, store: SqliteStore, ownership: Ownership, clock: ManualClock) -> None:
        self.store, self.ownership, self.clock = store, ownership, clock
        self.ahead = ""
        self.writer = Writer(store, ownership, clock=clock, clock_is_ahead=lambda: self.ahead)
        self.sessions = Sessions()
        self.places = StreamPlaces(store, self.writer, self.sessions, clock=clock)

    def stream(self, name: str) -> Stream:
        now = self.clock.wall_ms()
        return Stream(
            sid=name, device=f"d-{name}", platform="tv", asset="vod:x", started_ms=now, expires_ms=now + 300_000
        )

    async def take(self, name: str, *, key: str = "", position: float = 0) -> Placed | TooManyStreams:
        grant = Grant(self.clock.wall_ms(), position, 1)
        return await self.places.take(SLOT, self.stream(name), WHO, key=key or name, grant=grant, takeover=())

    def session(self, name: str) -> SignedSession:
        now = self.clock.wall_ms()
        return SignedSession(
            sid=name,
            account="a-1",
            profile="p1",
            slot=str(SLOT),
            asset="vod:x",
            device=f"d-{name}",
            started_ms=now,
            expires_ms=now,
        )

    async def lease_ms(self) -> int:
        found = await self.store.read(SLOT, ItemKey("a-1", "guard/streams"))
        assert found is not None
        return msgspec.json.decode(found.value, type=StreamGuard).streams[0].expires_ms

    async def listed(self) -> list[str]:
        found = await self.store.read(SLOT, ItemKey("a-1", "guard/streams"))
        return [s.sid for s in msgspec.json.decode(found.value, type=StreamGuard).streams] if found else []


@contextlib.asynccontextmanager
async def kit(folder: Path) -> AsyncIterator[Kit]:
    clock = ManualClock()
    async with open_store(folder / "s.db", region="eu-central", clock=clock, disk=inline) as store:
        ownership = Ownership(store, cell="c1", groups={"eu/de/main": 1}, owners=OWNERS)
        await ownership.open(slots_in(OWNERS["c1"]))
        yield Kit(store, ownership, clock)


async def test_of_five_starts_at_once_exactly_two_get_the_two_places(tmp_path: Path) -> None:
    async with kit(tmp_path) as k:
        done = await asyncio.gather(*(k.take(f"s{n}") for n in range(5)))

        assert [isinstance(d, Placed) and not d.degraded for d in done].count(True) == 2
        assert len(await k.listed()) == 2


async def test_a_repeat_under_the_same_key_gets_the_first_answer(tmp_path: Path) -> None:
    async with kit(tmp_path) as k:
        first = await k.take("s1", position=12)
        again = await k.take("s1", position=99)

        assert isinstance(first, Placed)
        assert isinstance(again, Placed)
        assert (first.grant, again.grant.start_pos_s) == (again.grant, 12)


async def test_when_nothing_can_be_written_a_start_is_let_in_and_says_what_was_not_checked(tmp_path: Path) -> None:
    async with kit(tmp_path) as k:
        k.ahead = "this clock is 600 ms ahead"

        done = await k.take("s1")
        renewed, mark = await k.places.renew(k.session("s1"), SLOT, tier="free", lapsed=False, progress=[])

        assert isinstance(done, Placed)
        assert (done.degraded, done.mark) == (("concurrency",), None)
        assert (renewed, mark) == (None, None)
        assert k.places.failed_open == 2


async def test_in_the_cut_of_a_move_a_start_is_let_in_within_a_second(tmp_path: Path) -> None:
    async with kit(tmp_path) as k:
        active = Lease(epoch=1, state="active", seq=0)
        await k.store.set_lease(SLOT, expected=active, lease=active._replace(state="frozen"))

        starting = asyncio.create_task(k.take("s1"))
        await k.clock.advance(1.1)
        done = await starting

        assert isinstance(done, Placed)
        assert done.degraded == ("concurrency",)
        assert k.writer.parked == 1


async def test_a_write_parked_in_a_cut_goes_through_when_the_cut_ends(tmp_path: Path) -> None:
    async with kit(tmp_path) as k:
        active = Lease(epoch=1, state="active", seq=0)
        frozen = active._replace(state="frozen")
        await k.store.set_lease(SLOT, expected=active, lease=frozen)
        starting = asyncio.create_task(k.take("s1"))
        await k.clock.advance(0.3)
        await k.store.set_lease(SLOT, expected=frozen, lease=active)
        await k.clock.advance(0.1)

        done = await starting

        assert isinstance(done, Placed)
        assert done.degraded == ()


async def test_a_stream_that_lapsed_does_not_come_back_over_those_that_play(tmp_path: Path) -> None:
    async with kit(tmp_path) as k:
        for name in ("s1", "s2"):
            await k.take(name)
            await k.clock.advance(1)
        mine = k.session("s0")

        fresh, _ = await k.places.renew(mine, SLOT, tier="free", lapsed=True, progress=[])

        assert fresh is not None
        assert (fresh.action, fresh.reason) == ("stop", "concurrency")
        assert await k.listed() == ["s1", "s2"]


async def test_a_lease_is_written_anew_by_every_second_durable_heartbeat_and_never_runs_out_between(
    tmp_path: Path,
) -> None:
    async with kit(tmp_path) as k:
        await k.take("s1")
        mine, written, left_s = k.session("s1"), [], []
        for _ in range(8):
            await k.clock.advance(121)
            before = await k.lease_ms()
            left_s.append((before - k.clock.wall_ms()) // 1000)
            done, _ = await k.places.renew(mine, SLOT, tier="free", lapsed=False, progress=[])
            assert done is not None
            assert done.action == "continue"
            written.append(await k.lease_ms() > before)

        assert written == [False, True] * 4
        assert min(left_s) > 45  # a heartbeat may be late


async def test_leaving_frees_the_place_at_once(tmp_path: Path) -> None:
    async with kit(tmp_path) as k:
        await k.take("s1")
        await k.take("s2")
        await k.places.leave(k.session("s1"), SLOT, pos_s=5, reason="user", progress=[])

        assert isinstance(await k.take("s3"), Placed)
        assert await k.listed() == ["s2", "s3"]


def test_a_heartbeat_that_is_not_newer_is_never_written() -> None:
    sessions = Sessions()
    sessions.begin("s", now_ms=0)

    writes = [
        sessions.beat("s", seq=seq, state=state, now_ms=at)[1]
        for seq, state, at in [
            (1, "playing", 30_000), (2, "paused", 31_000), (2, "seeking", 32_000), (3, "paused", 33_000), (4, "playing", 150_000),
        ]
    ]  # fmt: skip

    assert writes == [False, True, False, False, True]


def test_after_a_failover_adopted_sessions_are_written_spread_over_two_minutes() -> None:
    sessions = Sessions()
    due = sum(sessions.beat(f"s-{n}", seq=9, state="playing", now_ms=1_000_000)[1] for n in range(2000))
    later = sum(sessions.beat(f"s-{n}", seq=10, state="playing", now_ms=1_030_000)[1] for n in range(2000))

    assert due == 0
    assert 400 < later < 600, "a quarter of them in a quarter of the time"


def test_memory_knows_who_is_silent_and_counts_who_plays() -> None:
    sessions = Sessions()
    sessions.begin("old", now_ms=0)
    sessions.begin("new", now_ms=80_000)

    assert sessions.silent(["old", "new", "unknown"], now_ms=91_000) == {"old"}
    assert sessions.statistics(now_ms=91_000).playing == 1
