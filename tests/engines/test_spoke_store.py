"""What runners keep, on every engine that keeps it: SQLite for a spoke host, DynamoDB for spokes that are functions."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.spoke_store import DynamoSpokeStore
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.kernel.errors import Invalid, NotFound, Overloaded, Retryable, Unavailable
from eisbach.ports.spoke_store import (
    DeadLetter,
    FailedAttempt,
    Held,
    InboxKey,
    InboxMark,
    InboxRow,
    NewCommand,
    Settlement,
    SpokeStore,
    WaitingClaim,
)
from eisbach.testing.aws.emulator import ENVIRONMENT, AwsEmulator

TABLE = "eisbach-studio-state"
CHAIN = InboxKey("any/all/studio/3", "eu-central", 2, "tv.catalog.title.published.v1")
EVENT = msgspec.json.encode({"id": "e1", "origin": "eu-west", "dataref": "blobs:x#sha256=0"})
Open = Callable[[], Awaitable[SpokeStore]]


@pytest_asyncio.fixture(
    params=["sqlite", *(pytest.param(name, marks=pytest.mark.aws) for name in ("dynamodb", "dynamodb local"))]
)
async def reopen(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Open]:
    """Opens a store on the same data each time, as after a restart."""
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            last: list[SqliteSpokeStore] = []

            async def sqlite() -> SpokeStore:
                if last:
                    await last.pop().aclose()
                last.append(await SqliteSpokeStore(tmp_path / "spokes.db").open())
                return last[0]

            yield sqlite
            await last.pop().aclose()
            return
        aws: AwsEmulator = request.getfixturevalue("aws" if request.param == "dynamodb" else "arbiter")
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        place = AwsPlace(region=aws.regions[0], endpoint=aws.endpoint(aws.regions[0]))
        clients = await stack.enter_async_context(open_clients(place))
        await clients.dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )

        async def dynamo() -> SpokeStore:
            return DynamoSpokeStore(clients, table=TABLE, spokes=["publish"], clock=SystemClock(), rng=random.Random(1))

        yield dynamo


def settled(event: str = "e1", **parts: object) -> Settlement:
    return Settlement(spoke="publish", event_id=event, subject="t-1", **parts)  # type: ignore[arg-type]


def held(event: str = "e1", *, why: str = "retry", attempt: int = 1) -> Held:
    history = (FailedAttempt(1, "Unavailable: away", "stack"),)
    return Held(event_id=event, subject="t-1", why=why, attempt=attempt, due_ms=5, event=EVENT, history=history)


def dead(kind: str = "event", body: bytes = EVENT) -> DeadLetter:
    return DeadLetter(spoke="publish", event_id="e1", kind=kind, subject="t-1", reason="no", at_ms=9, body=body)


async def test_what_was_settled_is_there_after_a_restart(reopen: Open) -> None:
    store = await reopen()
    await store.settle(
        settled(mark=InboxMark(CHAIN, 4, None), state={"k": b"v"}, commands=[NewCommand("/p", b"{}", "key")])
    )
    store = await reopen()

    assert await store.inbox("publish") == {CHAIN: InboxRow(4, {})}
    assert await store.get("publish", "k") == b"v"
    assert [(c.path, c.body, c.key, c.attempt, c.event_id) for c in await store.commands(limit=9)] == [("/p", b"{}", "key", 0, "e1")]  # fmt: skip


async def test_after_a_settlement_that_failed_no_later_mark_is_taken_until_the_inbox_is_read_anew(
    tmp_path: Path,
) -> None:
    """The later mark counts the failed one as settled: an event would be lost (seeds 1572 and 1776 of the world)."""
    full = False

    async def disk(work: Callable[[], Any]) -> Any:
        if full:
            raise Unavailable("the disk is full")
        return work()

    store = await SqliteSpokeStore(tmp_path / "spokes.db", disk=disk).open()
    full = True
    with pytest.raises(Unavailable):
        await store.settle(settled("e1", mark=InboxMark(CHAIN, 1, None)))
    full = False

    with pytest.raises(Unavailable, match="read the inbox again"):
        await store.settle(settled("e2", mark=InboxMark(CHAIN, 2, None)))

    assert await store.inbox("publish") == {}
    await store.settle(settled("e1", mark=InboxMark(CHAIN, 1, None)))
    assert await store.inbox("publish") == {CHAIN: InboxRow(1, {})}
    await store.aclose()


async def test_who_reads_the_inbox_sees_what_its_former_self_had_asked_for_and_not_waited_for(tmp_path: Path) -> None:
    """Else the event is handled again: two effects."""
    store = await SqliteSpokeStore(tmp_path / "spokes.db").open()
    former = asyncio.create_task(store.settle(settled("e1", mark=InboxMark(CHAIN, 1, None))))
    await asyncio.sleep(0)
    former.cancel()

    assert await store.inbox("publish") == {CHAIN: InboxRow(1, {})}
    await store.aclose()


async def test_what_lies_above_a_gap_is_remembered_until_the_watermark_passes_it(reopen: Open) -> None:
    store = await reopen()
    await store.settle(settled("e1", mark=InboxMark(CHAIN, 4, None)))
    await store.settle(settled("e2", mark=InboxMark(CHAIN, 4, (8, 6))))
    store = await reopen()
    assert await store.inbox("publish") == {CHAIN: InboxRow(4, {8: 6})}

    await store.settle(settled("e3", mark=InboxMark(CHAIN, 8, None)))
    store = await reopen()
    assert await store.inbox("publish") == {CHAIN: InboxRow(8, {})}


async def test_a_held_event_is_replaced_and_released(reopen: Open) -> None:
    store = await reopen()
    await store.settle(settled("e1", mark=InboxMark(CHAIN, 1, None), hold=held("e1")))
    await store.settle(settled("e2", hold=held("e2", why="behind", attempt=0)))
    await store.settle(settled("e1", hold=held("e1", attempt=2)))
    store = await reopen()
    first, second = await store.held("publish")
    assert (first.event_id, first.attempt, second.event_id, second.why) == ("e1", 2, "e2", "behind")
    assert (first.event, first.history[0].reason) == (EVENT, "Unavailable: away")

    await store.settle(settled("e1", release=True))
    assert [h.event_id for h in await store.held("publish")] == ["e2"]
    assert set(await store.claims()) == {WaitingClaim("eu-west", "blobs:x#sha256=0")}


async def test_state_that_is_deleted_is_gone_also_after_a_restart(reopen: Open) -> None:
    store = await reopen()
    await store.settle(settled("e1", state={"a": b"1", "b": b"2"}))
    await store.settle(settled("e2", state={"a": None, "never": None, "b": b""}))
    store = await reopen()

    assert [await store.get("publish", key) for key in ("a", "b", "never")] == [None, b"", None]


async def test_only_the_oldest_command_of_a_subject_is_given(reopen: Open) -> None:
    store = await reopen()
    await store.settle(settled("e1", commands=[NewCommand("/1", b"{}", "a"), NewCommand("/2", b"{}", "b")]))
    (first,) = await store.commands(limit=9)
    await store.command_postponed(first.number, attempt=3, due_ms=77)
    (again,) = await store.commands(limit=9)
    assert (again.path, again.attempt, again.due_ms) == ("/1", 3, 77)

    await store.command_answered(first.number)
    assert [c.path for c in await store.commands(limit=9)] == ["/2"]


async def test_a_refused_command_becomes_a_dead_letter_and_comes_back_by_a_redrive(reopen: Open) -> None:
    store = await reopen()
    await store.settle(settled("e1", commands=[NewCommand("/1", b'{"a":1}', "a")]))
    (command,) = await store.commands(limit=9)
    body = msgspec.json.encode({"path": "/1", "body": {"a": 1}, "key": "a"})
    await store.command_answered(command.number, dead=dead("command", body))
    assert (await store.counts())["publish"] == {"held": 0, "commands": 0, "dead_letters": 1}

    (letter,) = await store.dead_letters()
    await store.redrive(letter.number, now_ms=5)
    (back,) = await store.commands(limit=9)
    assert (back.path, msgspec.json.decode(back.body), back.key) == ("/1", {"a": 1}, "a")
    assert await store.dead_letters() == []


async def test_a_dead_event_is_redriven_to_the_held_ones_or_dropped_for_good(reopen: Open) -> None:
    store = await reopen()
    await store.settle(settled("e1", dead=dead()))
    (letter,) = await store.dead_letters(spoke="publish")
    assert await store.dead_letter(letter.number) == letter
    await store.redrive(letter.number, now_ms=5)
    (back,) = await store.held("publish")
    assert (back.event_id, back.attempt, back.due_ms) == ("e1", 0, 5)
    await store.settle(settled("e1", release=True, dead=dead()))

    (letter,) = await store.dead_letters()
    await store.drop(letter.number, reason="wrong title", now_ms=6)
    assert await store.dead_letters() == []
    with pytest.raises(NotFound):
        await store.dead_letter(letter.number)


async def test_an_unreadable_envelope_is_not_redriven(reopen: Open) -> None:
    store = await reopen()
    await store.settle(settled("envelope:3", dead=dead("envelope", b"\x00")))
    (letter,) = await store.dead_letters()

    with pytest.raises(Invalid):
        await store.redrive(letter.number, now_ms=5)


async def test_a_large_command_is_whole_again(reopen: Open) -> None:
    """A film of twelve hours: 20,000 jobs in one command."""
    body = msgspec.json.encode({"jobs": [{"part": f"chunk-{n}", "from": n * 2_000} for n in range(20_000)]})
    store = await reopen()
    await store.settle(settled(commands=[NewCommand("/studio/jobs", body, "a")]))

    (command,) = await (await reopen()).commands(limit=1)
    assert command.body == body


@pytest.mark.aws
class TestDynamoSpokeStoreAlone:
    """What holds where several instances of a function have one store."""

    @pytest_asyncio.fixture(params=["dynamodb", "dynamodb local"])
    def reopen(self, reopen: Open) -> Open:
        return reopen

    async def test_what_another_instance_settled_is_refused_and_read_anew(self, reopen: Open) -> None:
        one, other = await reopen(), await reopen()
        await one.inbox("publish"), await other.inbox("publish")
        await one.settle(settled("e1", mark=InboxMark(CHAIN, 4, None), commands=[NewCommand("/p", b"{}", "k1")]))

        with pytest.raises(Unavailable, match="another instance of spoke publish has changed it"):
            await other.settle(settled("e1", mark=InboxMark(CHAIN, 4, None), commands=[NewCommand("/p", b"{}", "k2")]))
        assert [c.key for c in await other.commands(limit=9)] == ["k1"]
        assert await other.inbox("publish") == {CHAIN: InboxRow(4, {})}
        await other.settle(settled("e2", mark=InboxMark(CHAIN, 5, None)))

    async def test_a_held_event_is_settled_by_one_instance_only(self, reopen: Open) -> None:
        one = await reopen()
        await one.settle(settled("e1", hold=held()))
        other = await reopen()
        await other.held("publish")
        await one.settle(settled("e1", release=True, state={"n": b"1"}))

        with pytest.raises(Unavailable):
            await other.settle(settled("e1", release=True, state={"n": b"2"}))
        assert await other.get("publish", "n") == b"1"

    async def test_a_settlement_of_more_rows_or_bytes_than_a_transaction_takes_is_refused(self, reopen: Open) -> None:
        store, noise = await reopen(), random.Random(1).randbytes(340_000)
        await store.settle(settled(state={f"k{n}": b"v" for n in range(100)}))

        with pytest.raises(Invalid, match="a transaction of DynamoDB has 100 at most"):
            await store.settle(settled(state={f"k{n}": b"" for n in range(101)}))
        with pytest.raises(Invalid, match="a transaction of DynamoDB takes 4000000"):
            await store.settle(settled(commands=[NewCommand("/p", noise, f"{n}") for n in range(12)]))
        assert await store.get("publish", "k99") == b"v"
        assert list(await (await reopen()).commands(limit=9)) == []

    async def test_of_a_history_that_does_not_fit_its_row_the_newest_attempts_are_kept(self, reopen: Open) -> None:
        """Thirty attempts of 2,000 letters of reason and 4,000 of stack, each of three bytes."""
        history = tuple(FailedAttempt(n, "ア" * 2000, "ア" * 4000) for n in range(30))
        event = msgspec.json.encode({"id": "e1", "data": random.Random(1).randbytes(90_000).hex()})
        store = await reopen()

        waits = Held(event_id="e1", subject="t-1", why="retry", attempt=30, due_ms=5, event=event, history=history)
        await store.settle(settled(hold=waits))
        (again,) = await (await reopen()).held("publish")
        letter = DeadLetter(spoke="publish", event_id="e1", kind="event", subject="t-1", reason="no", at_ms=9, body=event, history=history)  # fmt: skip
        await store.settle(settled(release=True, dead=letter))

        (dead_one,) = await store.dead_letters()
        assert again.event == dead_one.body == event
        assert list(again.history) == list(dead_one.history) == list(history[-len(again.history) :])
        assert 5 < len(again.history) < 30

    async def test_what_no_row_can_hold_is_refused(self, reopen: Open) -> None:
        store = await reopen()
        noise = random.Random(1).randbytes(900_000)

        with pytest.raises(Invalid, match="a row of DynamoDB takes"):
            await store.settle(settled(commands=[NewCommand("/p", noise, "a")]))


@pytest.mark.aws
@pytest.mark.parametrize("reopen", ["dynamodb"], indirect=True)
async def test_a_table_that_throttles_or_hangs_loses_no_settlement_and_writes_none_twice(
    reopen: Open, aws: AwsEmulator
) -> None:
    store = await reopen()
    await store.inbox("publish")
    aws.fault(aws.regions[0], "throttle", service="dynamodb")
    with pytest.raises(Overloaded, match="throttles"):
        await store.settle(settled(mark=InboxMark(CHAIN, 4, None)))
    aws.heal()
    await store.settle(settled(mark=InboxMark(CHAIN, 4, None)))
    aws.fault(aws.regions[0], "cut")
    with pytest.raises(Retryable):
        await store.settle(settled("e2", mark=InboxMark(CHAIN, 5, None)))
    aws.heal()

    await store.settle(settled("e2", mark=InboxMark(CHAIN, 5, None)))
    assert await (await reopen()).inbox("publish") == {CHAIN: InboxRow(5, {})}


@pytest.mark.aws
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
@pytest.mark.parametrize("reopen", ["dynamodb local"], indirect=True)
async def test_a_settlement_just_below_the_bound_of_a_transactions_bytes_is_taken(reopen: Open) -> None:
    """By the arbiter: ``ministack`` counts the call's JSON, a third more, and refuses it."""
    store, noise = await reopen(), random.Random(1).randbytes(349_800)

    await store.settle(settled(commands=[NewCommand("/p", noise[n:], f"{n}") for n in range(11)], state={"k": b"v"}))

    assert await (await reopen()).get("publish", "k") == b"v"
