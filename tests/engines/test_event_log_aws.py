"""SNS and SQS FIFO keep the promises of the event log, in an emulated region; asserted by what arrives."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eisbach.engines.aws import subscription as subscriptions
from eisbach.engines.aws.event_log import SnsSqsEventLog
from eisbach.engines.aws.messages import message_of
from eisbach.engines.aws.subscription import SqsSubscription, _Settler
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.store import open_store
from eisbach.hub.inbox import Inbox, Verdict
from eisbach.hub.relay import Relay
from eisbach.kernel.errors import Invalid, OutcomeUnknown, Overloaded, Retryable, Unavailable, VersionConflict
from eisbach.ports.event_log import Envelope, UnreadableEnvelope, encode_envelope
from eisbach.ports.store import Lease
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.aws.hub_host import AwsHubHost
from eisbach.testing.event_log_promises import (
    SOURCE,
    EventLogPromises,
    an_envelope,
    an_event,
    backlog_of,
    fill,
    lsns,
    take,
)
from eisbach.testing.store_host import SLOT, event, write

pytestmark = pytest.mark.aws


@pytest.fixture
async def host(aws: AwsEmulator) -> AsyncIterator[AwsHubHost]:
    host = AwsHubHost(aws)
    yield host
    await host.aclose()


class TestSnsSqsEventLog(EventLogPromises):
    """All of them."""


# --- between the table and the topic -----------------------------------------------------------------------------


async def test_an_envelope_that_was_kept_and_not_published_is_published_by_the_next_relay(host: AwsHubHost) -> None:
    log = await host.open()
    reader = await log.subscribe("reader")
    await fill(log, 1)
    host.aws.fault(host.region, "error", service="sns", operation="Publish")

    with pytest.raises(OutcomeUnknown, match="kept, but not published"):
        await fill(log, 1, first=2)
    host.aws.heal()
    last = await (await host.open()).last(SOURCE)

    assert last.last_lsn == 2
    assert lsns(await take(reader, 2)) == [1, 2]


async def test_a_publication_whose_answer_was_lost_arrives_once(host: AwsHubHost) -> None:
    """SNS drops the repeat: within five minutes, which is what it promises."""
    log = await host.open()
    reader = await log.subscribe("reader")
    host.aws.fault(host.region, "mute", service="sns", operation="Publish", count=3)

    with pytest.raises(OutcomeUnknown):
        await fill(log, 1)
    await log.last(SOURCE)
    await fill(log, 1, first=2)

    assert lsns(await take(reader, 2)) == [1, 2]
    assert await backlog_of(log, "reader", 0) == 0


async def test_what_grew_under_the_same_number_is_not_dropped_as_a_repeat() -> None:
    one = message_of(SOURCE, 7, encode_envelope(an_envelope(1)))
    more = message_of(SOURCE, 7, encode_envelope(an_envelope(1, events=2)))

    assert one.deduplication != more.deduplication


async def test_a_repeat_after_the_five_minutes_comes_twice_and_the_inbox_drops_it(host: AwsHubHost) -> None:
    log = await host.open()
    reader = await log.subscribe("reader")
    await fill(log, 1)
    await take(reader, 1)
    late = message_of(SOURCE, 1, encode_envelope(an_envelope(1)))._replace(deduplication="after-five-minutes")

    await log._publish(late)
    (again,) = await take(reader, 1)

    inbox, (repeat,) = Inbox({}), again.envelope.events
    inbox.account(an_event(1))
    assert inbox.judge(repeat) is Verdict.seen


async def test_a_wiped_hub_is_filled_again_by_the_relay(host: AwsHubHost, tmp_path: Path) -> None:
    clock = SystemClock()
    async with open_store(tmp_path / "c1.db", region="eu-central", clock=clock, cell="c1", disk=inline) as store:
        await store.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
        for _ in range(3):
            await write(store, event())
        log = await host.open()
        relay = Relay(store, log, source="eu-central/c1", clock=clock, rng=random.Random(1))
        running = asyncio.create_task(relay.run())
        before = await take(await log.subscribe("reader"), 1)

        await host.wipe()
        after = await take(await (await host.open()).subscribe("other"), 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert [e.seq for e in before[0].envelope.events] == [e.seq for e in after[0].envelope.events] == [1, 2, 3]


async def test_an_append_that_ended_before_its_cursor_is_found_and_published_by_the_next_relay(
    host: AwsHubHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await host.open()
    reader = await log.subscribe("reader")
    sequences = await fill(log, 2)

    async def dies(*_: object, **__: object) -> None:
        raise OutcomeUnknown("the process died")

    monkeypatch.setattr(log._archive, "_show", dies)
    with pytest.raises(OutcomeUnknown):
        await log.append(an_envelope(3), expected=sequences[-1])
    other = await host.open()
    last = await other.last(SOURCE)
    await other.append(an_envelope(4), expected=last.sequence)

    assert last.last_lsn == 3
    assert lsns(await take(reader, 4)) == [1, 2, 3, 4]


@pytest.mark.parametrize("dies", [False, True], ids=["which notices", "which dies before it notices"])
async def test_a_relay_does_not_go_on_in_a_hub_that_was_wiped_and_made_anew_by_another(
    host: AwsHubHost, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    log = await host.open()
    sequences = await fill(log, 4)
    await host.wipe()
    await fill(await host.open(), 1, source="eu-central/c2")

    async def ends(*_: object, **__: object) -> None:
        raise VersionConflict("the process died")

    if dies:
        monkeypatch.setattr(log._archive, "_show", ends)
    with pytest.raises(VersionConflict):
        await log.append(an_envelope(50), expected=sequences[-1])

    other = await host.open()
    assert await other.last(SOURCE) == (0, 0)
    assert lsns(await take(await _filled(other, 4), 4)) == [1, 2, 3, 4]
    assert (await (await host.open()).last(SOURCE)).last_lsn == 4
    await fill(other, 2, first=5)
    assert (await other.last(SOURCE)).last_lsn == 6


async def test_an_envelope_costs_a_unit_a_kilobyte_as_it_is_packed_and_one_for_the_cursor(host: AwsHubHost) -> None:
    log = await host.open()
    await fill(log, 1)
    data = msgspec.json.encode({"title": "tears", "position_s": 1234, "at": "2026-11-27T12:00:00Z", "pad": "x" * 150})
    events = [an_event(n, data=data) for n in range(2, 10)]
    envelope = Envelope(source=SOURCE, first_lsn=2, last_lsn=9, events=events)
    before = log.usage.write_units

    await log.append(envelope, expected=(await log.last(SOURCE)).sequence)

    assert len(encode_envelope(envelope)) > 3000
    assert log.usage.write_units - before == 2.0


# --- what may be in an envelope ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chars", [10, 20_000], ids=["as escapes", "too large for SNS then: from the archive"])
async def test_characters_that_sqs_refuses_arrive(host: AwsHubHost, chars: int) -> None:
    data = msgspec.json.encode({"name": "\uffff\ufffe" * (chars // 2)})
    large = Envelope(source=SOURCE, first_lsn=1, last_lsn=3, events=[an_event(n, data=data) for n in (1, 2, 3)])
    log = await host.open()
    early = await log.subscribe("early")

    await log.append(large, expected=0)
    late = await log.subscribe("late")

    for reader in (early, late):
        (delivery,) = await take(reader, 1)
        assert [msgspec.json.decode(e.data) for e in delivery.envelope.events] == [msgspec.json.decode(data)] * 3


async def test_a_message_that_is_no_envelope_is_delivered_as_such_and_what_follows_too(host: AwsHubHost) -> None:
    log = await host.open()
    reader = await log.subscribe("reader")
    stranger = {"Message": "garbage", "MessageGroupId": "x", "MessageDeduplicationId": "x"}
    await log._open.sns.publish(TopicArn=await log._queues.topic(), **stranger)

    await fill(log, 1)
    found = await take(reader, 2)

    assert sorted(isinstance(d.envelope, UnreadableEnvelope) for d in found) == [False, True]
    assert len({d.sequence for d in found}) == 2


# --- queues ------------------------------------------------------------------------------------------------------


async def test_a_queue_gets_only_envelopes_with_a_type_its_spoke_reads(host: AwsHubHost) -> None:
    log = await host.open(types={"picky": ["tv.test.wanted.v1"], "late": ["tv.test.wanted.v1"]})
    picky = await log.subscribe("picky")
    sequence = 0
    for lsn, kind in enumerate(("tv.test.other.v1", "tv.test.wanted.v1", "tv.test.other.v1"), start=1):
        mixed = Envelope(source=SOURCE, first_lsn=lsn, last_lsn=lsn, events=[an_event(lsn, type_=kind)])
        sequence = await log.append(mixed, expected=sequence)

    late = await log.subscribe("late")

    assert await backlog_of(log, "picky", 1) == await backlog_of(log, "late", 1) == 1
    assert lsns(await take(picky, 1)) == lsns(await take(late, 1)) == [2]


async def test_an_envelope_that_kills_its_readers_ends_in_the_dead_letter_queue(host: AwsHubHost) -> None:
    log = await host.open(receives_max=2)
    reader = await log.subscribe("reader")
    await fill(log, 1)
    for _ in range(2):
        (poison,) = await take(reader, 1, ack=False)
        await poison.nak(0)

    await fill(log, 1, first=2)

    assert lsns(await take(reader, 1)) == [2]
    sqs = log._open.sqs
    dead = (await sqs.get_queue_url(QueueName="eb-reader-dead.fifo"))["QueueUrl"]
    (letter,) = (await sqs.receive_message(QueueUrl=dead))["Messages"]
    assert msgspec.json.decode(letter["Body"])["first_lsn"] == 1


async def test_a_queue_that_was_deleted_is_made_and_filled_anew(host: AwsHubHost) -> None:
    log = await host.open()
    reader = await log.subscribe("reader")
    await fill(log, 2)
    await take(reader, 1)
    await log._open.sqs.delete_queue(QueueUrl=await log._queues.find("reader", 0))

    again = await _take_for_ever(reader, 2)
    await fill(log, 1, first=3)

    assert again == [1, 2]
    assert lsns(await take(reader, 1)) == [3]


async def test_a_long_job_keeps_its_envelope_from_other_readers(
    host: AwsHubHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "VISIBLE_AGAIN_S", 1)
    monkeypatch.setattr(subscriptions, "_PROLONG_AFTER_S", 0.2)
    log, other_log = await host.open(), await host.open()
    one, other = await log.subscribe("reader"), await other_log.subscribe("reader")
    await fill(log, 1)
    (job,) = await take(one, 1, ack=False)
    thief = asyncio.create_task(take(other, 1))

    for _ in range(10):  # twice as long as it would be invisible by itself
        await asyncio.sleep(0.2)
        await job.in_progress()
    kept = not thief.done()
    await job.nak(0)

    assert kept
    assert [(d.envelope.first_lsn, d.attempt) for d in await thief] == [(1, 2)]


async def test_acknowledgements_that_come_together_share_calls(host: AwsHubHost) -> None:
    log = await host.open()
    reader = await log.subscribe("reader", in_flight_max=10)
    await fill(log, 10)
    out = await take(reader, 10, ack=False)

    await asyncio.gather(*(delivery.ack() for delivery in out))

    assert await backlog_of(log, "reader", 0) == 0
    assert log.usage.calls["sqs.DeleteMessageBatch"] <= 2


class HalfDeaf:
    """SQS that refuses one entry of a batch, as it may; the emulator never does."""

    def __init__(self, *refusals: str) -> None:
        self.refusals, self.deleted = list(refusals), []

    async def delete_message_batch(self, **asked: Any) -> dict[str, Any]:
        entries = asked["Entries"]
        code = self.refusals.pop(0) if self.refusals else None
        self.deleted += [entry["ReceiptHandle"] for entry in (entries[1:] if code else entries)]
        return {"Failed": [{"Id": entries[0]["Id"], "Code": code, "SenderFault": False}] if code else []}


@pytest.mark.parametrize(
    ("refusals", "results"),
    [
        (["InternalError"], [None, None]),
        (["InternalError"] * 3, ["Unavailable", None]),
        (["ReceiptHandleIsInvalid"], [None, None]),
    ],
)
async def test_of_a_batch_only_what_was_refused_is_tried_again(refusals: list[str], results: list[str | None]) -> None:
    sqs = HalfDeaf(*refusals)
    settler = _Settler(type("Clients", (), {"sqs": sqs}))

    told = await asyncio.gather(*(settler.delete("url", name) for name in "ab"), return_exceptions=True)

    assert [type(t).__name__ if t else None for t in told] == results
    assert sqs.deleted.count("b") == 1


# --- a region in trouble -----------------------------------------------------------------------------------------


async def test_an_append_that_is_throttled_says_so_and_nothing_was_kept(host: AwsHubHost) -> None:
    log = await host.open()
    await fill(log, 1)
    host.aws.fault(host.region, "throttle", service="dynamodb", operation="PutItem")

    with pytest.raises(Overloaded, match="nothing was written"):
        await log.append(an_envelope(2), expected=(await log.last(SOURCE)).sequence)
    host.aws.heal()

    assert (await log.last(SOURCE)).last_lsn == 1
    calls = host.aws.statistics()["doors"][host.region]["calls"]
    assert calls["dynamodb/PutItem"] <= 2 + 3  # no storm


@pytest.mark.parametrize("mode", ["throttle", "error", "hang", "cut"])
async def test_what_is_asked_of_a_region_in_trouble_is_tried_three_times_and_no_more(
    host: AwsHubHost, mode: str
) -> None:
    log = await host.open()
    await fill(log, 1)
    reader = await log.subscribe("reader")
    await take(reader, 1)
    expected = (await log.last(SOURCE)).sequence
    host.aws.fault(host.region, mode)
    counts = []
    for call in (lambda: log.append(an_envelope(2), expected=expected), lambda: log.last(SOURCE), log.state):
        before = arrived(host)
        with pytest.raises(Retryable):
            await call()
        counts.append(arrived(host) - before)
    host.aws.heal()

    assert counts == [3, 3, 3], "a storm of retries, or none"


def arrived(host: AwsHubHost) -> int:
    return sum(host.aws.statistics()["doors"][host.region]["calls"].values())


async def test_an_append_whose_answer_was_lost_is_not_appended_twice(host: AwsHubHost) -> None:
    log = await host.open()
    await fill(log, 1)
    host.aws.fault(host.region, "mute", service="dynamodb", operation="PutItem", count=1)

    await fill(log, 1, first=2)

    assert lsns(await take(await log.subscribe("reader"), 2)) == [1, 2]


async def test_a_reader_reads_on_after_its_region_was_cut_off(host: AwsHubHost) -> None:
    log = await host.open()
    reader = await log.subscribe("reader")
    await fill(log, 1)
    await take(reader, 1)
    host.aws.fault(host.region, "cut")
    with pytest.raises(Unavailable):
        await log.last(SOURCE)
    with pytest.raises(Unavailable):
        await take(reader, 1)

    host.aws.heal()
    await fill(log, 1, first=2)

    assert await _take_for_ever(reader, 1) == [2]


async def test_a_sequence_of_another_source_is_refused(host: AwsHubHost) -> None:
    log = await host.open()
    (sequence,) = await fill(log, 1)

    with pytest.raises(Invalid, match="ask for its last"):
        await log.append(an_envelope(1, source="eu-central/c2"), expected=sequence)


async def test_a_log_that_is_not_open_says_so(host: AwsHubHost) -> None:
    log = await host.open()
    await log.aclose()

    with pytest.raises(Unavailable, match="not open"):
        await log.last(SOURCE)


async def _filled(log: SnsSqsEventLog, count: int) -> SqsSubscription:
    """A reader from the start of a log with so many envelopes."""
    await fill(log, count)
    reader = await log.subscribe("reader")
    assert isinstance(reader, SqsSubscription)
    return reader


async def _take_for_ever(subscription: SqsSubscription, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        try:
            found += lsns(await take(subscription, 1))
        except Unavailable:
            await asyncio.sleep(0.05)
    return found


# --- readers that each need all of it ----------------------------------------------------------------------------


async def test_each_reader_of_what_is_read_whole_gets_everything_of_its_source_from_the_beginning(
    host: AwsHubHost,
) -> None:
    only = {"projection-c1": SOURCE}
    log, other = await host.open(only=only), await host.open(only=only)
    await fill(log, 3)
    await fill(log, 1, source="eu-central/c2")

    one, two = await log.subscribe("projection-c1"), await other.subscribe("projection-c1")
    seen = [lsns(await take(reader, 3)) for reader in (one, two)]
    await fill(log, 1, first=4)

    assert seen == [[1, 2, 3], [1, 2, 3]]
    assert lsns(await take(one, 1)) == lsns(await take(two, 1)) == [4]
    assert await log.state() == {}, "no queue was made"


async def test_a_reader_of_all_gets_again_what_it_refused_and_no_more_than_it_asked_for(host: AwsHubHost) -> None:
    log = await host.open(only={"all": SOURCE})
    await fill(log, 3)
    reader = await log.subscribe("all", in_flight_max=2)
    deliveries = reader.__aiter__()
    first, second = await anext(deliveries), await anext(deliveries)
    third = asyncio.ensure_future(anext(deliveries))
    done, _ = await asyncio.wait({third}, timeout=0.2)

    await first.nak(0)

    again = await third
    assert not done
    assert (first.envelope.first_lsn, second.envelope.first_lsn) == (1, 2)
    assert (again.envelope.first_lsn, again.attempt) == (1, 2)
